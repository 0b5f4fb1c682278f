# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The whole road from files to figures, with a network whose answers are known."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

pytest.importorskip("onnx", reason="the stand-in network is written with onnx")

import colour_cell

from robollm_core.config import load
from robollm_core.errors import ArtifactError, DatasetError
from robollm_core.evaluation.segmentation import evaluate

BOXES = [(8, 8, 40, 40), (56, 16, 88, 64), (96, 48, 120, 88)]
SCORES = [0.9, 0.8, 0.3]


def write_coco(file, images, contents):
    """Images of 128 x 96 with rectangular instances, given by their boxes."""
    images.mkdir(parents=True, exist_ok=True)
    tree = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Object"}]}
    for number, boxes in enumerate(contents):
        name = f"{number}.png"
        cv2.imwrite(str(images / name), np.full((96, 128, 3), 90, np.uint8))
        tree["images"].append({"id": number, "file_name": name, "width": 128, "height": 96})
        for x0, y0, x1, y1 in boxes:
            mask = np.zeros((96, 128), np.uint8, order="F")
            mask[y0:y1, x0:x1] = 1
            rle = coco_mask.encode(mask)
            segmentation = {"size": [96, 128], "counts": rle["counts"].decode()}
            entry = {"id": len(tree["annotations"]) + 1, "image_id": number, "category_id": 1}
            tree["annotations"].append({**entry, "segmentation": segmentation})
    file.write_text(json.dumps(tree))


@pytest.fixture
def network(tmp_path):
    return colour_cell.segmentation(tmp_path / "segmentation.onnx", BOXES, SCORES)


def test_a_network_that_says_the_truth_has_ap_one(network, tmp_path):
    folder = tmp_path / "data" / "mix-object-tote"
    folder.mkdir(parents=True)
    write_coco(folder / "test.json", folder / "images", [BOXES] * 3)
    section = evaluate(network, tmp_path / "data", "test")
    assert section["mask_map50"] == {"value": 1.0, "n": 3, "low": 1.0, "high": 1.0}
    subset = section["subsets"]["mix-object-tote"]
    assert subset["mask"] == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0}
    assert subset["box"] == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0}
    assert (subset["images"], subset["instances"]) == (3, 9)
    json.dumps(section, allow_nan=False)


def test_figures_worked_out_by_hand(network, tmp_path):
    # image 0: all three there; image 1: only the best one; image 2: nothing at all
    folder = tmp_path / "mix-object-tote"
    folder.mkdir()
    write_coco(folder / "val.json", folder / "images", [BOXES, BOXES[:1], []])
    half = load(None, ["segmentation.score_threshold=0.5"])
    section = evaluate(network, tmp_path, "val", half)
    # ranked: 0.9 hit hit miss, 0.8 hit miss miss, 0.3 hit miss miss; recalls 1/4 each
    # precision from the right: 1 1 . 3/4 . . 4/7; recalls up to 1/2, 3/4, 1
    expected = (51 * 1.0 + 25 * 3 / 4 + 25 * 4 / 7) / 101
    assert section["mask_map50"]["value"] == pytest.approx(expected, abs=1e-6)
    subset = section["subsets"]["mix-object-tote"]
    assert subset["crowding"]["1-5"]["images"] == 2
    assert set(subset["crowding"]) == {"1-5"}
    point = subset["at_threshold"]
    assert point["score_threshold"] == 0.5
    assert point["precision"] == pytest.approx(3 / 6)
    assert point["recall"] == pytest.approx(3 / 4)


def test_a_lower_threshold_moves_the_working_point_alone(network, tmp_path):
    folder = tmp_path / "mix-object-tote"
    folder.mkdir()
    write_coco(folder / "val.json", folder / "images", [BOXES])
    half = load(None, ["segmentation.score_threshold=0.5"])
    first = evaluate(network, tmp_path, "val", half)
    second = evaluate(network, tmp_path, "val", load(None, ["segmentation.score_threshold=0.1"]))
    assert first["mask_map50"] == second["mask_map50"]
    assert first["subsets"]["mix-object-tote"]["at_threshold"]["recall"] == pytest.approx(
        2 / 3, 1e-5
    )
    assert second["subsets"]["mix-object-tote"]["at_threshold"]["recall"] == 1.0


def test_masks_of_half_the_size_fail_every_threshold_above_it(tmp_path):
    # the upper half of each box: IoU 0.5 exactly, a hit at 0.5 and at nothing above
    masks = np.zeros((3, 28, 28), np.float32)
    masks[:, :14] = 1.0
    network = colour_cell.segmentation(tmp_path / "s.onnx", BOXES, SCORES, masks)
    folder = tmp_path / "mix-object-tote"
    folder.mkdir()
    write_coco(folder / "test.json", folder / "images", [BOXES])
    subset = evaluate(network, tmp_path)["subsets"]["mix-object-tote"]
    assert subset["mask"] == {"ap": 0.1, "ap50": 1.0, "ap75": 0.0}
    assert subset["box"]["ap50"] == 1.0


def test_a_folder_of_photos_has_no_splits(network, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    write_coco(photos / "annotations.json", photos / "images", [BOXES])
    section = evaluate(network, photos)
    assert section["of"] == "photos"
    assert section["mask_map50"]["value"] == 1.0


def test_all_subsets_are_measured_and_the_mixed_one_leads(network, tmp_path):
    for name in ("same-object-transfer-set", "mix-object-tote"):
        folder = tmp_path / name
        folder.mkdir()
        truths = BOXES if name == "mix-object-tote" else [(0, 0, 5, 5)]
        write_coco(folder / "test.json", folder / "images", [truths])
    section = evaluate(network, tmp_path)
    assert section["of"] == "mix-object-tote"
    assert section["mask_map50"]["value"] == 1.0
    assert section["subsets"]["same-object-transfer-set"]["mask"]["ap50"] == 0.0


def test_no_data_and_a_foreign_artifact_are_refused(network, tmp_path):
    with pytest.raises(DatasetError, match="mix-object-tote"):
        evaluate(network, tmp_path)
    other = colour_cell.identification(tmp_path / "identification.onnx")
    with pytest.raises(ArtifactError, match="segmentation"):
        evaluate(other, tmp_path)


def test_the_best_working_point_leaves_false_alarms_out(network, tmp_path):
    # only the two better boxes are there, so the best threshold lies above 0.3
    folder = tmp_path / "mix-object-tote"
    folder.mkdir()
    write_coco(folder / "val.json", folder / "images", [BOXES[:2]])
    best = evaluate(network, tmp_path, "val")["subsets"]["mix-object-tote"]["at_best_f1"]
    assert 0.3 < best["score_threshold"] <= 0.8
    assert best["precision"] == best["recall"] == 1.0
