# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import json
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from robollm_core.data.armbench_identification import read_split_file
from robollm_core.errors import ConfigError, OutputError
from robollm_core.images import read_image
from robollm_core.manifests import parse_manifest
from robollm_core.synthetic import picks
from robollm_core.synthetic.picks import (
    MANIFEST_ITEMS,
    NO_REFERENCE_RATE,
    OFF_MANIFEST_RATE,
    write_identification,
)
from robollm_core.synthetic.references import Card

VIEWS = ("PickRGB", "ToteWallRGB", "OnArmLowRGB", "FarTrayRGB")
SIZES = {"train": (10, 1), "val": (2, 2), "test": (2, 1)}


@pytest.fixture(autouse=True, scope="module")
def small_units():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picks, "_STOCK", 7)
        patch.setattr(picks, "_TOTES_A_UNIT", 1)
        patch.setattr(picks, "_LEAST_PRODUCTS", 21)
        yield


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def data_set(tmp_path_factory, small_units):
    """Written split by split, one of them with two jobs."""
    out = tmp_path_factory.mktemp("identification") / "set"
    for split, (count, jobs) in SIZES.items():
        write_identification(out, 1, count, split, jobs)
    return out


@pytest.fixture(scope="module")
def index(data_set):
    assert set(read_split_file(data_set / "train-test-split.pickle")) >= {"trainset", "testset"}
    data = (data_set / "train-test-split.pickle").read_bytes()
    # plain lists and strings only: nothing that a careful reader would refuse
    names = {opcode.name for opcode, _, _ in pickletools.genops(data)}
    assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}
    return pickle.loads(data)


def annotations(data_set):
    for path in sorted(data_set.glob("Picks/*/annotation.json")):
        yield path.parent, json.loads(path.read_text())


def mask_of(region):
    code = dict(region["segmentation"], counts=region["segmentation"]["counts"].encode())
    return coco_mask.decode(code).astype(bool)


def test_the_split_file_names_what_is_there(data_set, index):
    assert set(index) == {
        "trainset", "trainset-objects", "valset", "valset-objects", "testset", "testset-objects",
    }  # fmt: skip
    assert [len(index[f"{split}set"]) for split in SIZES] == [10, 2, 2]
    folders = {path.name for path in (data_set / "Picks").iterdir()}
    assert folders == {name for split in SIZES for name in index[f"{split}set"]}
    for split in SIZES:
        truth = {
            json.loads((data_set / "Picks" / name / "annotation.json").read_text())["GT_ID"]
            for name in index[f"{split}set"]
        }
        assert truth == set(index[f"{split}set-objects"])


def test_splits_share_no_product(data_set, index):
    named = {split: set() for split in SIZES}
    for split in SIZES:
        for name in index[f"{split}set"]:
            container = json.loads((data_set / "Picks" / name / "container.json").read_text())
            named[split] |= set(container) | set(index[f"{split}set-objects"])
    assert not named["train"] & named["val"]
    assert not named["train"] & named["test"]
    assert not named["val"] & named["test"]


def test_every_pick_has_four_views_and_its_masks_fit(data_set):
    for folder, note in annotations(data_set):
        for view in VIEWS:
            image = read_image(folder / f"{view}.jpg")
            mask = mask_of(note[view])
            assert mask.shape == image.shape[:2]
            rows, columns = np.nonzero(mask)
            x, y, w, h = note[view]["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
            assert len(rows) >= 80
            assert all(len(polygon) >= 6 for polygon in note[view]["polygons"])
        assert 0.3 <= note["PickRGB"]["visible_fraction"] <= 1.0


def test_manifests_are_manifests(data_set):
    for folder, note in annotations(data_set):
        text = (folder / "container.json").read_text()
        manifest = parse_manifest(text, str(folder))
        assert len(manifest.items) == MANIFEST_ITEMS
        assert (note["GT_ID"] in json.loads(text)) == note["on_manifest"]
        for item in manifest.items:
            assert item.text
            assert item.weight_kg > 0
            assert min(item.dims_m) > 0
            assert item.quantity >= 1


def test_references_are_there_unless_the_item_has_none(data_set):
    for folder, note in annotations(data_set):
        for item_id in [note["GT_ID"], *json.loads((folder / "container.json").read_text())]:
            photos = sorted((data_set / "Reference_Images" / item_id).glob("*.jpg"))
            assert [photo.name for photo in photos] in ([], [f"{k}.jpg" for k in range(1, 7)])
        own = (data_set / "Reference_Images" / note["GT_ID"] / "1.jpg").is_file()
        assert own == note["has_reference"]


def test_pictures_show_the_item_that_the_annotation_names(data_set):
    """A colour histogram, which knows nothing of the simulator, finds items by their photos."""

    def histogram(pixels):
        counts, _ = np.histogramdd(pixels // 43, bins=(6, 6, 6), range=[(0, 6)] * 3)
        flat = counts.reshape(-1) / max(counts.sum(), 1)
        chroma = flat.reshape(6, 6, 6).sum(axis=2).reshape(-1)
        return np.concatenate([flat, chroma])

    known = {}
    for folder in sorted((data_set / "Reference_Images").iterdir()):
        photos = [read_image(photo) for photo in sorted(folder.glob("*.jpg"))]
        known[folder.name] = [
            histogram(photo[np.abs(photo.astype(int) - photo[0, 0]).max(axis=2) > 25])
            for photo in photos
        ]
    hits = []
    for folder, note in annotations(data_set):
        if note["has_reference"]:
            rivals = list(json.loads((folder / "container.json").read_text()))
            rivals = {name for name in (*rivals, note["GT_ID"]) if name in known}
            looks = [
                histogram(read_image(folder / f"{view}.jpg")[mask_of(note[view])]) for view in VIEWS
            ]
            score = {
                name: sum(max(np.minimum(q, r).sum() for r in known[name]) for q in looks)
                for name in rivals
            }
            ranked = sorted(score, key=score.get, reverse=True)
            hits.append(note["GT_ID"] in ranked[:3])
    # chance is 3 in 20
    assert np.mean(hits) > 0.5


def test_same_seed_same_bytes_for_any_jobs(data_set, tmp_path):
    write_identification(tmp_path / "again", 1, 2, "val", jobs=1)
    first = tree(data_set)
    again = tree(tmp_path / "again")
    again.pop("train-test-split.pickle")
    assert len(again) > 100
    assert all(first[name] == content for name, content in again.items())


def test_nothing_unfinished_is_left(data_set):
    assert [path.name for path in data_set.parent.iterdir()] == ["set"]


def cards(count):
    return {f"R{k}": Card(f"R{k}", "text", 0.1, (0.1, 0.1, 0.1)) for k in range(count)}


def test_the_rates_are_as_stated():
    off, total = 0, 2000
    pick = picks._Pick("R7", {}, {}, {"R7": 2, "R9": 1})
    stock = cards(40)
    for number in range(total):
        files = picks._pick_files(f"train-{number:06d}", pick, stock, (0, 0))
        (where,) = [name for name in files if name.endswith("annotation.json")]
        off += not json.loads(files[where])["on_manifest"]
    spread = 4 * np.sqrt(OFF_MANIFEST_RATE * (1 - OFF_MANIFEST_RATE) / total)
    assert abs(off / total - OFF_MANIFEST_RATE) < spread
    bare = np.mean([picks._unphotographed(0, f"R{number}") for number in range(total)])
    assert abs(bare - NO_REFERENCE_RATE) < 4 * np.sqrt(NO_REFERENCE_RATE / total)


def test_a_manifest_holds_the_tote_and_look_alikes():
    pick = picks._Pick("R20", {}, {}, {"R20": 3, "R5": 1})
    listed = picks._manifest(pick, cards(60), False, np.random.default_rng(0))
    assert len(listed) == MANIFEST_ITEMS
    # neighbours in the catalogue are of one brand
    assert {"R20", "R5", "R18", "R19", "R21", "R22"} <= set(listed)
    assert listed["R20"]["quantity"] == 3
    without = picks._manifest(pick, cards(60), True, np.random.default_rng(0))
    assert "R20" not in without
    assert len(without) == MANIFEST_ITEMS
    few = picks._manifest(pick, cards(21), False, np.random.default_rng(0))
    assert "R20" in few


def test_bad_wishes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="exam"):
        write_identification(tmp_path / "set", 0, 5, "exam")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_identification(tmp_path / "file" / "set", 0, 1, "val")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
