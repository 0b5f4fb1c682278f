# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Results of others are read as they write them, and not believed."""

import json

import pytest
import small_totes

from robollm_core.errors import DatasetError
from robollm_core.evaluation.segmentation_peers import (
    PeerResults,
    file_name,
    find_results,
    read_results,
)
from robollm_core.evaluation.segmentation_sets import find_subsets

BOX = (8, 8, 40, 40)
MIXED = "mix-object-tote"
SAME = "same-object-transfer-set"


@pytest.fixture
def subset(tmp_path):
    annotations = [small_totes.truth(1, 1, BOX)]
    small_totes.write_set(tmp_path / "data" / MIXED, "test", [1, 2], annotations)
    return find_subsets(tmp_path / "data", "test")[0]


def read(tmp_path, subset, tree):
    file = tmp_path / "results.json"
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return read_results(file, subset)


def test_results_with_and_without_boxes_are_read(tmp_path, subset):
    first, second = small_totes.answer(1, BOX, 0.5), small_totes.answer(2, BOX, 1, 9)
    del second["bbox"]
    found = read(tmp_path, subset, [first, second])
    assert [one.category for one in found[1] + found[2]] == ["object", "tote"]
    assert found[1][0].box_xyxy == (8.25, 7.75, 39.75, 40.25)
    assert found[2][0].box_xyxy is None
    assert found[2][0].score == 1.0
    assert read(tmp_path, subset, []) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 7}, "image_id 7"),
        ({"image_id": True}, "image_id True"),
        ({"image_id": [1]}, "image_id"),
        ({"image_id": None}, "image_id None"),
        ({"category_id": 1}, "category_id 1"),
        ({"category_id": None}, "category_id None"),
        ({"category_id": []}, "category_id"),
        ({"score": "0.5"}, "score"),
        ({"score": None}, "score"),
        ({"score": True}, "score"),
        ({"segmentation": {"size": [10, 10], "counts": "0100"}}, r"\[96, 128\]"),
        ({"segmentation": {"size": [96, 128]}}, "counts"),
        ({"segmentation": {"size": [96, 128], "counts": "abc"}}, "run lengths"),
        ({"segmentation": None}, "RLE"),
        ({"bbox": [1, 2, 3]}, "four"),
        ({"bbox": [1, 2, -3, 4]}, "negative"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(tmp_path, subset, change, said):
    good = small_totes.answer(1, BOX, 0.5)
    with pytest.raises(DatasetError, match=f"detection 1: .*{said}.*expected COCO results"):
        read(tmp_path, subset, [good, {**good, **change}])


@pytest.mark.parametrize("name", ["image_id", "category_id", "score", "segmentation"])
def test_a_missing_key_is_named(tmp_path, subset, name):
    entry = small_totes.answer(1, BOX, 0.5)
    del entry[name]
    with pytest.raises(DatasetError, match=f"no '{name}'"):
        read(tmp_path, subset, [entry])


@pytest.mark.parametrize("word", ["NaN", "Infinity"])
def test_a_score_that_is_no_number_is_refused(tmp_path, subset, word):
    text = json.dumps([small_totes.answer(1, BOX, 0.5)]).replace("0.5,", f"{word},", 1)
    assert word in text
    with pytest.raises(DatasetError, match="not a number"):
        read(tmp_path, subset, text)


@pytest.mark.parametrize("text", ["", "{}", "3", "[1]", "[{", '[{"image_id": 1'])
def test_a_file_of_another_form_is_refused(tmp_path, subset, text):
    with pytest.raises(DatasetError, match="expected COCO results"):
        read(tmp_path, subset, text)


def test_files_are_found_by_the_name_of_their_subset(tmp_path):
    for name in (MIXED, SAME):
        small_totes.write_set(tmp_path / "data" / name, "test", [1], [])
    subsets = find_subsets(tmp_path / "data", "test")
    folder = tmp_path / "theirs"
    folder.mkdir()
    with pytest.raises(DatasetError, match=file_name(MIXED)):
        find_results(folder, subsets)
    with pytest.raises(DatasetError, match="no results"):
        find_results(tmp_path / "none.json", subsets)
    named = folder / file_name(SAME)
    named.write_text("[]")
    assert find_results(folder, subsets) == find_results(named, subsets) == {SAME: named}
    assert [one.name for one in PeerResults(folder, subsets).measured] == [SAME]
    other = folder / "segm.json"
    other.write_text("[]")
    with pytest.raises(DatasetError, match="which subset"):
        find_results(other, subsets)
    assert find_results(other, subsets[:1]) == {MIXED: other}
