# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from robollm_core.errors import ConfigError, DatasetError, OutputError
from robollm_core.synthetic import totes
from robollm_core.synthetic.lens import Exposure, expose
from robollm_core.synthetic.products import SPLITS, make_product
from robollm_core.synthetic.render import Rendering
from robollm_core.synthetic.scene import TOTE_INSTANCE, Scene
from robollm_core.synthetic.totes import SUBSETS, Order, scene_seed, split_counts

MIXED = "mix-object-tote"


def write(out, **order):
    return totes.write_segmentation(out, Order(**order))


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    monkeypatch.setattr(totes, "_RUN_IMAGES", 2)
    monkeypatch.setattr(totes, "_RUN_PRODUCTS", 6)


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def read_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("totes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(totes, "_RUN_IMAGES", 2)
        patch.setattr(totes, "_RUN_PRODUCTS", 6)
        write(out, seed=3, images=5)
    return out


def test_the_layout_is_armbench_and_pycocotools_reads_it(data_set):
    for subset, train in zip(SUBSETS, (3, 1, 1), strict=True):
        for split, count in zip(SPLITS, (train, 1, 1), strict=True):
            coco = read_coco(data_set / subset / f"{split}.json")
            assert [c["name"] for c in coco.loadCats([1, 2])] == ["Object", "Tote"]
            assert len(coco.imgs) == count
            for image in coco.imgs.values():
                picture = cv2.imread(str(data_set / subset / "images" / image["file_name"]))
                assert picture.shape == (480, 640, 3) == (image["height"], image["width"], 3)
    assert not list(data_set.rglob(".*"))  # no staging folder is left


def test_annotations_agree_with_their_masks(data_set):
    items = 0
    for path in data_set.glob("*/*.json"):
        coco = read_coco(path)
        for image in coco.imgs:
            entries = coco.loadAnns(coco.getAnnIds(image))
            masks = np.stack([coco.annToMask(entry) for entry in entries])
            assert masks.sum(axis=0).max() == 1, "visible pixels belong to one instance only"
            assert sum(entry["category_id"] == 2 for entry in entries) == 1
            for entry, mask in zip(entries, masks, strict=True):
                rows, columns = np.nonzero(mask)
                x, y, w, h = entry["bbox"]
                assert (x, y) == (columns.min(), rows.min())
                assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
                assert entry["area"] == mask.sum()
                if entry["category_id"] == 1:
                    items += 1
                    assert mask.sum() >= 30 and 0.05 <= entry["visible_fraction"] <= 1
                    assert entry["item_id"].startswith("R")
    assert items > 30


def test_a_mask_shows_its_item(data_set):
    """Inside and outside of a mask differ in colour more than two insides do by chance."""
    coco = read_coco(data_set / MIXED / "train.json")
    edges = []
    for entry in coco.anns.values():
        image = coco.imgs[entry["image_id"]]
        grey = cv2.imread(str(data_set / MIXED / "images" / image["file_name"]), 0)
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        mask = coco.annToMask(entry)
        rim = cv2.dilate(mask, np.ones((3, 3))) - cv2.erode(mask, np.ones((3, 3)))
        edges.append(slope[rim > 0].mean() / slope.mean())
    assert np.median(edges) > 1.5


def test_the_same_object_subset_holds_one_product_a_tote(data_set):
    coco = read_coco(data_set / "same-object-transfer-set" / "train.json")
    for image in coco.imgs:
        entries = coco.loadAnns(coco.getAnnIds(image, catIds=[1]))
        assert len({entry["item_id"] for entry in entries}) == 1


def test_zoomed_out_items_are_smaller(data_set):
    area = {
        subset: np.median(
            [a["area"] for a in read_coco(path).anns.values() if a["category_id"] == 1]
        )
        for subset in SUBSETS
        for path in [data_set / subset / "train.json"]
    }
    assert area["zoomed-out-tote-transfer-set"] < 0.6 * area[MIXED]


def test_same_seed_same_bytes_for_any_number_of_processes(data_set, tmp_path):
    write(tmp_path, seed=3, images=5, subset=MIXED, jobs=2)
    shared = (MIXED, "synthetic-")
    expected = {k: v for k, v in files_of(data_set).items() if k.startswith(shared)}
    assert files_of(tmp_path) == expected
    other = tmp_path / "other"
    write(other, seed=4, images=1, subset=MIXED, split="val")
    assert (
        files_of(other)[f"{MIXED}/images/val-000000.jpg"]
        != expected[f"{MIXED}/images/val-000000.jpg"]
    )


def test_splits_share_neither_scenes_nor_products(data_set):
    seeds, items = {}, {}
    for split in SPLITS:
        documents = [
            json.loads((data_set / subset / f"{split}.json").read_text()) for subset in SUBSETS
        ]
        seeds[split] = {i["scene_seed"] for d in documents for i in d["images"]}
        items[split] = {a["item_id"] for d in documents for a in d["annotations"] if "item_id" in a}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not seeds[first] & seeds[second]
        assert not items[first] & items[second]


def test_scene_seeds_do_not_meet():
    seeds = {
        scene_seed(split, subset, seed, number)
        for split in SPLITS
        for subset in SUBSETS
        for seed in (0, 1, 2**20 - 1)
        for number in (0, 1, 2**20 - 1)
    }
    assert len(seeds) == 3 * 3 * 3 * 3


def annotated(seen, full, hit=None):
    products = [make_product(0)]
    scene = Scene((0,) * len(full), (), None, (), (0, 0, 0), Exposure())
    return totes.annotate(scene, products, seen, full, seen if hit is None else hit)


@pytest.mark.parametrize(
    ("visible", "full", "kept"),
    [(30, 30, True), (29, 29, False), (50, 1000, True), (49, 1000, False), (0, 500, False)],
)
def test_an_item_needs_30_pixels_and_5_percent(visible, full, kept):
    seen = np.full((20, 20), TOTE_INSTANCE, np.int32)
    seen.reshape(-1)[:visible] = 0
    found = annotated(seen, [full])
    assert [entry["category_id"] for entry in found] == ([1, 2] if kept else [2])
    if kept:
        decoded = coco_mask.decode(found[0]["segmentation"])
        np.testing.assert_array_equal(decoded, seen == 0)
        assert found[0]["visible_fraction"] == pytest.approx(visible / full)


def test_a_picture_without_tote_and_items_has_no_annotation():
    assert annotated(np.full((20, 20), -1, np.int32), [100, 100]) == []


@pytest.mark.parametrize(
    ("images", "split", "expected"),
    [
        (10, "all", {"train": 8, "val": 1, "test": 1}),
        (1000, "all", {"train": 800, "val": 100, "test": 100}),
        (3, "all", {"train": 1, "val": 1, "test": 1}),
        (7, "val", {"val": 7}),
    ],
)
def test_images_are_split_8_1_1(images, split, expected):
    assert split_counts(images, split) == expected


@pytest.mark.parametrize(
    "change",
    [{"images": 0}, {"images": 2}, {"split": "dev"}, {"seed": -1}, {"jobs": 0}, {"subset": "x"}],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change):
    out = tmp_path / "out"
    with pytest.raises(ConfigError):
        write(out, **{"seed": 0, "images": 3, **change})
    assert not out.exists()


def test_a_failure_leaves_nothing_half_written(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "bad.obj").write_text("v 0 0\n")
    with pytest.raises(DatasetError, match="bad.obj"):
        write(tmp_path / "out", seed=0, images=3, split="train", subset=MIXED, meshes=scans)
    assert files_of(tmp_path / "out") == {}


def test_an_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="out"):
        write(tmp_path / "out", seed=0, images=1, split="val")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path, seed=0, images=1, split="val", subset=MIXED)
    assert files_of(tmp_path) == {}


def flat_rendering(size=(48, 64)):
    image = np.full((*size, 3), 128, np.uint8)
    instances = np.full(size, -1, np.int32)
    rows, columns = slice(size[0] // 3, size[0] // 2), slice(size[1] // 4, size[1] // 2)
    instances[rows, columns] = 4
    image[rows, columns] = (250, 20, 20)
    return Rendering(image, instances, np.ones(size, np.float32))


def test_a_neutral_exposure_changes_little():
    neutral = Exposure(occlusion=0, vignette=0, blur_px=0, noise=0, quality=98)
    jpeg, seen = expose(flat_rendering(), neutral)
    photo = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1].astype(int)
    assert np.abs(photo - flat_rendering().image_rgb)[:8].max() <= 4
    np.testing.assert_array_equal(seen, flat_rendering().instances)


@pytest.mark.parametrize("distortion", [-0.12, 0.15])
def test_distortion_moves_masks_with_the_picture(distortion):
    setting = Exposure(occlusion=0, vignette=0, blur_px=0, noise=0, quality=98)
    bent = replace(setting, distortion=distortion)
    jpeg, seen = expose(flat_rendering((480, 640)), bent)
    photo = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
    red = (photo[..., 2].astype(int) - photo[..., 1]) > 110
    assert set(np.unique(seen)) <= {-1, 4}
    both = np.count_nonzero(red & (seen == 4)) / np.count_nonzero(red | (seen == 4))
    assert both > 0.9


def test_automatic_exposure_lifts_a_dark_picture_part_of_the_way():
    dark = flat_rendering()
    dark = Rendering(dark.image_rgb // 8, dark.instances, dark.depth_m)
    fixed = Exposure(occlusion=0, vignette=0, blur_px=0, noise=0, quality=98)
    means = []
    for setting in (fixed, replace(fixed, level=0.4)):
        photo = cv2.imdecode(np.frombuffer(expose(dark, setting)[0], np.uint8), 1)
        means.append(photo.mean() / 255)
    assert means[0] * 1.5 < means[1] < 0.4
