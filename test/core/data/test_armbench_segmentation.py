# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import copy
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from robollm_core.data.armbench_segmentation import (
    coco_classes,
    iterate_coco,
    read_coco,
    read_split,
    subsets,
)
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.rle import decode_runs
from robollm_core.errors import DatasetError

MASK = np.zeros((12, 16), bool)
MASK[3:9, 4:11] = True
MASK[5, 6] = False


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def runs_of(mask):
    """Run lengths by hand, column by column, starting with background."""
    runs, last = [0], False
    for value in mask.T.ravel():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


@pytest.fixture
def tree():
    segmentation = compressed(MASK)
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 16, "height": 12},
            {"id": 8, "file_name": "b.png", "width": 16, "height": 12},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "segmentation": segmentation,
                "item_id": "X",
            },
            {"id": 2, "image_id": 7, "category_id": 2, "segmentation": segmentation},
        ],
        "categories": [{"id": 1, "name": "Object"}, {"id": 2, "name": "Tote"}],
    }


@pytest.fixture
def root(tmp_path, tree):
    folder = tmp_path / "mix-object-tote"
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / "images" / name), np.zeros((12, 16, 3), np.uint8))
    (folder / "val.json").write_text(json.dumps(tree))
    return tmp_path


def read(root, tree):
    file = root / "mix-object-tote" / "val.json"
    file.write_text(json.dumps(tree))
    return read_split(root, "val")


def test_reads_instances_of_the_object_class(root):
    first, second = read_split(root, "val")
    assert first.path.name == "a.png"
    assert (first.height, first.width) == (12, 16)
    assert len(first.truths) == 1
    assert first.truths[0].item_id == "X"
    assert np.array_equal(first.truths[0].mask(), MASK)
    assert second.truths == ()
    assert first.read().shape == (12, 16, 3)
    assert subsets(root, "val") == ("mix-object-tote",)


def test_all_three_forms_of_a_mask_mean_the_same(root, tree):
    box = np.zeros((12, 16), bool)
    box[2:8, 3:10] = True
    polygon = [[3, 2, 10, 2, 10, 8, 3, 8]]
    for form in (compressed(box), {"size": [12, 16], "counts": runs_of(box)}, polygon):
        tree["annotations"][0]["segmentation"] = form
        assert np.array_equal(read(root, tree)[0].truths[0].mask(), box)


def test_a_polygon_a_rounding_beyond_the_edge_is_clipped(root, tree):
    tree["annotations"][0]["segmentation"] = [[-1, -1, 17.5, -1, 17.5, 13, -1, 13]]
    assert read(root, tree)[0].truths[0].mask().all()


def test_run_lengths_equal_those_counted_by_hand():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((40, 50)) < rng.random()
        assert decode_runs(compressed(mask)["counts"].encode()) == runs_of(mask)


def bad(path, value):
    def change(tree):
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (bad(["images", 0, "id"], 8), "twice"),
        (bad(["images", 0, "height"], 0), "height"),
        (bad(["images", 0, "height"], "12"), "height"),
        (bad(["images", 0, "file_name"], "../../a.png"), "leaves its folder"),
        (bad(["images", 0, "file_name"], "/etc/passwd"), "leaves its folder"),
        (bad(["images", 0, "file_name"], "c.png"), "no "),
        (bad(["annotations", 0, "image_id"], 99), "99"),
        (bad(["annotations", 0, "category_id"], 5), "annotation 1 .* category 5.*1 'object'"),
        (bad(["annotations", 0, "segmentation"], None), "mask"),
        (bad(["annotations", 0, "segmentation"], [[1, 2, 3, 4]]), "three points"),
        (bad(["annotations", 0, "segmentation"], [[1, 2, 3, 4, float("nan"), 5]]), "NaN"),
        (bad(["annotations", 0, "segmentation"], [["x"] * 6]), "mask"),
        (bad(["annotations", 0, "segmentation"], [[1, 2, 3, 4, 5, 6, 7]]), "two numbers"),
        (bad(["annotations", 0, "segmentation"], [1, 2, 3, 4, 5, 6]), "annotation 1"),
        (bad(["annotations", 0, "segmentation"], []), "no polygon"),
        (
            bad(["annotations", 0, "segmentation"], [[100, 90, 110, 90, 110, 95]]),
            r"annotation 1 .*94\.0 pixels out of its image of 16x12; scale it",
        ),
        (bad(["annotations", 0, "segmentation"], [[3, 2, 10, 2, 10, -2.5]]), "clip it"),
        (bad(["annotations", 0, "segmentation", "size"], [16, 12]), "size"),
        (bad(["annotations", 0, "segmentation", "counts"], "zz"), "mask"),
        (bad(["annotations", 0, "segmentation", "counts"], ""), "cover"),
        (bad(["annotations", 0, "segmentation", "counts"], [5, 500]), "cover"),
        (bad(["annotations", 0, "segmentation", "counts"], [200, -8]), "cover"),
        (bad(["categories"], [{"id": 1, "name": "Tote"}]), "category"),
        (bad(["images"], {}), "images"),
        (bad(["annotations"], [1]), "annotations"),
    ],
)
def test_what_does_not_fit_is_refused(root, tree, change, says):
    tree = copy.deepcopy(tree)
    change(tree)
    with pytest.raises(DatasetError, match=says):
        read(root, tree)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_what_is_not_coco_json_is_refused(tmp_path, text):
    file = tmp_path / "annotations.json"
    file.write_text(text)
    with pytest.raises(DatasetError, match="annotations.json"):
        read_coco(file, tmp_path)


def test_a_missing_split_names_the_layout(root):
    with pytest.raises(DatasetError, match="robollm synth"):
        read_split(root, "test")


def test_an_image_of_another_size_or_damaged_is_refused(root):
    tote = read_split(root, "val")[0]
    cv2.imwrite(str(tote.path), np.zeros((10, 16, 3), np.uint8))
    with pytest.raises(DatasetError, match="16x10"):
        tote.read()
    for data, says in ((tote.path.read_bytes()[:30], "truncated"), (b"", "empty"), (b"x", "PNG")):
        tote.path.write_bytes(data)
        with pytest.raises(DatasetError, match=rf"a\.png.*{says}.*take the image and its annot"):
            tote.read()


def test_object_only_and_with_the_tote_side_by_side(root, tree):
    tree["annotations"].append({**tree["annotations"][0], "id": 3, "item_id": 5})
    file = root / "mix-object-tote" / "val.json"
    file.write_text(json.dumps(tree))
    assert coco_classes(file) == ("object", "tote")
    both = read_split(root, "val", classes=("object", "tote"))[0].truths
    assert [truth.category for truth in both] == ["object", "tote", "object"]
    assert [truth.item_id for truth in both] == ["X", "", ""]
    only = read_split(root, "val")[0].truths
    assert only == tuple(truth for truth in both if truth.category == "object")
    assert [t.category for t in read_split(root, "val", classes=("tote",))[0].truths] == ["tote"]
    with pytest.raises(DatasetError, match="no category 'box'"):
        read_split(root, "val", classes=("object", "box"))


def test_parts_and_crowds_are_what_pycocotools_makes_of_them(root, tree):
    parts = [[1, 1, 5, 1, 5, 5, 1, 5], [8, 6, 14, 6, 14, 10, 8, 10], [3, 3, 12, 3, 12, 8, 3, 8]]
    runs = {"size": [12, 16], "counts": runs_of(MASK)}
    base = tree["annotations"][0]
    tree["annotations"] = [
        {**base, "id": 1, "segmentation": parts, "iscrowd": 0},
        {**base, "id": 2, "segmentation": runs, "iscrowd": 1},
    ]
    found = read(root, tree)[0].truths
    assert [truth.crowd for truth in found] == [False, True]
    wanted = np.zeros((12, 16), bool)
    for part in parts:
        wanted |= coco_mask.decode(coco_mask.frPyObjects([part], 12, 16))[..., 0].astype(bool)
    assert np.array_equal(found[0].mask(), wanted)
    assert np.array_equal(found[1].mask(), MASK)


def test_the_lists_may_come_in_any_order(root, tree):
    base = tree["annotations"][0]
    other = {**base, "id": 9, "image_id": 8, "item_id": "Y"}
    tree["annotations"] = [other, base, {**other, "id": 10, "item_id": "Z"}]
    wanted = [("X",), ("Y", "Z")]
    for keys in (sorted(tree), sorted(tree, reverse=True)):
        found = read(root, {key: tree[key] for key in keys})
        assert [tuple(t.item_id for t in image.truths) for image in found] == wanted


def entry(number, **change):
    return {"id": number, "file_name": f"{number}.png", "width": 16, "height": 12} | change


def test_broken_images_are_left_out_and_noted(root, tree):
    folder = root / "mix-object-tote"
    base = tree["annotations"][0]
    tree["images"] = [
        entry(1),
        entry(2),  # no file
        entry(3, height=0),
        entry(4),  # a mask that does not fit
        entry(5),  # an unknown class
        entry(6, file_name="../6.png"),
        entry(7),
        entry(7, file_name="twice.png"),
    ]
    tree["annotations"] = [
        {**base, "id": 10 + number, "image_id": number} for number in (1, 1, 2, 3, 6, 7, 99)
    ]
    tree["annotations"] += [
        {**base, "id": 30, "image_id": 4, "segmentation": [[1, 2, 3, 4]]},
        {**base, "id": 31, "image_id": 4, "segmentation": "all"},
        {**base, "id": 32, "image_id": 5, "category_id": 77},
    ]
    for number in (1, 3, 4, 5, 7):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.zeros((12, 16, 3), np.uint8))
    (folder / "val.json").write_text(json.dumps(tree))
    broken = BrokenFiles()
    found = read_split(root, "val", broken=broken)
    assert [image.path.name for image in found] == ["1.png"]
    assert len(found[0].truths) == 2
    noted = {entry.path.removeprefix(f"{folder}/"): entry.reason for entry in broken.entries}
    assert set(noted) == {
        "images/2.png",
        "images/3.png",
        "images/4.png",
        "images/5.png",
        "images/../6.png",
        "images/7.png",
        "images/twice.png",
        "val.json, annotation 109",
    }
    assert "annotation 30" in noted["images/4.png"] and "unknown" in noted["images/5.png"]


def test_a_broken_json_ends_the_run_all_the_same(root):
    file = root / "mix-object-tote" / "val.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(DatasetError, match="cannot read the COCO file"):
        list(iterate_coco(file, file.parent / "images", broken=BrokenFiles()))
