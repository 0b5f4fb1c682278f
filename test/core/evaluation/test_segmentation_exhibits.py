# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Each kind of case is told from the others, and drawn where it is."""

import json

import cv2
import numpy as np
import pytest
import small_totes

from robollm_core.config import SegmentationConfig
from robollm_core.data.broken import BrokenFiles
from robollm_core.evaluation.precision import Found
from robollm_core.evaluation.segmentation_exhibits import (
    FOUND_RGB,
    LONGEST_PX,
    TRUTH_RGB,
    Cases,
)
from robollm_core.evaluation.segmentation_matching import match_image
from robollm_core.evaluation.segmentation_sets import find_subsets

MIXED = "mix-object-tote"
LEFT, RIGHT = (10, 10, 50, 80), (52, 10, 92, 80)


def found(box, score):
    code = small_totes.rle(box)
    return Found({"size": code["size"], "counts": code["counts"].encode()}, score)


def look(folder, truths, answers, images=1, **settings):
    """What is shown of images with the same truths and answers."""
    annotations = [
        small_totes.truth(100 * image + n, image, box, **more)
        for image in range(1, images + 1)
        for n, (box, more) in enumerate(truths)
    ]
    small_totes.write_set(folder / MIXED, "test", range(1, images + 1), annotations)
    broken, cases = BrokenFiles(), Cases(SegmentationConfig(**settings), 3)
    subset = find_subsets(folder, "test")[0]
    for image in subset.read(broken):
        _, overlaps = match_image(image, [found(*one) for one in answers], subset.classes)
        cases.look(MIXED, image, overlaps)
    return cases, broken


def shown(folder, truths, answers, **settings):
    cases, broken = look(folder, [(box, {}) for box in truths], answers, **settings)
    return {one.group: one for one in cases.exhibits(broken)}


def pixels(exhibit):
    data = np.frombuffer(exhibit.pictures[0][1], np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def share(image, colour):
    return float((np.abs(image - colour).max(2) < 60).mean())


def test_right_answers_show_nothing(tmp_path):
    assert shown(tmp_path, [LEFT, RIGHT], [(LEFT, 0.9), (RIGHT, 0.8)]) == {}


def test_a_miss_is_drawn_with_its_outline(tmp_path):
    cases = shown(tmp_path, [LEFT], [])
    assert set(cases) == {"missed"}
    image = pixels(cases["missed"])
    assert share(image, TRUTH_RGB) > 0.005
    assert share(image, FOUND_RGB) == 0.0
    assert cases["missed"].title == f"{MIXED}/1.png"
    assert "best IoU 0.00" in cases["missed"].note


def test_the_larger_and_the_less_hidden_miss_comes_first(tmp_path):
    small, hidden = (60, 60, 70, 70), (60, 5, 120, 55)
    truths = [(small, {}), (LEFT, {"visible_fraction": 1.0}), (hidden, {"visible_fraction": 0.2})]
    cases, broken = look(tmp_path, truths, [])
    (miss,) = cases.exhibits(broken)
    assert miss.note.startswith("22.8% of the image")
    assert "100% visible" in miss.note


def test_a_false_alarm_is_the_surest_answer_where_nothing_is(tmp_path):
    answers = [(LEFT, 0.9), ((60, 10, 70, 20), 0.5), ((80, 60, 90, 70), 0.7)]
    cases = shown(tmp_path, [LEFT], answers)
    assert set(cases) == {"false alarm"}
    assert cases["false alarm"].note == "score 0.70, IoU 0.00"
    assert share(pixels(cases["false alarm"]), FOUND_RGB) > 0.005


def test_what_the_stage_does_not_report_is_no_false_alarm(tmp_path):
    answers = [(LEFT, 0.9), ((60, 10, 70, 20), 0.3)]
    assert shown(tmp_path, [LEFT], answers, score_threshold=0.35) == {}
    assert shown(tmp_path, [LEFT], answers, score_threshold=0.2, max_instances=1) == {}
    assert set(shown(tmp_path, [LEFT], answers, score_threshold=0.2)) == {"false alarm"}


def test_one_answer_over_two_instances_is_a_merge(tmp_path):
    cases = shown(tmp_path, [LEFT, RIGHT], [((10, 10, 92, 80), 0.9)])
    assert cases["merged"].note == "one answer, score 0.90, covers 2 instances"
    assert set(cases) == {"merged", "missed"}
    image = pixels(cases["merged"])
    assert share(image, TRUTH_RGB) > 0.005 < share(image, FOUND_RGB)


def test_two_answers_in_one_instance_are_a_split_unless_one_is_good_enough(tmp_path):
    upper, lower = (10, 10, 50, 40), (10, 46, 50, 80)
    cases = shown(tmp_path, [LEFT], [(upper, 0.9), (lower, 0.8)])
    assert set(cases) == {"split", "missed"}
    assert "covered by 2 answers" in cases["split"].note
    assert "split" not in shown(tmp_path, [LEFT], [(LEFT, 0.9), (lower, 0.8)])


def test_a_crowd_is_neither_missed_nor_a_place_of_false_alarms(tmp_path):
    cases, broken = look(tmp_path, [(LEFT, {"iscrowd": 1})], [((12, 12, 30, 30), 0.9)])
    assert cases.exhibits(broken) == ()


def test_few_are_kept_and_none_is_large(tmp_path):
    cases, broken = look(tmp_path, [(LEFT, {})], [], images=5)
    exhibits = cases.exhibits(broken)
    assert len(exhibits) == 3
    for one in exhibits:
        image = pixels(one)
        assert max(image.shape[:2]) <= LONGEST_PX


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (127, 95, 128, 96), (0, 0, 128, 96)])
def test_cases_at_the_edge_are_drawn(tmp_path, box):
    assert pixels(shown(tmp_path, [box], [])["missed"]).shape[2] == 3


def test_an_image_that_went_missing_is_listed(tmp_path):
    cases, broken = look(tmp_path, [(LEFT, {})], [], images=2)
    (tmp_path / MIXED / "images" / "2.png").write_bytes(b"no image")
    assert len(cases.exhibits(broken)) == 1
    assert [entry.path.rsplit("/", 1)[1] for entry in broken.entries] == ["2.png"]


def test_a_file_without_areas_and_boxes_takes_the_masks(tmp_path):
    file = small_totes.write_set(tmp_path / MIXED, "test", [1], [small_totes.truth(1, 1, LEFT)])
    subset = find_subsets(tmp_path, "test")[0]
    (with_them,) = next(subset.read(BrokenFiles())).annotations
    tree = json.loads(file.read_text())
    for change in ({"area": None, "bbox": None}, {"area": -1, "bbox": [1, 2]}, {"bbox": "left"}):
        changed = [{**one, **change} for one in tree["annotations"]]
        file.write_text(json.dumps({**tree, "annotations": changed}))
        (one,) = next(subset.read(BrokenFiles())).annotations
        assert (one.area, one.box_xywh) == (with_them.area, with_them.box_xywh)
        assert (one.area, one.box_xywh) == (2800.0, (10.0, 10.0, 40.0, 70.0))
