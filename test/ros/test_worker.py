# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The worker keeps the order of manifests and answers the newest frame, however long one lasts."""

import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from robollm_core.config import Config
from robollm_core.pipeline import Stages
from robollm_core.types import Frame, Manifest
from robollm_ros.health import MANIFEST, OK, WARN, Health
from robollm_ros.worker import Worker, warm_up

pytestmark = pytest.mark.ros
TIMEOUT_S = 20.0


class Empty:
    """Three stages that find nothing; the references of chosen versions take their time."""

    def __init__(self, slow=()):
        self.entered = {version: threading.Event() for version in slow}
        self.proceed = {version: threading.Event() for version in slow}
        self.prepared = []

    def segment(self, frame):
        return ()

    def inspect(self, frame, instances, crops=None):
        return ()

    def identify(self, frame, instances, manifest, crops=None):
        return ()

    def prepare(self, manifest: Manifest):
        self.prepared.append(manifest.version)
        if manifest.version in self.entered:
            self.entered[manifest.version].set()
            assert self.proceed[manifest.version].wait(TIMEOUT_S)


class Bench:
    """A running worker whose messages are numbers; `answered` holds (number, version)."""

    def __init__(self, *slow):
        self.stages, self.health, self.answered = Empty(slow), Health(), []
        self.worker = Worker(
            Stages(self.stages, self.stages, self.stages), self.health,
            decode=lambda number: (Frame(np.zeros((4, 6, 3), np.uint8), stamp_ns=number), None),
            publish=self._publish, log=lambda topic, text: None,
        )  # fmt: skip

    def _publish(self, answer):
        self.answered.append((answer.result.stamp_ns, answer.result.manifest[1]))
        return {}

    def tell(self, version):
        manifest = {"container_id": "T-1", "version": version, "products": []}
        self.worker.read_manifest(json.dumps(manifest))

    def show(self, number):
        self.worker.mailbox.put((number, time.perf_counter()))

    def release(self, version):
        self.stages.proceed[version].set()

    def entered(self, version):
        assert self.stages.entered[version].wait(TIMEOUT_S), f"version {version} was never embedded"

    def wait(self, done, what):
        end = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < end, f"waited {TIMEOUT_S} s for {what}"
            time.sleep(0.005)

    def status(self):
        statuses = self.health.statuses(
            Config(), self.worker.manifest, {"received": 0, "dropped": 0}, {}
        )
        return statuses[-1]


@pytest.fixture
def run():
    benches = []

    def start(*slow):
        benches.append(Bench(*slow))
        benches[-1].worker.start()
        return benches[-1]

    yield start
    for bench in benches:
        for event in bench.stages.proceed.values():
            event.set()
        bench.worker.stop()


def test_an_older_manifest_does_not_undo_one_that_is_being_embedded(run):
    bench = run(3)
    bench.tell(1)
    bench.wait(lambda: bench.worker.manifest, "version 1")
    bench.tell(3)
    bench.entered(3)
    bench.tell(2)
    bench.release(3)
    bench.wait(lambda: bench.health.errors[MANIFEST] == 1, "the refusal of version 2")
    assert bench.worker.manifest.version == 3
    assert bench.stages.prepared == [1, 3]
    assert "version 3, got the older 2" in bench.health.refusal


def test_after_embedding_the_newest_frame_is_answered_and_not_the_one_that_waited(run):
    bench = run(1, 2)
    bench.tell(1)
    bench.entered(1)
    bench.show(10)
    bench.tell(2)
    bench.release(1)
    bench.entered(2)
    bench.show(20)
    bench.show(30)
    bench.release(2)
    bench.wait(lambda: (30, 2) in bench.answered, "the newest frame")
    assert bench.answered == [(10, 1), (30, 2)]
    assert bench.worker.mailbox.counts == {"received": 3, "dropped": 1}


def test_a_refusal_is_remembered_until_a_later_manifest_is_in_force(run):
    bench = run(2, 3)
    bench.tell(1)
    bench.wait(lambda: bench.worker.manifest, "version 1")
    assert bench.status().level == OK
    bench.worker.read_manifest("{no JSON")
    assert bench.status().level == WARN
    bench.tell(2)
    bench.entered(2)
    assert bench.status().message.endswith("; T-1 v1 stays in force")
    bench.worker.read_manifest("{no JSON")  # newer than version 2, which is accepted in spite
    bench.release(2)
    bench.wait(lambda: bench.worker.manifest.version == 2, "version 2")
    bench.tell(3)
    bench.entered(3)
    assert bench.status().message.endswith("; T-1 v2 stays in force")
    bench.release(3)
    bench.wait(lambda: bench.status().level == OK, "the end of the warning")
    assert bench.worker.manifest.version == 3


def test_a_manifest_that_came_before_the_start_needs_no_frame_to_count():
    bench = Bench()
    bench.tell(5)
    bench.worker.start()
    bench.wait(lambda: bench.worker.manifest, "version 5")
    bench.worker.stop()


def test_every_network_is_warmed_up_as_often_as_asked():
    calls = []

    class Noting(Empty):
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
