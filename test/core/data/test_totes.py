# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of tote images and the batches drawn from it."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from robollm_core.data.armbench_segmentation import ToteImage, Truth
from robollm_core.data.tote_batches import augment, draw_batch, extents, plain_sample
from robollm_core.data.tote_cache import ToteCache, label_map, open_cache
from robollm_core.errors import DatasetError
from robollm_core.geometry import Letterbox

HW = (96, 128)


def truth(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return Truth(*mask.shape, rle["counts"])


def scene(seed, height=96, width=128):
    """An image whose every instance has a colour of its own, so labels follow from pixels."""
    rng = np.random.default_rng(seed)
    image, masks = np.zeros((height, width, 3), np.uint8), []
    for number in range(4):
        mask = np.zeros((height, width), np.uint8)
        centre = (int(rng.uniform(20, width - 20)), int(rng.uniform(20, height - 20)))
        cv2.circle(mask, centre, 14, 1, -1)
        free = mask.astype(bool) & (image[..., 0] == 0)
        image[free] = 50 * (number + 1)
        masks.append(free)
    return image, [mask for mask in masks if mask.any()]


@pytest.fixture
def totes(tmp_path):
    made = []
    for seed in range(5):
        image, masks = scene(seed)
        path = tmp_path / f"{seed}.png"
        cv2.imwrite(str(path), image)
        made.append(ToteImage(path, *image.shape[:2], tuple(truth(mask) for mask in masks)))
    return made


@pytest.fixture
def cache(totes, tmp_path):
    return open_cache(totes, HW, tmp_path / "cache", "train")


def test_the_cache_holds_images_and_masks_in_order(cache, totes):
    assert len(cache) == 5
    for index, tote in enumerate(totes):
        assert np.array_equal(cache.images[index], tote.read())
        for number, one in enumerate(tote.truths, 1):
            assert np.array_equal(cache.labels[index] == number, one.mask())


def test_the_cache_is_built_once_and_anew_when_a_mask_changes(totes, tmp_path):
    folder = tmp_path / "cache"
    open_cache(totes, HW, folder, "train")
    stamp = (next(folder.iterdir()) / "images.npy").stat().st_mtime_ns
    open_cache(totes, HW, folder, "train")
    assert (next(folder.iterdir()) / "images.npy").stat().st_mtime_ns == stamp
    fewer = [*totes[:-1], ToteImage(totes[-1].path, 96, 128, totes[-1].truths[:1])]
    assert open_cache(fewer, HW, folder, "train").labels[-1].max() == 1
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_image_leaves_no_cache(totes, tmp_path):
    totes[3].path.write_bytes(b"no image")
    with pytest.raises(Exception, match="3.png"):
        open_cache(totes, HW, tmp_path / "cache", "train")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_images_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no images"):
        open_cache([], HW, tmp_path, "val")


def test_the_smaller_of_two_overlapping_instances_is_on_top(tmp_path):
    large, small = np.ones((96, 128), bool), np.zeros((96, 128), bool)
    small[10:20, 10:20] = True
    tote = ToteImage(tmp_path / "x.png", 96, 128, (truth(small), truth(large)))
    painted = label_map(tote, Letterbox((96, 128), (48, 64)))
    assert painted[7, 7] == 1
    assert painted[30, 30] == 2


def test_a_letterboxed_label_map_is_padded_with_background(tmp_path):
    tote = ToteImage(tmp_path / "x.png", 96, 96, (truth(np.ones((96, 96), bool)),))
    painted = label_map(tote, Letterbox((96, 96), HW))
    assert painted[:, :96].all()
    assert not painted[:, 96:].any()


def test_extents_are_half_open_and_leave_specks_out():
    labels = np.zeros((40, 50), np.uint8)
    labels[5:15, 10:30] = 2
    labels[20:24, 20:24] = 5  # 16 pixels
    numbers, boxes = extents(labels)
    assert numbers.tolist() == [2]
    assert boxes.tolist() == [[10.0, 5.0, 30.0, 15.0]]
    assert not (plain_sample(np.zeros((40, 50, 3), np.uint8), labels).labels == 5).any()


def test_an_empty_map_has_no_instances():
    numbers, boxes = extents(np.zeros((8, 8), np.uint8))
    assert numbers.shape == (0,)
    assert boxes.shape == (0, 4)


@pytest.mark.parametrize("seed", range(8))
def test_masks_move_with_their_pixels(seed):
    image, masks = scene(seed)
    labels = np.zeros(HW, np.uint8)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    view = augment(image, labels, (64, 96), np.random.default_rng(seed))
    assert view.image.shape == (64, 96, 3)
    shown = set(np.unique(view.labels).tolist())
    assert shown <= {0, *range(1, len(masks) + 1)}
    # the brightness of the view must tell instances from each other as the labels do
    grey = view.image.mean(2)
    for number in view.numbers:
        mask = np.pad((view.labels == number).astype(np.uint8), 1)
        inside = cv2.erode(mask, np.ones((5, 5)))[1:-1, 1:-1] > 0
        if inside.sum() > 20:
            assert grey[inside].std() < 6.0


def test_boxes_are_the_extents_of_the_view(cache):
    for view in draw_batch(cache, 5, (64, 96), (3, 0)):
        for number, (x0, y0, x1, y1) in zip(view.numbers, view.boxes.astype(int), strict=True):
            rows, columns = np.nonzero(view.labels == number)
            assert (columns.min(), rows.min()) == (x0, y0)
            assert (columns.max() + 1, rows.max() + 1) == (x1, y1)


def test_a_batch_is_a_function_of_seed_and_step(cache):
    first, again = draw_batch(cache, 3, HW, (1, 7)), draw_batch(cache, 3, HW, (1, 7))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    other = draw_batch(cache, 3, HW, (2, 7))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))


def test_an_epoch_shows_every_image_once(monkeypatch):
    cache = ToteCache(
        np.repeat(np.arange(6, dtype=np.uint8), 64 * 64 * 3).reshape(6, 64, 64, 3),
        np.zeros((6, 64, 64), np.uint8),
    )
    seen = []
    monkeypatch.setattr(
        "robollm_core.data.tote_batches.augment",
        lambda image, labels, size_hw, rng: seen.append(int(image[0, 0, 0])),
    )
    for step in range(3):
        draw_batch(cache, 2, (64, 64), (0, step))
    assert sorted(seen) == list(range(6))
