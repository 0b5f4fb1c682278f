# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of the machines around the node, and its own death: what comes back, what is told."""

import json
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from broken_cell import IMAGE, SECOND, BrokenCell, build_gallery, event, intact, manifest, named_of
from outside_probe import stamp_of, values
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ITEMS = ["apple", "lime", "plum"]


@pytest.fixture
def broken(domain, cell, tmp_path):
    made = BrokenCell(domain, cell[1], tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("when", ["between picks", "during a pick"])
def test_a_node_killed_is_started_again_and_answers_the_next_event(broken, when):
    gallery = build_gallery(broken)
    node = broken.start(identification__gallery=str(gallery))
    broken.named()
    broken.answered()
    assert broken.picked("before")["state"] == "done"
    if when == "during a pick":
        # it waits for a frame that never comes
        broken.probe.ask(event("lost", match="next", deadline_ms=60_000))
        broken.probe.wait(
            lambda: any("lost" in message.data for message in broken.probe.heard["pick/status"]),
            "the receipt",
        )
    node.kill()
    ok, count = intact(gallery)
    assert ok
    assert count >= len(ITEMS)
    second = broken.start(identification__gallery=str(gallery))
    # the latched manifest is there without anybody telling it again
    broken.answered_as(ITEMS)
    assert broken.picked("after")["state"] == "done"
    assert second.end(signal.SIGINT, timeout=10) == 0
    assert intact(gallery)[0]


def test_a_gallery_outlives_being_killed_while_it_is_written(broken):
    gallery = build_gallery(broken)
    for number, delay in enumerate((0.0, 0.05, 0.1, 0.2)):
        node = broken.start(identification__gallery=str(gallery))
        broken.probe.meet(broken.probe.manifests)
        # a new product each time, whose embedding is written as the node dies
        broken.probe.tell(manifest(ITEMS[: 1 + number % 3], container_id=f"T-{number}"))
        time.sleep(delay)
        node.kill()
        assert intact(gallery)[0]
    broken.start(identification__gallery=str(gallery))
    broken.named(*ITEMS, container_id="T-last")
    assert named_of(broken.answered()) == ITEMS


def test_a_camera_that_dies_is_reported_and_its_return_is_answered(broken):
    broken.start(input__stale_after_s=0.5)
    camera = broken.programs.start("test/fixtures/ros_camera.py", 128, 96, 20, 100_000)
    ok = broken.probe.status("input/camera", lambda status: status.level == b"\x00")
    assert int(values(ok)["received"]) >= 0
    broken.probe.wait(lambda: broken.probe.heard["perception/detections"], "an answer")
    camera.kill()
    stale = broken.probe.status("input/camera", lambda status: status.level == b"\x02")
    assert "stale" in stale.message
    before = len(broken.probe.heard["perception/detections"])
    broken.programs.start("test/fixtures/ros_camera.py", 128, 96, 20, 100_000)
    broken.probe.wait(
        lambda: len(broken.probe.heard["perception/detections"]) > before + 3, "answers again"
    )
    broken.probe.status("input/camera", lambda status: status.level == b"\x00")


def test_a_camera_with_an_incompatible_qos_is_named_and_a_fitting_one_is_answered(broken):
    reliable = {"qos_overrides./image.subscription.reliability": "reliable"}
    node = broken.start(**reliable)
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    odd = broken.probe.node.create_publisher(Image, "image", best_effort)
    told = broken.probe.status(
        "input/camera",
        lambda status: status.level != b"\x00" and "RELIAB" in status.message.upper(),
    )
    assert "/image" in told.message or "image" in values(told).get("topic", "image")
    broken.probe.wait(
        lambda: any("RELIAB" in line.upper() for line in node.errors), "a line in the log"
    )
    # one line, not one a second
    assert sum("RELIAB" in line.upper() for line in node.errors) <= 2
    assert odd.get_subscription_count() == 0
    broken.answered()


def test_a_wms_that_does_not_latch_is_named(broken):
    broken.start()
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    broken.probe.node.create_publisher(String, "container/manifest", volatile)
    broken.probe.wait(
        lambda: any(
            "DURAB" in f"{status.message} {values(status)}".upper()
            for message in broken.probe.heard["/diagnostics"]
            for status in message.status
        ),
        "the diagnostics to name the policy",
    )
    broken.answered()


def test_two_nodes_of_one_name_both_answer_and_one_may_die(broken):
    first = broken.start()
    second = broken.start()
    broken.named()

    def answered_twice():
        stamps = [stamp_of(m) for m in list(broken.probe.heard["perception/detections"])]
        broken.answered()
        return any(stamps.count(stamp) == 2 for stamp in stamps)

    broken.probe.wait(answered_twice, "two answers to one frame")
    first.kill()
    broken.answered_as(ITEMS)
    assert second.end(signal.SIGINT, timeout=10) == 0


def test_stamps_that_jump_back_are_answered(broken):
    broken.start()
    broken.named()
    # a bag that loops: later stamps first, and the same ones again and again
    for first in (500 * SECOND, 5 * SECOND, 500 * SECOND, 0, 2_000_000_000 * SECOND):
        answer = broken.probe.show_until_answered(IMAGE, first)
        assert named_of(answer) == ITEMS
    assert broken.picked("after the loop")["state"] == "done"


def test_a_clock_that_jumps_back_does_not_make_all_frames_old(broken):
    from rosgraph_msgs.msg import Clock

    broken.start(use_sim_time=True, input__max_age_ms=500.0)
    clock = broken.probe.node.create_publisher(Clock, "/clock", 10)
    broken.probe.wait(clock.get_subscription_count, "the node to follow the clock")

    def show(seconds):
        """Frames and the clock in step, until one is answered."""
        before = len(broken.probe.heard["perception/detections"])
        shown = []

        def answered():
            now = seconds * SECOND + len(shown) * 50_000_000
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now, SECOND)
            clock.publish(message)
            time.sleep(0.02)
            shown.append(now)
            broken.probe.show(IMAGE, now)
            new = broken.probe.heard["perception/detections"][before:]
            return [m for m in new if stamp_of(m) in shown]

        broken.probe.wait(answered, f"an answer at {seconds} s")

    for seconds in (1000, 1100, 10, 20, 5):
        show(seconds)
    told = broken.probe.status("input/camera", lambda status: True)
    assert int(values(told)["processed"]) >= 5


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_a_node_asked_to_end_answers_pending_picks_as_cancelled_within_two_seconds(broken, ask):
    node = broken.start()
    broken.named()
    broken.answered()
    broken.probe.meet(broken.probe.events)
    names = [f"pending {number}" for number in range(5)]
    for name in names:
        broken.probe.ask(event(name, match="next", deadline_ms=60_000))
    broken.probe.wait(
        lambda: sum("pending" in m.data for m in broken.probe.heard["pick/status"]) >= len(names),
        "the receipts",
    )
    begun = time.monotonic()
    assert node.end(ask, timeout=10) == 0
    assert time.monotonic() - begun < 2.0
    broken.probe.wait(
        lambda: all(broken.probe.answers(name) == (1, 1, 1) for name in names), "the last answers"
    )
    assert {broken.probe.finals(name)[0]["state"] for name in names} == {"cancelled"}
    assert not [line for line in node.errors if "Traceback" in line]
    told = [json.loads(m.data) for m in broken.probe.heard["pick/status"]]
    assert all(one["event_id"] for one in told)
