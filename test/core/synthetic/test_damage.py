# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from robollm_core.errors import ConfigError, OutputError
from robollm_core.images import read_image
from robollm_core.synthetic import damage
from robollm_core.synthetic.breakage import DAMAGES
from robollm_core.synthetic.damage import LEAST_CHANGE, change, write_defects
from robollm_core.synthetic.render import Rendering
from robollm_core.types import DEFECT_LABELS

SIZES = {"train": (14, 1), "val": (2, 2), "test": (2, 1)}


@pytest.fixture(autouse=True, scope="module")
def small_units():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage, "_STOCK", 5)
        patch.setattr(damage, "_HELD_A_UNIT", 5)
        yield


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def data_set(tmp_path_factory, small_units):
    """Written split by split, and the two small ones with other numbers of jobs."""
    out = tmp_path_factory.mktemp("defects") / "set"
    for split, (images, jobs) in SIZES.items():
        write_defects(out, 2, images, split, jobs)
    return out


def ids(data_set, split):
    with (data_set / f"{split}.csv").open(newline="") as file:
        return [row[0] for row in csv.reader(file)]


def notes(data_set):
    for path in sorted(data_set.glob("data/*/*.json")):
        yield json.loads(path.read_text())


def test_the_lists_name_what_is_there(data_set):
    splits = {split: ids(data_set, split) for split in ("train", "val", "test")}
    assert [len(names) for names in splits.values()] == [14, 2, 2]
    named = [name for names in splits.values() for name in names]
    assert sorted(named) == sorted(path.name for path in (data_set / "data").iterdir())
    for name in named:
        note = json.loads((data_set / "data" / name / f"{name}.json").read_text())
        assert note["id"] == name
        assert note["label"] in DEFECT_LABELS


def test_splits_share_no_product(data_set):
    products = {split: set() for split in ("train", "val", "test")}
    for note in notes(data_set):
        products[note["id"].split("-")[0]] |= set(note["item_ids"])
    train, val, test = products.values()
    assert train
    assert not train & val
    assert not train & test
    assert not val & test


def test_nothing_unfinished_is_left(data_set):
    assert {path.name for path in data_set.iterdir()} == {
        "data",
        *(f"{split}.csv" for split in ("train", "val", "test")),
        *(f"synthetic-{split}.json" for split in ("train", "val", "test")),
    }
    assert [path.name for path in data_set.parent.iterdir()] == ["set"]


def test_labels_say_what_was_shown(data_set):
    seen = Counter()
    for note in notes(data_set):
        seen[note["label"]] += 1
        assert len(note["item_ids"]) == (2 if note["label"] == "multi_pick" else 1)
        assert note["context"] in ("gripper", "tray", "tote")
        assert not (note["label"] == "multi_pick" and note["context"] == "tote")
        if note["label"] == "package_defect":
            assert note["damage"] in DAMAGES
            assert note["changed"] >= LEAST_CHANGE
        else:
            assert "damage" not in note
    assert set(seen) == set(DEFECT_LABELS)


def test_box_mask_and_picture_agree(data_set):
    for note in notes(data_set):
        image = read_image(data_set / "data" / note["id"] / f"{note['id']}.jpg")
        code = dict(note["segmentation"], counts=note["segmentation"]["counts"].encode())
        mask = coco_mask.decode(code)
        assert mask.shape == image.shape[:2]
        assert note["bbox"] == [int(v) for v in coco_mask.toBbox(code)]
        assert np.count_nonzero(mask) >= 80
        assert all(len(polygon) >= 6 for polygon in note["polygons"])


def test_two_items_make_one_mask(data_set):
    doubles = [note for note in notes(data_set) if note["label"] == "multi_pick"]
    assert doubles
    for note in doubles:
        code = dict(note["segmentation"], counts=note["segmentation"]["counts"].encode())
        assert coco_mask.area(code) > 0.15 * note["bbox"][2] * note["bbox"][3]


def test_two_items_are_of_one_product_or_of_two(data_set):
    pairs = [note["item_ids"] for note in notes(data_set) if note["label"] == "multi_pick"]
    assert {first == second for first, second in pairs} == {True, False}


def test_same_seed_same_bytes_for_any_jobs(data_set, tmp_path):
    write_defects(tmp_path / "again", 2, 2, "val", jobs=1)
    again = tree(tmp_path / "again")
    first = tree(data_set)
    assert len(again) == 2 * 2 + 2  # picture and note of each, the list, the seed
    assert all(first[name] == content for name, content in again.items())
    write_defects(tmp_path / "other", 3, 1, "val", jobs=1)
    name = "data/val-000000/val-000000.jpg"
    assert tree(tmp_path / "other")[name] != again[name]


def test_change_counts_differing_pixels_of_the_item():
    def seen(image, marks):
        return Rendering(image, marks, np.ones(marks.shape, np.float32))

    marks = np.zeros((10, 10), np.int32)
    marks[2:6, 2:7] = 3
    first = np.full((10, 10, 3), 90, np.uint8)
    second = first.copy()
    second[2, 2:7, 1] = 200  # five of twenty pixels
    second[8:, :] = 0  # and much beside the item
    assert change(seen(first, marks), seen(second, marks), 3) == 5 / 20
    grown = marks.copy()
    grown[6, 2:7] = 3  # the item reaches five pixels further
    assert change(seen(first, marks), seen(first, grown), 3) == 5 / 25
    assert change(seen(first, marks), seen(second, marks), 9) == 0.0


def test_bad_wishes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="exam"):
        write_defects(tmp_path / "set", 0, 5, "exam")
    with pytest.raises(ConfigError):
        write_defects(tmp_path / "set", 0, 2, "all")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_defects(tmp_path / "file" / "set", 0, 1, "val")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
