# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Regions and the crop cache."""

import os
import resource

import numpy as np
import pytest
import small_sets
from pycocotools import mask as coco_mask
from small_disk import full_disk_error, run_on_small_disk

from robollm_core.data import samples
from robollm_core.data.samples import Picture, Region, cached_crops, cut, parse_region
from robollm_core.errors import DatasetError, ImageError, OutputError
from robollm_core.images import CropSpec, crop, crop_whole, read_image

SPEC = CropSpec(size_px=32, mode="pad", blank=True, margin=0.1)


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "photo.jpg"
    small_sets.write_jpeg(path, rng.integers(0, 255, (50, 70, 3), dtype=np.uint8))
    return path


def square(x0, y0, x1, y1):
    return (float(x0), float(y0), float(x1), float(y0), float(x1), float(y1), float(x0), float(y1))


@pytest.mark.parametrize(
    "tree",
    [
        [[10, 5, 29, 5, 29, 24, 10, 24]],
        [10, 5, 29, 5, 29, 24, 10, 24],
        [[10, 5], [29, 5], [29, 24], [10, 24]],
        [[[10, 5], [29, 5], [29, 24], [10, 24]]],
        {"segmentation": [[10, 5, 29, 5, 29, 24, 10, 24]], "bbox": [0, 0, 1, 1]},
        {"polygons": [[10, 5, 29, 5, 29, 24, 10, 24]], "visible_fraction": 0.5},
    ],
)
def test_every_form_of_polygons_is_the_same_region(tree):
    assert parse_region(tree, "here") == Region(polygons=(square(10, 5, 29, 24),))


def test_run_lengths_are_the_mask_itself(photo):
    mask = np.zeros((50, 70), dtype=np.uint8, order="F")
    mask[3:9, 40:60] = 1
    mask[5, 44] = 0
    rle = coco_mask.encode(mask)
    tree = {"size": [50, 70], "counts": rle["counts"].decode()}
    for form in (tree, {"segmentation": tree}):
        region = parse_region(form, "here")
        assert region is not None
        assert np.array_equal(region.mask((50, 70), "here"), mask.astype(bool))
    with pytest.raises(DatasetError, match="the picture"):
        region.mask((50, 71), "here")


@pytest.mark.parametrize(
    ("tree", "box"),
    [
        ({"bbox": [10, 5, 20, 15]}, (10, 5, 30, 20)),
        ({"box": [10, 5, 30, 20]}, (10, 5, 30, 20)),
    ],
)
def test_boxes(tree, box):
    assert parse_region(tree, "here") == Region(box_xyxy_px=box)


@pytest.mark.parametrize("tree", [None, [], {}, {"bbox": [0, 0, 0, 0]}, {"box": [4, 4, 4, 9]}])
def test_nothing_means_the_whole_picture(tree):
    assert parse_region(tree, "here") is None


@pytest.mark.parametrize(
    "tree",
    [
        "polygon",
        7,
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float("nan")]],
        {"bbox": [1, 2, 3]},
        {"bbox": ["a", 1, 2, 3]},
        {"counts": "x"},
        {"size": [4], "counts": "x"},
    ],
)
def test_malformed_regions_are_refused(tree):
    with pytest.raises(DatasetError, match="here"):
        parse_region(tree, "here")


def test_cut_is_the_crop_of_the_stages(photo):
    image = read_image(photo)
    mask = np.zeros((50, 70), dtype=bool)
    mask[5:25, 10:30] = True
    mask[5:10, 10:15] = False  # an L, so that blanking shows
    outline = (10, 10, 14, 10, 14, 5, 29, 5, 29, 24, 10, 24)
    region = Region(polygons=(tuple(float(v) for v in outline),))
    drawn = region.mask((50, 70), "here")
    assert (drawn == mask).mean() > 0.99  # outlines are drawn to their pixel
    wanted = crop(image, (10, 5, 30, 25), SPEC, drawn[5:25, 10:30])
    assert np.array_equal(cut(Picture(photo, region), SPEC), wanted)
    assert np.array_equal(cut(Picture(photo), SPEC), crop_whole(image, SPEC))
    boxed = cut(Picture(photo, Region(box_xyxy_px=(-5.0, 2.5, 30.0, 90.0))), SPEC)
    assert np.array_equal(boxed, crop(image, (0, 2, 30, 50), SPEC))


@pytest.mark.parametrize(
    "region",
    [
        Region(polygons=(square(200, 200, 230, 230),)),
        Region(box_xyxy_px=(200.0, 0.0, 230.0, 20.0)),
    ],
)
def test_a_region_outside_the_picture_is_refused(photo, region):
    with pytest.raises(DatasetError, match="outside"):
        cut(Picture(photo, region), SPEC)


def test_the_cache_holds_the_crops_in_order(photo, tmp_path):
    pictures = [
        Picture(photo),
        Picture(photo, Region(box_xyxy_px=(0.0, 0.0, 20.0, 20.0))),
        Picture(photo, Region(polygons=(square(10, 5, 29, 24),))),
    ]
    crops = cached_crops(pictures, SPEC, tmp_path / "cache" / "x.npy")
    assert isinstance(crops, np.memmap) and crops.shape == (3, 32, 32, 3)
    for row, picture in zip(crops, pictures, strict=True):
        assert np.array_equal(row, cut(picture, SPEC))


def test_the_cache_is_made_once_and_anew_when_anything_changes(photo, tmp_path):
    path, pictures = tmp_path / "x.npy", [Picture(photo)]
    cached_crops(pictures, SPEC, path)
    made = path.stat().st_mtime_ns
    cached_crops(pictures, SPEC, path)
    assert path.stat().st_mtime_ns == made
    assert cached_crops(pictures, CropSpec(16, "pad", True, 0.1), path).shape[1] == 16
    cached_crops(pictures, SPEC, path)
    old = np.array(cached_crops(pictures, SPEC, path))
    small_sets.write_jpeg(photo, np.full((50, 70, 3), 9, np.uint8))
    os.utime(photo, ns=(1, 1))
    assert not np.array_equal(cached_crops(pictures, SPEC, path), old)


def test_crops_that_were_cut_in_another_way_are_cut_anew(photo, tmp_path, monkeypatch):
    path, pictures = tmp_path / "crops.npy", [Picture(photo)]
    cached_crops(pictures, CropSpec(16), path)
    before = path.with_suffix(".json").read_text()
    monkeypatch.setattr(samples, "CUT", samples.CUT + 1)
    cached_crops(pictures, CropSpec(16), path)
    assert path.with_suffix(".json").read_text() != before


def test_a_build_that_was_broken_off_is_not_taken_for_the_old_cache(photo, tmp_path, monkeypatch):
    path, other = tmp_path / "x.npy", CropSpec(24, "pad", blank=False, margin=0.0)
    cached_crops([Picture(photo)], SPEC, path)
    with monkeypatch.context() as patch:
        patch.setattr(samples, "write_file", lambda *_: 1 / 0)  # the process ends before the note
        with pytest.raises(ZeroDivisionError):
            cached_crops([Picture(photo)], other, path)
    assert cached_crops([Picture(photo)], SPEC, path).shape[1] == SPEC.size_px


def test_a_broken_picture_leaves_no_cache(photo, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:400])
    with pytest.raises(ImageError, match="broken"):
        cached_crops([Picture(photo), Picture(broken)], SPEC, tmp_path / "c" / "x.npy")
    assert not list((tmp_path / "c").iterdir())


def test_a_full_disk_leaves_no_cache(photo, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match=r"x\.npy"):
            cached_crops([Picture(photo)] * 3, SPEC, tmp_path / "c" / "x.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "c").iterdir())


def test_a_disk_that_is_too_small_is_an_error_and_not_a_crash(photo, tmp_path):
    disk = tmp_path / "disk"
    code = f"""
from pathlib import Path
from robollm_core.data.samples import Picture, cached_crops
from robollm_core.errors import OutputError
from robollm_core.images import CropSpec
spec = CropSpec(size_px=128, mode="pad", blank=False, margin=0.0)
try:
    cached_crops([Picture(Path({str(photo)!r}))] * 8, spec, Path({str(disk)!r}) / "x.npy")
except OutputError as error:
    print("REFUSED", error)
"""
    out, left = run_on_small_disk(disk, 128, code)
    assert "REFUSED" in out and full_disk_error() in out
    assert left == "[]"


def test_no_pictures_and_absent_files_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no pictures"):
        cached_crops([], SPEC, tmp_path / "x.npy")
    with pytest.raises(DatasetError, match=r"gone\.jpg"):
        cached_crops([Picture(tmp_path / "gone.jpg")], SPEC, tmp_path / "x.npy")
