# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Results become the messages that the topics promise."""

import array
import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)
from robollm_ros import conversions
from robollm_ros.health import Status

pytestmark = pytest.mark.ros
STAMP_NS = 12_000_000_345
HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id="tote")


def report(box, score, candidates=(), item_id="", verdict="nominal"):
    x0, y0, x1, y1 = box
    instance = Instance(box, np.ones((y1 - y0, x1 - x0), np.bool_), score)
    defect = DefectReport((0.2, 0.5, 0.3), verdict, 0.5)
    return ItemReport(instance, Identification(candidates, item_id), defect)


RESULT = PerceptionResult(
    stamp_ns=STAMP_NS,
    camera="tote",
    image_size_px=(40, 60),
    items=(
        report((0, 0, 10, 21), 0.9, (("A", 0.8), ("B", -0.1)), "A", "package_defect"),
        report((5, 6, 60, 40), 0.6, (("B", 0.3), ("A", 0.2))),
        report((1, 1, 2, 2), 0.5),
    ),
)


def answers(message):
    return [
        [(r.hypothesis.class_id, r.hypothesis.score) for r in d.results] for d in message.detections
    ]


def test_the_answer_comes_first():
    message = conversions.detections_message(RESULT, HEADER)
    assert answers(message) == [
        [("A", 0.8), ("B", -0.1), ("object", 0.9)],
        [("object", 0.6), ("B", 0.3), ("A", 0.2)],
        [("object", 0.5)],
    ]


def test_the_verdict_comes_first_even_against_the_odds():
    message = conversions.defects_message(RESULT, HEADER)
    assert answers(message)[0] == [
        ("package_defect", 0.3), ("nominal", 0.5), ("multi_pick", 0.2),
    ]  # fmt: skip
    assert answers(message)[1] == [
        ("nominal", 0.5), ("package_defect", 0.3), ("multi_pick", 0.2),
    ]  # fmt: skip


@pytest.mark.parametrize("make", [conversions.detections_message, conversions.defects_message])
def test_boxes_ids_and_headers(make):
    message = make(RESULT, HEADER)
    assert message.header == HEADER
    assert [d.header for d in message.detections] == [HEADER] * 3
    assert [d.id for d in message.detections] == [f"tote/{STAMP_NS}/{i}" for i in range(3)]
    box = message.detections[0].bbox
    assert (box.center.position.x, box.center.position.y, box.center.theta) == (5.0, 10.5, 0.0)
    assert (box.size_x, box.size_y) == (10.0, 21.0)


@pytest.mark.parametrize("make", [conversions.detections_message, conversions.defects_message])
def test_the_replay_writes_the_same_messages_as_the_node(make):
    rostypes = pytest.importorskip("robollm_core.data.rostypes", reason="needs rosbags")
    from robollm_core.data import answers as replayed

    theirs = {
        conversions.detections_message: replayed._identities,
        conversions.defects_message: replayed._verdicts,
    }[make](RESULT)
    message = replayed._array(RESULT, theirs)
    store = rostypes.typestore()
    expected = bytes(store.serialize_cdr(message, rostypes.DETECTIONS))
    node = store.deserialize_cdr(serialize_message(make(RESULT, HEADER)), rostypes.DETECTIONS)
    assert bytes(store.serialize_cdr(node, rostypes.DETECTIONS)) == expected


def test_an_empty_result_is_an_empty_array_with_the_header():
    empty = PerceptionResult(STAMP_NS, "tote", (4, 4), ())
    message = conversions.detections_message(empty, HEADER)
    assert message.header == HEADER
    assert len(message.detections) == 0


@pytest.mark.parametrize(("shape", "encoding"), [((4, 5), "mono8"), ((4, 5, 3), "rgb8")])
def test_images_go_out_without_touching_each_pixel(shape, encoding):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    message = conversions.image_message(image[:, ::-1], encoding, HEADER)
    # anything else than array.array makes rclpy copy element by element
    assert isinstance(message.data, array.array)
    assert message.data.tobytes() == image[:, ::-1].tobytes()
    assert (message.height, message.width, message.encoding) == (4, 5, encoding)
    assert message.step == image[0].size
    assert message.header == HEADER


def test_json_is_one_line():
    message = conversions.json_message({"a": [1, 2.5], "b": "ü"})
    assert json.loads(message.data) == {"a": [1, 2.5], "b": "ü"}
    assert "\n" not in message.data


def test_diagnostics_carry_level_message_and_values():
    statuses = (Status("input", 2, "stale", {"age_s": 3.5}), Status("model", 0, "loaded"))
    message = conversions.diagnostics_message(statuses, "perception", Time(sec=4))
    first, second = message.status
    assert (first.level, first.name, first.message) == (b"\x02", "perception: input", "stale")
    assert [(v.key, v.value) for v in first.values] == [("age_s", "3.5")]
    assert (second.level, second.name) == (b"\x00", "perception: model")
    assert message.header.stamp.sec == 4


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "abcd", "tote_top", "t\u00f6te"])
@pytest.mark.parametrize(
    ("shape", "encoding"), [((3, 5), "mono8"), ((4, 7, 3), "rgb8"), ((1, 1, 3), "bgr8")]
)
def test_a_serialised_image_is_the_message_that_ros_reads(frame_id, shape, encoding):
    image = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    header = Header(stamp=Time(sec=-3, nanosec=999_999_999), frame_id=frame_id)
    data = conversions.image_cdr(image, encoding, header)
    assert deserialize_message(data, Image) == conversions.image_message(image, encoding, header)


def test_a_serialised_image_may_come_from_a_view_with_gaps():
    image = np.random.default_rng(3).integers(0, 256, (8, 9, 3), np.uint8)[::2, ::-1]
    data = conversions.image_cdr(image, "rgb8", HEADER)
    found = np.frombuffer(deserialize_message(data, Image).data, np.uint8).reshape(4, 9, 3)
    assert np.array_equal(found, image)
