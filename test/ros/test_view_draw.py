# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A frame and its answer, as the page takes them."""

import json
import struct

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")

import cv2
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from robollm_core.images import decode_image
from robollm_core.types import Frame
from robollm_ros.view_draw import MAX_SIDE_PX, items, outlines, packed, small_jpeg

pytestmark = pytest.mark.ros


def detection(name, score, box=(10, 20, 30, 60), key="tote/1/0"):
    best = ObjectHypothesisWithPose()
    best.hypothesis = ObjectHypothesis(class_id=name, score=score)
    made = Detection2D(id=key, results=[best] if name is not None else [])
    x0, y0, x1, y1 = box
    made.bbox.center.position.x, made.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
    made.bbox.size_x, made.bbox.size_y = float(x1 - x0), float(y1 - y0)
    return made


def array_of(*detections):
    return Detection2DArray(detections=list(detections))


@pytest.mark.parametrize(("size", "small"), [((96, 128), (96, 128)), ((2048, 2448), (1071, 1280)),
                                             ((4000, 1000), (1280, 320))])  # fmt: skip
def test_a_picture_is_no_larger_than_a_page_needs(size, small):
    jpeg = small_jpeg(Frame(np.full((*size, 3), 90, np.uint8)))
    assert decode_image(jpeg, "it").shape[:2] == small
    assert max(small) <= MAX_SIDE_PX


def test_head_and_picture_come_apart_again():
    data = packed({"name": "für <b>"}, b"\xff\xd8jpeg")
    (length,) = struct.unpack(">I", data[:4])
    assert json.loads(data[4 : 4 + length]) == {"name": "für <b>"}
    assert data[4 + length :] == b"\xff\xd8jpeg"


@pytest.mark.parametrize("scale", [1, 5])
def test_an_outline_encloses_its_mask(scale):
    labels = np.zeros((200 * scale, 300 * scale), np.uint8)
    labels[20 * scale : 80 * scale, 30 * scale : 130 * scale] = 1
    cv2.circle(labels, (220 * scale, 120 * scale), 50 * scale, 3, -1)
    shapes = outlines(labels, 3)
    assert [len(shape) for shape in shapes] == [1, 0, 1]
    for index in (0, 2):
        drawn = np.zeros_like(labels)
        corners = np.array(shapes[index][0]).reshape(-1, 2)
        cv2.fillPoly(drawn, [corners], 1)
        truth = labels == index + 1
        both = (drawn == 1) & truth
        assert both.sum() / ((drawn == 1) | truth).sum() > 0.95


def test_a_mask_in_two_pieces_has_two_outlines():
    labels = np.zeros((100, 100), np.uint8)
    labels[10:30, 10:30] = labels[60:90, 60:90] = 1
    assert len(outlines(labels, 1)[0]) == 2


def test_each_detection_gets_its_own_verdict():
    parts = {
        "detections": array_of(
            detection("apple", 0.9, key="a"), detection("object", 0.8, key="b"),
            detection(None, 0, key="c")
        ),
        "defects": array_of(
            detection("multi_pick", 0.7, key="b"), detection("nominal", 0.1, key="a")
        ),
    }  # fmt: skip
    first, second, third = items(parts, {"object"})
    assert first == {"name": "apple", "class": "", "score": 0.9, "verdict": "nominal",
                     "defect": 0.1, "box": [10, 20, 30, 60]}  # fmt: skip
    assert (second["name"], second["class"], second["verdict"]) == ("", "object", "multi_pick")
    assert (third["name"], third["score"], third["verdict"]) == ("", None, "")


def test_numbers_that_are_none_do_not_reach_the_page():
    odd = detection("apple", float("nan"))
    odd.bbox.size_x = float("inf")
    odd.bbox.center.position.y = float("nan")
    (row,) = items({"detections": array_of(odd)}, frozenset())
    json.dumps(row, allow_nan=False)
    assert row["score"] is None


def test_a_flood_of_detections_is_cut():
    flood = array_of(*(detection("x" * 500, 0.5, key=str(n)) for n in range(300)))
    rows = items({"detections": flood, "defects": flood}, frozenset())
    assert len(rows) == 254
    assert all(len(row["name"]) <= 160 for row in rows)
