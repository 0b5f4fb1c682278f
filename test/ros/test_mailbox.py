# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The mailboxes keep the newest, take turns, count everything, and never leave a reader hanging."""

import threading

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from robollm_ros.mailbox import DROPS, FATES, Mailboxes, Taken

pytestmark = pytest.mark.ros
CAMERAS = ("top", "wall", "arm")


def sums_up(counts):
    return all(
        camera["received"] == sum(camera[name] for name in (*FATES, "waiting"))
        for camera in counts.values()
    )


def serve(boxes, fate="processed"):
    """Take a frame and settle it; returns camera and item."""
    taken = boxes.take()
    assert isinstance(taken, Taken)
    assert boxes.settle(taken, fate)
    return taken.camera, taken.item


def test_the_newest_wins_and_the_others_are_counted():
    boxes = Mailboxes(["top"])
    for number in range(5):
        boxes.put("top", number)
    assert serve(boxes) == ("top", 4)
    counts = boxes.counts()["top"]
    assert (counts["received"], counts["dropped_mailbox"], counts["processed"]) == (5, 4, 1)
    assert sums_up(boxes.counts())


def test_the_camera_served_longest_ago_is_next():
    boxes = Mailboxes(CAMERAS)
    for camera in reversed(CAMERAS):
        boxes.put(camera, 1)
    assert [serve(boxes)[0] for _ in CAMERAS] == list(CAMERAS)
    boxes.put("top", 2)
    assert serve(boxes) == ("top", 2)
    for camera in ("top", "arm", "wall"):
        boxes.put(camera, 3)
    # wall was served before arm, and top last
    assert [serve(boxes)[0] for _ in CAMERAS] == ["wall", "arm", "top"]


def test_a_fast_camera_does_not_starve_a_slow_one():
    boxes = Mailboxes(["fast", "slow"])
    served = []
    for number in range(50):
        boxes.put("fast", number)
        boxes.put("fast", number)
        if number % 5 == 0:
            boxes.put("slow", number)
        served.append(serve(boxes)[0])
    assert served.count("slow") == 10


def test_urgent_jobs_go_before_everything_in_their_order():
    boxes, done = Mailboxes(["top"]), []
    boxes.put("top", 1)
    boxes.errand(lambda: done.append("errand"))
    boxes.urgent(lambda: done.append("first"))
    boxes.urgent(lambda: done.append("second"))
    for _ in range(3):
        boxes.take()()
    assert done == ["first", "second", "errand"]
    assert serve(boxes) == ("top", 1)


def test_between_two_errands_a_frame_has_its_turn():
    boxes, order = Mailboxes(["top"]), []
    for number in range(3):
        boxes.errand(lambda number=number: order.append(f"errand {number}"))
    for number in range(5):
        boxes.put("top", number)
        work = boxes.take()
        if isinstance(work, Taken):
            boxes.settle(work, "processed")
            order.append(f"frame {work.item}")
        else:
            work()
    assert order == ["errand 0", "frame 1", "errand 1", "frame 3", "errand 2"]


def test_a_frame_that_arrives_while_another_is_answered_waits_its_turn():
    boxes = Mailboxes(["top"])
    boxes.put("top", "old")
    taken = boxes.take()
    boxes.put("top", "new")
    assert boxes.counts()["top"]["waiting"] == 2
    assert boxes.settle(taken, "failed")
    assert not boxes.settle(taken, "processed"), "a frame has one fate"
    assert serve(boxes) == ("top", "new")
    assert sums_up(boxes.counts())


def test_closing_wakes_a_waiting_reader_and_counts_what_was_left():
    boxes, taken = Mailboxes(["top"]), []
    reader = threading.Thread(target=lambda: taken.append(boxes.take()))
    reader.start()
    boxes.close()
    reader.join(10)
    assert taken == [None]
    boxes.put("top", "late")
    boxes.refuse("top", "dropped_rate")
    assert not boxes.urgent(lambda: None)
    assert not boxes.errand(lambda: None)
    assert boxes.counts()["top"]["received"] == 0
    boxes = Mailboxes(["top"])
    boxes.put("top", "unread")
    boxes.close()
    assert boxes.take() is None
    assert boxes.counts()["top"]["dropped_mailbox"] == 1


def test_a_frame_that_is_given_up_counts_as_failed_once():
    boxes = Mailboxes(["top"])
    boxes.put("top", 1)
    taken = boxes.take()
    boxes.close()
    boxes.abandon()
    assert not boxes.settle(taken, "processed")
    counts = boxes.counts()["top"]
    assert (counts["failed"], counts["processed"], counts["waiting"]) == (1, 0, 0)


def test_time_that_goes_back_clears_one_camera_or_all():
    boxes = Mailboxes(CAMERAS)
    for camera in CAMERAS:
        boxes.put(camera, 1)
    boxes.clear("wall")
    assert [boxes.counts()[camera]["dropped_jump"] for camera in CAMERAS] == [0, 1, 0]
    boxes.clear()
    assert [boxes.counts()[camera]["dropped_jump"] for camera in CAMERAS] == [1, 1, 1]
    assert sums_up(boxes.counts())


def test_nothing_is_lost_or_counted_twice_between_threads():
    boxes, taken = Mailboxes(CAMERAS), []

    def read():
        while (work := boxes.take()) is not None:
            taken.append(work.item)
            boxes.settle(work, "processed")

    def write(camera):
        for number in range(2000):
            boxes.put(camera, (camera, number))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(camera,)) for camera in CAMERAS]
    for thread in (reader, *writers):
        thread.start()
    for _ in range(50):
        assert sums_up(boxes.counts())
    for thread in writers:
        thread.join()
    boxes.close()
    reader.join(10)
    counts = boxes.counts()
    assert sums_up(counts)
    assert [counts[camera]["received"] for camera in CAMERAS] == [2000] * 3
    assert sum(counts[camera]["processed"] for camera in CAMERAS) == len(taken) == len(set(taken))


class Counting(RuleBasedStateMachine):
    """Whatever happens in whatever order, every frame has one place."""

    def __init__(self):
        super().__init__()
        self.boxes, self.taken, self.put = Mailboxes(CAMERAS), None, 0

    cameras = st.sampled_from(CAMERAS)

    @rule(camera=cameras)
    def arrive(self, camera):
        self.put += 1
        self.boxes.put(camera, self.put)

    @rule(camera=cameras, fate=st.sampled_from(DROPS))
    def drop(self, camera, fate):
        self.put += 1
        self.boxes.refuse(camera, fate)

    @precondition(lambda self: self.taken is None)
    @rule()
    def take(self):
        if any(counts["waiting"] for counts in self.boxes.counts().values()):
            self.taken = self.boxes.take()

    @precondition(lambda self: self.taken is not None)
    @rule(fate=st.sampled_from(FATES))
    def settle(self, fate):
        assert self.boxes.settle(self.taken, fate)
        self.taken = None

    @rule(camera=st.one_of(st.none(), cameras))
    def jump(self, camera):
        self.boxes.clear(camera)

    @invariant()
    def every_frame_has_one_place(self):
        counts = self.boxes.counts()
        assert sums_up(counts)
        assert sum(camera["received"] for camera in counts.values()) == self.put


TestCounting = Counting.TestCase
