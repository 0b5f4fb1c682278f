# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images cross from process to process without loss."""

import json
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from ros_programs import ROOT
from std_msgs.msg import String

pytestmark = [pytest.mark.ros, pytest.mark.slow]

FRAMES = 120
WIDTH, HEIGHT, HZ = 1280, 960, 20


@pytest.fixture
def timings(domain):
    """The messages of the perception node's ~/timing, as they come in."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("listener", context=context)
    heard = []
    node.create_subscription(
        String, "perception/timing", lambda m: heard.append(json.loads(m.data)), 200
    )
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield heard
    stop.set()
    thread.join()
    node.destroy_node()
    executor.shutdown()
    rclpy.shutdown(context=context)


def test_every_frame_of_1280_by_960_at_20_hz_arrives(programs, cell, timings):
    _, settings = cell
    programs.perception(settings)
    camera = programs.start(
        ROOT / "test/fixtures/ros_camera.py", WIDTH, HEIGHT, HZ, FRAMES, PYTHONPATH=str(ROOT)
    )
    assert camera.end() == 0, camera.errors
    (sent,) = camera.lines
    took = float(sent.split()[-2])
    assert took < 1.5 * FRAMES / HZ, "the machine is too busy to send at this rate"

    end = time.monotonic() + 30
    while not timings or timings[-1]["stamp_ns"] != FRAMES * 10**9:
        assert time.monotonic() < end, f"the last frame was not answered: {timings[-1:]}"
        time.sleep(0.05)
    last = timings[-1]
    assert last["received"] == FRAMES
    assert last["errors"] == 0
    assert last["processed"] + last["dropped"] == FRAMES
    stamps = [timing["stamp_ns"] for timing in timings]
    assert stamps == sorted(set(stamps))
