# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images cross from process to process without loss."""

import json
import os
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from ros_programs import ROOT
from std_msgs.msg import String

pytestmark = [pytest.mark.ros, pytest.mark.slow]

FRAMES, ATTEMPTS = 120, 3
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


def stream(programs, timings):
    """Send all frames once; returns the timings of those that were answered."""
    first = len(timings)
    camera = programs.start(
        ROOT / "test/fixtures/ros_camera.py", WIDTH, HEIGHT, HZ, FRAMES, PYTHONPATH=str(ROOT)
    )
    assert camera.end() == 0, camera.errors
    end = time.monotonic() + 10
    while time.monotonic() < end and not last_was_answered(timings[first:]):
        time.sleep(0.05)
    return timings[first:]


def last_was_answered(answered):
    return bool(answered) and answered[-1]["stamp_ns"] == FRAMES * 10**9


def test_every_frame_of_1280_by_960_at_20_hz_arrives(programs, cell, timings):
    _, settings = cell
    programs.perception(settings)
    # without config/fastdds_shm.xml no attempt comes near; with it the first succeeds, unless
    # other programs keep the node from the processor for longer than the buffers last
    before, counts = 0, []
    for _ in range(ATTEMPTS):
        answered = stream(programs, timings)
        received = timings[-1]["received"] if timings else 0
        counts.append(received - before)
        before = received
        if counts[-1] == FRAMES:
            break
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if counts[-1] != FRAMES and load > 2:
        pytest.skip(f"load average of {load:.1f} a processor: {counts} of {FRAMES} arrived")
    assert counts[-1] == FRAMES, counts
    assert last_was_answered(answered)
    stamps = [timing["stamp_ns"] for timing in answered]
    assert stamps == sorted(set(stamps))
    last = answered[-1]
    assert last["errors"] == 0
    assert last["processed"] + last["dropped"] == last["received"]
