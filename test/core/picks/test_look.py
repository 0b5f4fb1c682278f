# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""In each view the right instance is looked at, and only that one."""

import math

import numpy as np
import pytest

from robollm_core.errors import NotFiniteError, PickError
from robollm_core.picks.event import PickEvent, PickView
from robollm_core.picks.look import Looker, choose
from robollm_core.pipeline import Stages
from robollm_core.types import DefectReport, Frame, Identification, Instance

PICK, HELD = PickView("top", "latest"), PickView("arm", "latest", role="post")
FRAME = Frame(np.zeros((100, 200, 3), np.uint8), 7, "optical")


def instance(x0, y0, x1, y1):
    return Instance((x0, y0, x1, y1), np.ones((y1 - y0, x1 - x0), np.bool_), 0.9)


LEFT, MIDDLE, RIGHT = (
    instance(10, 10, 50, 60),
    instance(90, 45, 110, 55),
    instance(140, 20, 190, 80),
)
ALL = (LEFT, MIDDLE, RIGHT)


def event(*views, **fields):
    return PickEvent("e", "P", "pre_pick", views or (PICK,), **fields)


def test_without_a_word_the_central_instance_is_meant():
    assert choose(ALL, FRAME, 0, event()) == (1, "central")
    assert choose((), FRAME, 0, event()) == (None, "")


def test_the_centre_counts_in_shares_of_the_image():
    near_in_pixels = instance(90, 85, 110, 95)  # 40 of 100 rows off
    near_in_shares = instance(140, 40, 170, 60)  # 55 of 200 columns off
    assert choose((near_in_pixels, near_in_shares), FRAME, 0, event()) == (1, "central")


@pytest.mark.parametrize(
    "roi, expected",
    [
        ((10, 10, 50, 60), 0),
        ((0, 0, 60, 100), 0),
        ((85, 40, 115, 60), 1),
        ((80, 0, 200, 100), 2),  # both lie in it; the larger fills more of it
        ((60, 0, 80, 100), None),
        ((45, 30, 89, 60), None),  # touches one at its edge
    ],
)
def test_the_region_means_the_instance_in_it(roi, expected):
    said = choose(ALL, FRAME, 0, event(roi_xyxy_px=roi))
    assert said == (expected, "roi" if expected is not None else "")


def test_the_region_is_of_the_first_pick_view_alone():
    views = (HELD, PICK, PickView("side", "latest"))
    asked = event(*views, roi_xyxy_px=(10, 10, 50, 60))
    chosen = [choose(ALL, FRAME, index, asked) for index in range(3)]
    assert chosen == [(1, "central"), (0, "roi"), (1, "central")]


def test_a_view_may_have_a_region_of_its_own():
    held = PickView("arm", "latest", role="post", roi_xyxy_px=(140, 20, 190, 80))
    pick = PickView("top", "latest", roi_xyxy_px=(85, 40, 115, 60))
    asked = event(pick, held, roi_xyxy_px=(10, 10, 50, 60))
    assert choose(ALL, FRAME, 0, asked) == (1, "roi")
    assert choose(ALL, FRAME, 1, asked) == (2, "roi")


@pytest.mark.parametrize("camera", ["optical", "top"])
def test_the_selection_means_that_detection_and_wins_over_the_region(camera):
    asked = event(detection_id=f"{camera}/7/2", roi_xyxy_px=(10, 10, 50, 60))
    assert choose(ALL, FRAME, 0, asked) == (2, "selection")


@pytest.mark.parametrize(
    "detection_id, told",
    [
        ("optical/8/0", "of another frame"),
        ("wall/7/0", "of another frame"),
        ("optical/7/3", "names instance 3 of 3"),
    ],
)
def test_a_selection_that_the_frame_does_not_have_is_refused(detection_id, told):
    with pytest.raises(PickError, match=told):
        choose(ALL, FRAME, 0, event(detection_id=detection_id))


def test_the_selection_of_one_view_does_not_hinder_another():
    asked = event(PICK, PickView("wall", "latest"), HELD, detection_id="top/7/0")
    other = Frame(FRAME.image_rgb, 9, "elsewhere")
    assert choose(ALL, FRAME, 0, asked) == (0, "selection")
    assert choose(ALL, other, 1, asked) == (1, "central")
    assert choose(ALL, other, 2, asked) == (1, "central")


class Recorder:
    """Three stages that note what they were given."""

    def __init__(self, instances):
        self.instances, self.identified, self.inspected = instances, [], []

    def segment(self, frame):
        return self.instances

    def identify(self, frame, instances, manifest, crops=None):
        self.identified.append((tuple(instances), manifest))
        return tuple(Identification((("tea", 0.5),), "tea") for _ in instances)

    def inspect(self, frame, instances, crops=None):
        self.inspected.append(tuple(instances))
        return tuple(DefectReport((0.0, 1.0, 0.0), "nominal", 0.0) for _ in instances)


def test_only_the_chosen_instance_is_identified_and_inspected():
    stage, manifest = Recorder(ALL), object()
    answer = Looker().look(FRAME, 0, event(), manifest, Stages(stage, stage, stage))
    assert stage.identified == [((MIDDLE,), manifest)]
    assert stage.inspected == [(MIDDLE,)]
    assert (answer.camera, answer.frame_id, answer.stamp_ns) == ("top", "optical", 7)
    assert (answer.detection_id, answer.box_xyxy_px) == ("optical/7/1", MIDDLE.box_xyxy_px)
    assert (answer.candidates, answer.chosen_by) == ((("tea", 0.5),), "central")
    assert answer.found
    assert set(answer.secs) == {"segment", "identify", "inspect"}


@pytest.mark.parametrize("what", ["score", "probability"])
def test_what_is_no_number_is_refused(what, monkeypatch):
    stage = Recorder(ALL)
    wrong = {
        "score": ("identify", (Identification((("tea", math.nan),), "tea"),)),
        "probability": ("inspect", (DefectReport((0.0, math.inf, 0.0), "nominal", 0.0),)),
    }
    name, given = wrong[what]
    monkeypatch.setattr(stage, name, lambda *arguments: given)
    with pytest.raises(NotFiniteError, match="must be numbers"):
        Looker().look(FRAME, 0, event(), None, Stages(stage, stage, stage))


def test_an_empty_view_is_answered_without_the_other_networks():
    stage = Recorder(())
    answer = Looker().look(FRAME, 0, event(), None, Stages(stage, stage, stage))
    assert not answer.found
    assert (answer.box_xyxy_px, answer.candidates, answer.chosen_by) == (None, (), "")
    assert stage.identified == stage.inspected == []


def test_a_real_stage_reports_every_candidate_while_the_stream_gets_its_few(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from colour_cell import COLOURS, draw_tote, manifest_text, write_cell, write_references

    from robollm_core.cell import build_stages
    from robollm_core.config import Config, update
    from robollm_core.manifests import parse_manifest

    values = {**write_cell(tmp_path), "runtime.threads": 1, "identification.top_k": 1}
    stages = build_stages(
        update(Config(), {**values, "identification.reference_root": str(tmp_path)})
    )
    manifest = parse_manifest(manifest_text(write_references(tmp_path)), "x")
    stages.identification.prepare(manifest)
    frame, looker = Frame(draw_tote(), 7, "optical"), Looker()
    asked = event(roi_xyxy_px=(8, 8, 40, 40))
    for _ in range(2):
        answer = looker.look(frame, 0, asked, manifest, stages)
        assert answer.candidates[0][0] == "apple"
        assert {name for name, _ in answer.candidates} == set(COLOURS)
    one = stages.identification.identify(frame, stages.segmentation.segment(frame)[:1], manifest)
    assert len(one[0].candidates) == 1
