# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder waits for its own cell, and files everything under the time of the frames."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray, VisionInfo

from robollm_ros.conversions import diagnostics_message
from robollm_ros.health import OK, Status
from robollm_ros.recorder import KINDS, Recorder

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(("namespace", "own"), [("", "/perception"), ("left", "/left/perception")])
def test_only_the_node_of_its_own_namespace_makes_it_ready(domain, namespace, own):
    rename = ["--ros-args", "-r", f"__ns:=/{namespace}"] if namespace else []
    rclpy.init(args=rename, domain_id=domain)
    try:
        recorder = Recorder("perception", ["detections"])
        for name in ("/right/perception", "perception", own):
            status = Status("output", OK, "1 listeners", {"detections": 1})
            message = diagnostics_message([status], name, Time())
            assert not recorder._matched
            recorder._diagnose(None, serialize_message(message))
        assert recorder._matched
        recorder.destroy_node()
    finally:
        rclpy.shutdown()


class Kept:
    """Stands in for the bag."""

    def __init__(self):
        self.written = []

    def write(self, topic, log_ns, data):
        self.written.append((topic, log_ns))


@pytest.fixture
def recorder(domain):
    rclpy.init(domain_id=domain)
    node = Recorder("perception", list(KINDS), picks=True)
    yield node
    node.destroy_node()
    rclpy.shutdown()


def array_at(sec):
    return serialize_message(Detection2DArray(header=Header(stamp=Time(sec=sec), frame_id="a")))


def test_what_comes_before_the_first_answer_is_filed_under_it(recorder):
    bag = Kept()
    keep = {name: recorder._keep(bag, name, topic) for name, topic in recorder._all.items()}
    keep["vision_info"](serialize_message(VisionInfo(header=Header(stamp=Time(sec=99)))))
    keep["pick/status"](serialize_message(String(data="{}")))
    assert bag.written == []
    keep["detections"](array_at(5))
    keep["pick/identity"](array_at(0))
    keep["detections"](array_at(4))
    keep["pick/status"](serialize_message(String(data="{}")))
    assert bag.written == [
        ("/perception/vision_info", 5 * 10**9),
        ("/pick/status", 5 * 10**9),
        ("/perception/detections", 5 * 10**9),
        ("/pick/identity", 5 * 10**9),
        # after a bag has begun again time follows it
        ("/perception/detections", 4 * 10**9),
        ("/pick/status", 4 * 10**9),
    ]


def test_without_any_answer_it_is_filed_under_its_own_time(recorder):
    bag = Kept()
    keep = recorder._keep(bag, "vision_info", "/perception/vision_info")
    keep(serialize_message(VisionInfo(header=Header(stamp=Time(sec=99)))))
    recorder.finish(bag)
    assert bag.written == [("/perception/vision_info", 99 * 10**9)]


def test_overlays_and_what_is_latched_do_not_count_as_answers(recorder):
    for name in ("detections", "defects", "timing", "masks"):
        assert recorder.answers() == 0
        recorder.counts[f"/perception/{name}"] += 1
    assert recorder.answers() == 1


def test_latched_topics_are_marked_as_such(recorder):
    latched = {topic.name for topic in recorder.topics if topic.latched}
    assert latched == {"/perception/label_info", "/perception/vision_info"}
