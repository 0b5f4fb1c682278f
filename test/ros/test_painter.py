# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays are drawn apart from the answers: the newest, in turns, no more often than asked for."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("cv2", reason="OpenCV is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robollm_core.types import Frame, PerceptionResult
from robollm_ros.painter import Painter

pytestmark = pytest.mark.ros
TIMEOUT_S = 20.0


class Paper:
    """A publisher with a listener; remembers (camera, second) and when it came."""

    def __init__(self):
        self.drawn, self.at, self.listeners = [], [], 1
        self.hold = None

    def get_subscription_count(self):
        return self.listeners

    def publish(self, data):
        image = deserialize_message(data, Image)
        assert (image.encoding, image.height, image.width) == ("rgb8", 4, 6)
        self.drawn.append((image.header.frame_id, image.header.stamp.sec))
        self.at.append(time.monotonic())
        if self.hold is not None:
            assert self.hold.wait(TIMEOUT_S)


@pytest.fixture
def studio():
    paper = Paper()
    painter = Painter(paper, wanted=True)

    def offer(camera, second):
        header = Header(stamp=Time(sec=second), frame_id=camera)
        result = PerceptionResult(second, camera, (4, 6), ())
        painter.offer(camera, Frame(np.zeros((4, 6, 3), np.uint8)), header, result)

    def wait(count):
        end = time.monotonic() + TIMEOUT_S
        while len(paper.drawn) < count:
            assert time.monotonic() < end, paper.drawn
            time.sleep(0.002)

    painter.rate_hz = 1000.0
    painter.start()
    yield SimpleNamespace(paper=paper, painter=painter, offer=offer, wait=wait)
    if paper.hold is not None:
        paper.hold.set()
    painter.stop()


def test_while_one_is_drawn_only_the_newest_of_each_camera_waits(studio):
    studio.paper.hold = threading.Event()
    studio.offer("top", 1)
    studio.wait(1)
    for second in (2, 3, 4):
        studio.offer("wall", second)
        studio.offer("top", second)
    studio.paper.hold.set()
    studio.wait(3)
    assert studio.paper.drawn == [("top", 1), ("wall", 4), ("top", 4)]


def test_the_rate_is_kept_and_the_newest_is_drawn_when_it_is_time(studio):
    studio.painter.rate_hz = 10.0
    begun = time.monotonic()
    second = 0
    while time.monotonic() - begun < 0.55:
        second += 1
        studio.offer("top", second)
        time.sleep(0.005)
    gaps = np.diff(studio.paper.at)
    assert 2 <= len(studio.paper.drawn) <= 7
    assert (gaps >= 0.099).all()
    numbers = [number for _, number in studio.paper.drawn]
    assert numbers == sorted(set(numbers))


def test_for_nobody_nothing_is_kept_or_drawn(studio):
    studio.paper.listeners = 0
    studio.offer("top", 1)
    time.sleep(0.05)
    studio.paper.listeners = 1
    studio.offer("top", 2)
    studio.wait(1)
    assert studio.paper.drawn == [("top", 2)]


def test_after_the_end_nothing_is_drawn_and_a_new_start_begins_empty(studio):
    studio.painter.stop()
    studio.offer("top", 1)
    assert studio.paper.drawn == []
    studio.painter.start()
    studio.offer("top", 2)
    studio.wait(1)
    assert studio.paper.drawn == [("top", 2)]


def test_a_painter_that_is_not_wanted_has_no_thread():
    painter = Painter(Paper(), wanted=False)
    before = threading.active_count()
    painter.start()
    assert threading.active_count() == before
    painter.stop()
