# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder waits for its own cell, though all cells share one diagnostics topic."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message

from robollm_ros.conversions import diagnostics_message
from robollm_ros.health import OK, Status
from robollm_ros.recorder import Recorder

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
