# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The worker serves cameras in turns, jobs first, and survives whatever a network does."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from robollm_core.errors import ImageError, RobollmError
from robollm_core.pipeline import Stages
from robollm_core.types import DefectReport, Frame, Identification, Instance, Manifest
from robollm_ros.cameras import Camera
from robollm_ros.health import Health
from robollm_ros.intake import Intake
from robollm_ros.mailbox import FATES
from robollm_ros.worker import Worker, warm_up

pytestmark = pytest.mark.ros
TIMEOUT_S = 20.0
CAMERAS = tuple(Camera(name, f"{name}/image") for name in ("top", "wall", "arm"))


class OneThing:
    """Three stages that find one thing; a hook sees every frame first and may do anything."""

    def __init__(self):
        self.hook = lambda frame: None
        self.score = 0.5
        self.probability = 1.0
        self.similarity = 0.9

    def segment(self, frame):
        self.hook(frame)
        return (Instance((1, 1, 3, 3), np.ones((2, 2), np.bool_), self.score),)

    def inspect(self, frame, instances, crops=None):
        return (DefectReport((0.0, self.probability, 0.0), "nominal", 0.0),) * len(instances)

    def identify(self, frame, instances, manifest, crops=None):
        return (Identification((("apple", self.similarity),), "apple"),) * len(instances)

    def warm_up(self):
        pass


class Bench:
    """A worker whose frames are numbers: their stamp is the number."""

    def __init__(self, cameras=CAMERAS):
        self.stages, self.health, self.answers, self.logged = OneThing(), Health(), [], []
        self.health.restart(camera.name for camera in cameras)
        self.intake = Intake(cameras, self.health, now_ns=lambda: 10**9, log=self._log)
        self.worker = Worker(
            Stages(self.stages, self.stages, self.stages), self.health, self.intake,
            decode=self._decode, publish=self._publish, log=self._log,
        )  # fmt: skip

    def _decode(self, message):
        if message.format == "broken":
            raise ImageError("no image.")
        stamp = message.header.stamp.nanosec
        return Frame(np.zeros((4, 6, 3), np.uint8), stamp, "tote"), message.header

    def _publish(self, answer):
        self.answers.append(answer)
        return {"total": 1.0, **answer.ms}

    def _log(self, topic, text):
        self.logged.append((topic, text))

    def show(self, camera, number, kind="jpeg"):
        header = Header(stamp=Time(nanosec=number), frame_id="tote")
        self.worker.put(camera, CompressedImage(header=header, format=kind))

    def served(self):
        return [(answer.camera, answer.result.stamp_ns) for answer in self.answers]

    def wait(self, done, what):
        end = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < end, f"waited {TIMEOUT_S} s for {what}"
            time.sleep(0.002)

    def hold(self):
        """Let the next frame wait in its network; returns what lets it go on."""
        entered, proceed = threading.Event(), threading.Event()

        def hook(frame):
            self.stages.hook = lambda frame: None
            entered.set()
            assert proceed.wait(TIMEOUT_S)

        self.stages.hook = hook
        self.show("top", 1)
        assert entered.wait(TIMEOUT_S)
        return proceed

    def counts(self, camera="top"):
        counts = self.worker.counts()[camera]
        assert counts["received"] == sum(counts[name] for name in (*FATES, "waiting"))
        return {name: value for name, value in counts.items() if value}


@pytest.fixture
def bench():
    made = Bench()
    made.worker.start()
    yield made
    made.worker.stop()


def test_cameras_that_wait_are_served_in_turns_each_with_its_newest_frame(bench):
    proceed = bench.hold()
    for number in (10, 11):
        for name in ("arm", "top", "wall"):
            bench.show(name, number)
    proceed.set()
    bench.wait(lambda: len(bench.answers) == 4, "four answers")
    assert bench.served() == [("top", 1), ("wall", 11), ("arm", 11), ("top", 11)]
    assert bench.counts() == {"received": 3, "processed": 2, "dropped_mailbox": 1}


def test_jobs_go_before_frames_and_a_job_that_fails_ends_nothing(bench):
    proceed, order = bench.hold(), []
    bench.show("wall", 2)

    def urgent():
        order.append(("urgent", bench.worker.busy()[0], len(bench.answers)))
        raise ZeroDivisionError("a bug")

    bench.worker.urgent(urgent)
    assert bench.worker.errand(lambda: order.append(("errand", len(bench.answers))))
    proceed.set()
    bench.wait(lambda: len(bench.answers) == 2, "both answers")
    assert order == [("urgent", "a pick", 1), ("errand", 1)]
    assert bench.served() == [("top", 1), ("wall", 2)]
    ((_, text),) = bench.logged
    assert "a bug" in text


def test_busy_says_what_is_done_and_for_how_long(bench):
    assert bench.worker.busy() is None
    proceed = bench.hold()
    time.sleep(0.05)
    what, secs = bench.worker.busy()
    assert what == "a frame of top"
    assert 0.05 <= secs < TIMEOUT_S
    proceed.set()
    bench.wait(lambda: bench.worker.busy() is None, "the end of the frame")


def test_a_frame_that_is_no_image_is_skipped_and_counted(bench):
    bench.show("top", 1, "broken")
    bench.show("wall", 2)
    bench.wait(lambda: bench.answers, "the frame after it")
    assert bench.served() == [("wall", 2)]
    assert bench.counts() == {"received": 1, "decode_errors": 1}
    ((topic, text),) = bench.logged
    assert topic == "top/image"
    assert text == "no image. The frame is skipped."
    assert bench.health.failures == 0


def fail(frame):
    raise RuntimeError("the device is lost")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda stages: setattr(stages, "hook", fail),
        lambda stages: setattr(stages, "score", float("nan")),
        lambda stages: setattr(stages, "probability", float("inf")),
        lambda stages: setattr(stages, "similarity", float("nan")),
    ],
    ids=["raises", "score", "probability", "similarity"],
)
def test_a_network_that_fails_gives_an_empty_answer_that_is_counted(bench, break_it):
    break_it(bench.stages)
    bench.worker.manifest = Manifest("T-1", 4, ())
    for number in (1, 2, 3):
        bench.show("top", number)
        bench.wait(lambda n=number: len(bench.answers) == n, "the empty answer")
        (answer, result) = bench.answers[-1], bench.answers[-1].result
        assert (result.items, result.stamp_ns, result.camera) == ((), number, "tote")
        assert (result.image_size_px, result.manifest) == ((4, 6), ("T-1", 4))
        assert answer.header.frame_id == "tote"
        assert answer.counts["failed"] == answer.counts["errors"] == number
    bench.wait(lambda: bench.health.failures == 3, "health to know")
    assert bench.counts() == {"received": 3, "failed": 3}
    assert len(bench.logged) == 1, "told, but not with every frame"
    bench.stages.__init__()
    bench.show("top", 4)
    bench.wait(lambda: bench.health.failures == 0, "the end of the row")
    assert bench.counts() == {"received": 4, "failed": 3, "processed": 1}


def test_deactivation_does_not_wait_for_a_network_that_hangs(bench):
    proceed = bench.hold()
    bench.show("wall", 2)
    begun = time.monotonic()
    assert not bench.worker.stop(give_up=lambda: time.monotonic() - begun > 0.1)
    assert time.monotonic() - begun < 5.0
    assert bench.worker.busy() is None
    assert bench.counts() == {"received": 1, "failed": 1}
    assert bench.counts("wall") == {"received": 1, "dropped_mailbox": 1}
    with pytest.raises(RobollmError, match="still has not answered"):
        bench.worker.start()
    proceed.set()  # it comes back after all: nobody wants its answer any more
    bench.wait(lambda: not bench.worker._thread.is_alive(), "the thread to end")
    assert bench.answers == []
    assert bench.counts() == {"received": 1, "failed": 1}
    bench.worker.start()
    bench.show("top", 5)
    bench.wait(lambda: bench.answers, "an answer after the new start")
    assert bench.served() == [("top", 5)]


def test_the_frame_at_hand_is_answered_before_the_end(bench):
    proceed = bench.hold()
    stopper = threading.Thread(target=bench.worker.stop)
    stopper.start()
    time.sleep(0.05)
    proceed.set()
    stopper.join(TIMEOUT_S)
    assert bench.served() == [("top", 1)]


def test_new_stages_count_from_the_next_frame(bench):
    other = OneThing()
    other.score = 0.25
    bench.show("top", 1)
    bench.wait(lambda: len(bench.answers) == 1, "the first answer")
    bench.worker.stages = Stages(other, other, other)
    bench.show("top", 2)
    bench.wait(lambda: len(bench.answers) == 2, "the second answer")
    assert [a.result.items[0].instance.score for a in bench.answers] == [0.5, 0.25]


def test_under_load_every_frame_of_every_camera_is_accounted_for(bench):
    bench.intake.cameras = {
        camera.name: Camera(camera.name, camera.topic, max_rate_hz=rate)
        for camera, rate in zip(CAMERAS, (0.0, 50.0, 0.0), strict=True)
    }
    bench.stages.hook = lambda frame: time.sleep(0.001)

    def camera(name):
        for number in range(1, 201):
            bench.show(name, number, "broken" if number % 7 == 0 else "jpeg")
            time.sleep(0.0005)

    threads = [threading.Thread(target=camera, args=(each.name,)) for each in CAMERAS]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for each in CAMERAS:
            bench.counts(each.name)
    bench.worker.stop()
    answered = [name for name, _ in bench.served()]
    for each in CAMERAS:
        counts = bench.counts(each.name)
        assert counts["received"] == 200
        assert counts["processed"] == answered.count(each.name)
    assert bench.counts("wall")["dropped_rate"] > 0


def test_every_network_is_warmed_up_as_often_as_asked():
    calls = []

    class Noting(OneThing):
        def segment(self, frame):
            calls.append("segmentation")
            return ()

        def warm_up(self):
            calls.append("identification")

        def inspect(self, frame, instances, crops=None):
            assert len(instances) == 1
            calls.append("defects")
            return ()

    stages = Noting()
    warm_up(Stages(stages, stages, stages), 3)
    assert sorted(calls) == sorted(["segmentation", "identification", "defects"] * 3)
