# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of tote images and the batches drawn from it."""

import hashlib

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from robollm_core.data import tote_batches
from robollm_core.data.tote import ToteImage, Truth
from robollm_core.data.tote_batches import (
    Views,
    augment,
    draw_batch,
    extents,
    jitter,
    plain_sample,
)
from robollm_core.data.tote_cache import ToteCache, label_map, open_cache
from robollm_core.errors import ConfigError, DatasetError
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
    with pytest.raises(DatasetError, match=r"3\.png is neither JPEG nor PNG.*Copy 3\.png from"):
        open_cache(totes, HW, tmp_path / "cache", "train")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_knows_the_photo_inside_the_letterbox(totes, tmp_path):
    wide = open_cache(totes, (96, 160), tmp_path / "cache", "train")
    assert wide.inner_hw.tolist() == [[96, 128]] * 5
    for index, tote in enumerate(totes):
        image, labels = wide.photo(index)
        assert np.array_equal(image, tote.read())
        assert np.array_equal(labels == 1, tote.truths[0].mask())


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
        np.tile([64, 64], (6, 1)),
    )
    seen = []
    monkeypatch.setattr(
        "robollm_core.data.tote_batches.augment",
        lambda image, labels, size_hw, rng: seen.append(int(image[0, 0, 0])),
    )
    for step in range(3):
        draw_batch(cache, 2, (64, 64), (0, step))
    assert sorted(seen) == list(range(6))


def rectangles():
    """A cache that depends on NumPy's generator alone."""
    rng = np.random.default_rng(11)
    images = np.full((4, 96, 128, 3), 30, np.uint8)
    labels = np.zeros((4, 96, 128), np.uint8)
    for index in range(4):
        images[index] = rng.integers(0, 60, (96, 128, 3))
        for number in range(1, 6):
            x, y = rng.integers(0, 100), rng.integers(0, 70)
            w, h = rng.integers(12, 40, 2)
            labels[index, y : y + h, x : x + w] = number
            images[index, y : y + h, x : x + w] = rng.integers(80, 255, 3)
    return ToteCache(images, labels, np.tile([96, 128], (4, 1)))


def digest(cache, views):
    said, light = hashlib.sha256(), 0.0
    for step in range(6):
        for view in draw_batch(cache, 3, ((64, 96), (96, 128))[step % 2], (5, step), views):
            for part in (view.labels, view.numbers, view.boxes):
                said.update(np.ascontiguousarray(part).tobytes())
            light += float(view.image.mean())
    return said.hexdigest(), light


def test_without_jitter_and_copies_views_are_what_they_were():
    # noted before there was either, so that recipes without them train what they trained
    golden = "f914d8df7e937dcae7a98e340f4beb1d145b56f923268b181931a3b6a4bedf3f"
    assert digest(rectangles(), Views()) == (golden, pytest.approx(1104.658366, abs=0.02))
    assert digest(rectangles(), Views(copy_paste=1.0))[0] != golden
    assert digest(rectangles(), Views(scale_min=0.1, scale_max=2.0))[0] != golden


@pytest.mark.parametrize("views", [Views(), Views(0.1, 2.0, 0.5)], ids=["narrow", "wide"])
def test_ranks_draw_their_own_part_of_the_same_batch(cache, monkeypatch, views):
    whole = draw_batch(cache, 6, HW, (3, 2), views)
    made, inner = [], tote_batches.plain_sample
    monkeypatch.setattr(
        tote_batches, "plain_sample", lambda *parts: made.append(1) or inner(*parts)
    )
    for own in (slice(0, 2), slice(2, 4), slice(4, 6)):
        part = draw_batch(cache, 6, HW, (3, 2), views, own)
        assert len(part) == 2
        for a, b in zip(part, whole[own], strict=True):
            assert np.array_equal(a.image, b.image)
            assert np.array_equal(a.labels, b.labels)
    assert len(made) == 6  # nobody makes a view that is another rank's


@pytest.mark.parametrize("scale", [0.1, 0.37, 1.0, 1.7])
def test_jitter_scales_the_photo_against_the_view_it_fills(scale):
    image, labels = np.full((60, 80, 3), 200, np.uint8), np.ones((60, 80), np.uint8)
    for seed in range(5):
        view = jitter(image, labels, (96, 96), (scale, scale), np.random.default_rng(seed))
        # the photo is wider than the view: 80 pixels fill 96
        high, wide = min(96, 60 * 1.2 * scale), min(96, 80 * 1.2 * scale)
        ((x0, y0, x1, y1),) = view.boxes
        assert y1 - y0 == pytest.approx(high, abs=1.01)
        assert x1 - x0 == pytest.approx(wide, abs=1.01)
        photo = view.labels == 1
        assert (view.image[~photo] == 128).all()
        shades = view.image[photo]
        assert (shades == shades[0]).all()  # no padding bleeds in


def test_padding_stays_grey_in_any_light():
    image, labels = np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), np.uint8)
    shades = set()
    for seed in range(30):
        view = jitter(image, labels, (96, 96), (0.2, 0.5), np.random.default_rng(seed))
        assert (view.image[view.labels == 0] == 128).all()
        shades.add(tuple(view.image[view.labels == 1][0]))
    assert len(shades) > 5  # the photo itself is re-lit


@pytest.mark.parametrize("scale", [0.2, 0.5, 0.9, 1.0, 1.6])
def test_jittered_masks_move_with_their_pixels(scale):
    image, labels = np.zeros((128, 128, 3), np.uint8), np.ones((128, 128), np.uint8)
    image[:, 64:], labels[:, 64:] = 255, 2
    for seed in range(6):
        view = jitter(image, labels, (128, 128), (scale, scale), np.random.default_rng(seed))
        bright = view.image.mean(2)
        rows = np.flatnonzero((view.labels > 0).any(1))
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            shown = np.flatnonzero(view.labels[row])
            if np.unique(view.labels[row, shown]).size < 2:
                continue  # the edge is out of the view
            line, truth_ = bright[row, shown], view.labels[row, shown] == 2
            light = line > (line.min() + line.max()) / 2
            assert (light != truth_).sum() <= 1


def test_an_image_that_shrinks_does_not_alias():
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::2] = 255
    view = jitter(
        image, np.ones((256, 256), np.uint8), (256, 256), (0.1, 0.1), np.random.default_rng(0)
    )
    shades = view.image[view.labels == 1][:, 0].astype(float)
    assert shades.std() < 12.0


def letterboxed(seed=0):
    """Two photos of 60x128 in letterboxes of 96x128, whose padding is marked."""
    rng = np.random.default_rng(seed)
    images, labels = np.full((2, 96, 128, 3), 77, np.uint8), np.zeros((2, 96, 128), np.uint8)
    images[:, :60] = rng.integers(0, 50, (2, 60, 128, 3))
    for index in range(2):
        images[index, 20:40, 30:60], labels[index, 20:40, 30:60] = (200, 20, 20), 1
    return ToteCache(images, labels, np.tile([60, 128], (2, 1)))


@pytest.mark.parametrize("views", [Views(copy_paste=1.0), Views(0.5, 1.5, 1.0)])
def test_nothing_is_pasted_outside_the_photo(monkeypatch, views):
    cache, seen = letterboxed(), []
    for name in ("augment", "jitter"):
        monkeypatch.setattr(tote_batches, name, lambda *parts: seen.append(parts[:2]))
    for step in range(20):
        draw_batch(cache, 2, HW, (0, step), views)
    assert len(seen) == 40
    pasted = 0
    for image, labels in seen:
        if views.scale_max:
            assert image.shape[:2] == labels.shape == (60, 128)
        assert (image[60:] == 77).all()
        assert not labels[60:].any()
        pasted += int(labels.max() > 1)
    assert pasted > 30
    assert cache.labels.max() == 1  # the cache itself is as it was


def test_copies_are_pasted_into_the_share_of_views_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(
        tote_batches, "augment", lambda image, labels, *rest: seen.append(int(labels.max()))
    )
    cache = letterboxed()
    for step in range(100):
        draw_batch(cache, 2, HW, (0, step), Views(copy_paste=0.3))
    assert sum(number > 1 for number in seen) / 200 == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.0, 2.0), "scale_min"),
        ((0.1, 0.0), "scale_max"),
        ((2.0, 0.1), "scale_min"),
        ((-0.1, 2.0), "scale_min"),
        ((0.1, float("nan")), "scale_max"),
        ((0.1, 11.0), "scale_max"),
        ((0.0, 0.0, 1.1), "copy_paste"),
        ((0.0, 0.0, -0.1), "copy_paste"),
        ((0.0, 0.0, float("nan")), "copy_paste"),
        ((0.0, 0.0, 0.5, 1), "copy_paste_most"),
        ((0.0, 0.0, 0.5, 33), "copy_paste_most"),
    ],
)
def test_views_that_cannot_be_made_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        Views(*values)
