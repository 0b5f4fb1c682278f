# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The planner of a simulated cell chooses the detection that lies over what is picked."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from ros_probe import header
from vision_msgs.msg import Detection2D, Detection2DArray

from robollm_ros.sim_planner import Planner

pytestmark = pytest.mark.ros
ROI = {"x": 10, "y": 20, "w": 30, "h": 40}


@pytest.fixture
def planner(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("sim_cell", context=context)
    yield Planner(node)
    node.destroy_node()
    rclpy.shutdown(context=context)


def answer(sec, boxes, frame_id="tote_top"):
    """Detections of a frame, with the edges of each box."""
    message = Detection2DArray(header=header((sec, 5), frame_id))
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        each = Detection2D(id=f"{frame_id}/{sec}/{number}")
        each.bbox.center.position.x, each.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        each.bbox.size_x, each.bbox.size_y = float(x1 - x0), float(y1 - y0)
        message.detections.append(each)
    return message


def stamp(sec):
    return sec * 10**9 + 5


def test_the_box_that_fits_best_is_chosen(planner):
    planner.on_detections(answer(1, [(0, 0, 5, 5), (12, 18, 44, 66), (10, 20, 40, 61)]))
    assert planner.choose("tote_top", [stamp(1)], ROI) == (stamp(1), "tote_top/1/2")


def test_the_first_frame_that_was_answered_is_taken(planner):
    planner.on_detections(answer(1, [(10, 20, 40, 60)]))
    planner.on_detections(answer(2, [(10, 20, 40, 60)]))
    chosen = planner.choose("tote_top", [stamp(3), stamp(2), stamp(1)], ROI)
    assert chosen == (stamp(2), "tote_top/2/0")


@pytest.mark.parametrize(
    "heard",
    [
        [],
        [answer(1, [])],
        # half of it would be 0.5
        [answer(1, [(10, 20, 40, 39)])],
        [answer(1, [(10, 20, 40, 60)], "far_tray")],
        [answer(9, [(10, 20, 40, 60)])],
    ],
)
def test_nothing_is_chosen_when_nothing_fits(planner, heard):
    for message in heard:
        planner.on_detections(message)
    assert planner.choose("tote_top", [stamp(1)], ROI) is None


def test_old_answers_are_forgotten(planner):
    for sec in range(200):
        planner.on_detections(answer(sec, [(10, 20, 40, 60)]))
    assert planner.choose("tote_top", [stamp(1)], ROI) is None
    assert planner.choose("tote_top", [stamp(199)], ROI) is not None
