# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Answers written as bytes: rclpy reads in them the very message that conversions would make."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from robollm_core.types import DefectReport, Identification, Instance, ItemReport, PerceptionResult
from robollm_ros.answer_cdr import defects_cdr, detections_cdr
from robollm_ros.conversions import defects_message, detections_message

pytestmark = pytest.mark.ros

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=9)
SCORES = st.floats(-1, 1, width=32)


@st.composite
def reports(draw):
    x0, y0 = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    wide, high = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    instance = Instance(
        (x0, y0, x0 + wide, y0 + high), np.ones((high, wide), np.bool_), draw(SCORES), draw(NAMES)
    )
    named = tuple(draw(st.lists(st.tuples(NAMES, SCORES), max_size=4)))
    accepted = named[0][0] if named and draw(st.booleans()) else ""
    odds = tuple(draw(st.tuples(SCORES, SCORES, SCORES)))
    label = draw(st.sampled_from(("multi_pick", "nominal", "package_defect")))
    return ItemReport(instance, Identification(named, accepted), DefectReport(odds, label, 0.5))


@st.composite
def answers(draw):
    stamp = draw(st.integers(0, 2**31 * 10**9 - 1))
    camera = draw(NAMES)
    result = PerceptionResult(stamp, camera, (99, 99), tuple(draw(st.lists(reports(), max_size=4))))
    sec, nanosec = divmod(stamp, 10**9)
    return result, Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=camera)


@settings(max_examples=150, deadline=None)
@given(answers())
def test_the_bytes_hold_the_message_that_conversions_makes(answer):
    for written, made in ((detections_cdr, detections_message), (defects_cdr, defects_message)):
        message = made(*answer)
        serialised = written(*answer)
        assert deserialize_message(serialised, Detection2DArray) == message
        # nothing more and nothing less; bytes between the fields are rclpy's to choose
        assert len(serialised) == len(serialize_message(message))


def test_writing_bytes_beats_making_and_serialising_messages():
    instance = Instance((1, 2, 5, 6), np.ones((4, 4), np.bool_), 0.5)
    named = Identification(tuple((f"item {i}", 0.5) for i in range(5)), "item 0")
    report = ItemReport(instance, named, DefectReport((0.1, 0.8, 0.1), "nominal", 0.2))
    result, header = PerceptionResult(5, "c", (9, 9), (report,) * 20), Header(frame_id="c")
    best = {}
    for make in (detections_cdr, lambda *given: serialize_message(detections_message(*given))):
        for _ in range(30):
            begun = time.perf_counter()
            make(result, header)
            took = time.perf_counter() - begun
            best[make] = min(took, best.get(make, took))
    written, made = best.values()
    assert written < made / 2
