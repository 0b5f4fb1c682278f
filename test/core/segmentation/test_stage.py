# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation stage around a real ONNX graph whose output is known."""

import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import INPUT_HW, segmentation

from robollm_core.config import RuntimeConfig, SegmentationConfig
from robollm_core.errors import ArtifactError, NotFiniteError
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.segmentation.stage import Segmenter
from robollm_core.types import Frame

RUNTIME = RuntimeConfig(threads=1)


@pytest.fixture
def make(tmp_path):
    def build(boxes, scores, masks=None, labels=("object",), **config):
        path = segmentation(tmp_path / "segmentation.onnx", boxes, scores, masks, labels)
        _, sidecar = load_artifact(path)
        return Segmenter(load_engine(path, RUNTIME), sidecar, SegmentationConfig(**config))

    return build


def frame(height=INPUT_HW[0], width=INPUT_HW[1]):
    return Frame(np.zeros((height, width, 3), np.uint8))


BOXES = [(8, 8, 40, 40), (56, 16, 88, 64), (96, 48, 120, 88), (0, 0, 0, 0)]


def test_boxes_come_back_in_source_pixels(make):
    stage = make(BOXES, [0.9, 0.8, 0.7, 0.0])
    found = stage.segment(frame(192, 256))
    assert [i.box_xyxy_px for i in found] == [
        (16, 16, 80, 80), (112, 32, 176, 128), (192, 96, 240, 176),
    ]  # fmt: skip
    # the grid fades to zero at its rim, so enlarging it may cost the corner pixels
    assert all(np.count_nonzero(~i.mask_in_box) <= 4 for i in found)
    assert [i.score for i in found] == pytest.approx([0.9, 0.8, 0.7])
    assert {i.label for i in found} == {"object"}


def test_a_padded_frame_is_not_shifted(make):
    # 96 x 64 is enlarged by 1.5 to 144 x 96 ... of which 128 x 85 is what fits
    found = make([(12, 24, 64, 60)], [0.9]).segment(frame(64, 96))
    scale = 128 / 96
    expected = np.array([12, 24, 64, 60]) / scale
    np.testing.assert_allclose(found[0].box_xyxy_px, expected, atol=1.0)


def test_threshold_and_limit(make):
    stage = make(BOXES, [0.9, 0.8, 0.7, 0.0], score_threshold=0.75)
    assert len(stage.segment(frame())) == 2
    looser = stage.reconfigured(SegmentationConfig(score_threshold=0.0, max_instances=2))
    assert [i.score for i in looser.segment(frame())] == pytest.approx([0.9, 0.8])
    stricter = stage.reconfigured(SegmentationConfig(score_threshold=0.95))
    assert stricter.segment(frame()) == ()


def test_an_unused_slot_is_no_detection_at_a_threshold_of_zero(make):
    # the box and the mask of the last one are sound: its score alone says that it is unused
    found = make(BOXES[:3], [0.9, 0.001, 0.0], score_threshold=0.0).segment(frame())
    assert [i.score for i in found] == pytest.approx([0.9, 0.001])


def test_highest_score_comes_first_whatever_the_graph_says(make):
    found = make(BOXES[:3], [0.6, 0.9, 0.7]).segment(frame())
    assert [i.score for i in found] == pytest.approx([0.9, 0.7, 0.6])


def test_boxes_of_nothing_are_left_out(make):
    stage = make([(300, 300, 400, 400), (9, 9, 9, 30)], [0.9, 0.9])
    assert stage.segment(frame()) == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["boxes", "scores", "masks"])
def test_what_is_no_number_is_refused_and_does_not_pass_for_an_empty_tote(make, output, bad):
    boxes, scores = np.float32([(8, 8, 40, 40), (9, 9, 30, 30)]), np.float32([0.9, 0.9])
    masks = np.ones((2, 28, 28), np.float32)
    {"boxes": boxes, "scores": scores, "masks": masks}[output][0] = bad
    with pytest.raises(NotFiniteError, match=output):
        make(boxes, scores, masks).segment(frame())


def test_an_unused_slot_of_the_graph_may_hold_anything(make):
    boxes, scores = [(8, 8, 40, 40), (np.nan, np.nan, np.nan, np.nan)], [0.9, 0.0]
    assert len(make(boxes, scores).segment(frame())) == 1


def test_the_box_is_the_extent_of_the_mask(make):
    masks = np.zeros((1, 28, 28), np.float32)
    masks[0, :14] = 1.0  # upper half
    found = make([(8, 8, 40, 40)], [0.9], masks).segment(frame())
    assert found[0].box_xyxy_px == (8, 8, 40, 24)
    assert make([(8, 8, 40, 40)], [0.9], np.zeros_like(masks)).segment(frame()) == ()


def test_mask_threshold_is_live(make):
    stage = make([(8, 8, 40, 40)], [0.9], np.full((1, 28, 28), 0.4, np.float32))
    assert stage.segment(frame()) == ()
    assert len(stage.reconfigured(SegmentationConfig(mask_threshold=0.3)).segment(frame())) == 1


def test_description_names_network_and_runtime(make):
    assert "onnxruntime" in make(BOXES, [0.9] * 4).description


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"stage": "defects"}, "expected an artifact of stage 'segmentation'"),
        ({"meta": {"labels": ["object"]}}, "input_hw"),
        ({"meta": {"labels": ["object"], "input_hw": 7}}, "input_hw"),
        ({"meta": {"input_hw": [96, 128]}}, "labels"),
    ],
)
def test_a_wrong_sidecar_is_refused(tmp_path, changes, told):
    path = segmentation(tmp_path / "segmentation.onnx", BOXES, [0.9] * 4)
    _, sidecar = load_artifact(path)
    fields = {name: getattr(sidecar, name) for name in Sidecar.__slots__}
    with pytest.raises(ArtifactError, match=told):
        Segmenter(
            load_engine(path, RUNTIME), Sidecar(**{**fields, **changes}), SegmentationConfig()
        )
