# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that answers frames, so that the executor stays free for everything else."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from std_msgs.msg import Header

from robollm_core.errors import NotFiniteError, RobollmError
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import Frame, Instance, Manifest, PerceptionResult
from robollm_ros.health import Health
from robollm_ros.intake import Arrival, Intake
from robollm_ros.mailbox import DROPS, Job, Mailboxes, Taken
from robollm_ros.outputs import Answer
from robollm_ros.program import WORKER
from robollm_ros.refusals import Refusals

SKIPPED = "The frame is skipped."
EMPTY = "An empty answer is published for this frame."
_SLICE_S = 0.05
Decode = Callable[[Any], tuple[Frame, Header]]
Publish = Callable[[Answer], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Doing:
    """What the worker does now, and since when on the monotonic clock."""

    what: str
    since: float


class Worker:
    """Takes what is next, decodes it, perceives, hands the answer on; survives bad input.

    One frame of one camera at a time: the cameras take turns, the one served longest ago
    first. Urgent jobs go before all frames, errands before one.

    Attributes:
        intake: where frames come in.
        stages: may be replaced at any time; the next frame uses the new ones.
        manifest: in force for the next frame; None until one was accepted.
    """

    def __init__(
        self,
        stages: Stages,
        health: Health,
        intake: Intake,
        *,
        decode: Decode,
        publish: Publish,
        log: Callable[[str, str], None],
    ) -> None:
        """Make a worker that is not running yet.

        Args:
            stages: the three stages, warmed up.
            health: is told of every answer and every refusal.
            intake: its mailboxes are served.
            decode: message to frame and header; raises ImageError.
            publish: sends an answer out and returns its complete milliseconds.
            log: gets a relative topic and a text, not too often.
        """
        self.stages = stages
        self.manifest: Manifest | None = None
        self.intake = intake
        self.refusals = Refusals(health, log)
        self._health, self._decode, self._publish = health, decode, publish
        self._doing: Doing | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer, with empty mailboxes.

        Raises:
            RobollmError: If the thread of an earlier start still hangs.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RobollmError(
                "a network that was given up still has not answered. Clean up and configure again, "
                "or end the process."
            )
        self.intake.open()
        mailboxes = (self.intake.mailboxes,)
        self._thread = threading.Thread(
            target=self._serve, args=mailboxes, name=WORKER, daemon=True
        )
        self._thread.start()

    def stop(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """End after the frame at hand; the manifest stays for the next start.

        Args:
            give_up: asked again and again while the frame lasts; True leaves the thread
                behind, which then publishes nothing any more.

        Returns:
            Whether the thread has ended.
        """
        self.intake.close()
        thread = self._thread
        if thread is None:
            return True
        while thread.is_alive() and not give_up():
            thread.join(_SLICE_S)
        if thread.is_alive():
            self.intake.mailboxes.abandon()
            self._doing = None
            return False
        self._thread = None
        return True

    def put(self, camera: str, message: Any) -> int | None:
        """Leave a message of a camera; returns its stamp, None when none can be read."""
        return self.intake.put(camera, message)

    def urgent(self, job: Job) -> None:
        """Run a job in the worker before any frame; it is forgotten when the worker stops."""
        self.intake.mailboxes.urgent(partial(self._do, "a pick", "pick/event", job))

    def errand(self, job: Job) -> bool:
        """Run a job in the worker, a frame between two of them; False when it is stopped."""
        return self.intake.mailboxes.errand(partial(self._do, "a service call", "services", job))

    def busy(self) -> tuple[str, float] | None:
        """What the worker does and for how many seconds; None while it waits."""
        doing = self._doing
        return (doing.what, time.monotonic() - doing.since) if doing else None

    def counts(self) -> dict[str, dict[str, int]]:
        """What became of the frames of each camera since activation: `Mailboxes.counts`."""
        return self.intake.mailboxes.counts()

    def look(self, name: str, arrival: Arrival, counts: Mapping[str, int]) -> Answer:
        """Answer one message of a camera, to be called in the worker; it is counted nowhere.

        Raises:
            ImageError: If it is no image.
            NotFiniteError: If a network gave what is no number.
            RuntimeFailedError: If a network failed.
        """
        taken = time.perf_counter()
        frame, header = self._decode(arrival.message)
        unseen = Answer(name, frame, header, arrival.arrived, taken, counts=counts)
        answer, error = self._see(unseen)
        if error:
            raise error
        return answer

    def _serve(self, mailboxes: Mailboxes[Arrival]) -> None:
        while (work := mailboxes.take()) is not None:
            if not isinstance(work, Taken):
                work()
            elif self.intake.welcome(work, mailboxes):
                topic = self.intake.cameras[work.camera].heard
                with self._at(f"a frame of {work.camera}"), self.refusals.of(topic, SKIPPED):
                    self._answer(work, mailboxes, topic)

    def _do(self, what: str, topic: str, job: Job) -> None:
        with self._at(what), self.refusals.of(topic, "It is given up."):
            job()

    @contextmanager
    def _at(self, what: str) -> Iterator[None]:
        doing = self._doing = Doing(what, time.monotonic())
        try:
            yield
        finally:
            if self._doing is doing:  # a thread that was given up has no say
                self._doing = None

    def _answer(self, work: Taken[Arrival], mailboxes: Mailboxes[Arrival], topic: str) -> None:
        taken = time.perf_counter()
        try:
            frame, header = self._decode(work.item.message)
        except Exception as error:  # noqa: BLE001 - one bad message must not end the service
            self.refusals.refused(topic, error, SKIPPED)
            mailboxes.settle(work, "decode_errors")
            return
        encoding = getattr(self._decode, "encoding", "")
        if news := self._health.described(work.camera, frame, encoding):
            self.refusals.news(topic, news)
        unseen = Answer(work.camera, frame, header, work.item.arrived, taken)
        answer, failure = self._see(unseen)
        if not mailboxes.settle(work, "failed" if failure else "processed"):
            return  # given up: nobody waits for this frame any more
        if failure:
            self.refusals.failed(topic, failure, EMPTY)
        counts = frame_counts(mailboxes.counts()[work.camera])
        ms = self._publish(replace(answer, counts=counts))
        if not failure:
            self._health.answered(work.camera, ms)

    def _see(self, unseen: Answer) -> tuple[Answer, Exception | None]:
        """An answer with its result; with an empty one, and why, when a network failed."""
        start, manifest, frame = time.perf_counter(), self.manifest, unseen.frame
        failure: Exception | None = None
        try:
            result = perceive(frame, manifest, self.stages)
            check_finite(result)
        except Exception as error:  # noqa: BLE001 - answered empty, counted and told
            failure, secs = error, {"total": time.perf_counter() - start}
            known = (manifest.container_id, manifest.version) if manifest else ("", 0)
            height, width = frame.image_rgb.shape[:2]
            result = PerceptionResult(
                frame.stamp_ns, frame.camera, (height, width), (), known, secs
            )
        secs = {"queue": unseen.taken - unseen.arrived, "decode": start - unseen.taken}
        ms = {stage: value * 1e3 for stage, value in {**secs, **result.stage_secs}.items()}
        return replace(unseen, result=result, ms=ms), failure


def frame_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of a camera as ~/timing tells them, with "dropped" and "errors" added up."""
    told = {name: value for name, value in counts.items() if name != "waiting"}
    told["dropped"] = sum(counts[name] for name in DROPS)
    told["errors"] = counts["decode_errors"] + counts["failed"]
    return told


def check_finite(result: PerceptionResult) -> None:
    """Refuse an answer that holds what is no number.

    Raises:
        NotFiniteError: If a score is NaN or infinite.
    """
    for index, item in enumerate(result.items):
        scores = [item.instance.score, *item.defect.probabilities, item.defect.score]
        scores += [score for _, score in item.identification.candidates]
        if not all(map(math.isfinite, scores)):
            raise NotFiniteError(
                f"the networks gave {scores} for instance {index}, which must be numbers. Check "
                "the network and its runtime with `robollm doctor`."
            )


def warm_up(stages: Stages, iterations: int) -> None:
    """Run every network on a grey frame, so that the first real one is not the slow one.

    Raises:
        RobollmError: If a stage cannot serve.
    """
    frame, instance = grey_frame(), grey_instance()
    for _ in range(iterations):
        try:
            stages.segmentation.segment(frame)
            stages.identification.warm_up()
            stages.defects.inspect(frame, (instance,))
        except RobollmError:
            raise
        except Exception as error:
            raise RobollmError(f"the networks fail on a grey frame: {error}") from error


def grey_frame() -> Frame:
    """A frame with nothing on it."""
    return Frame(np.full((480, 640, 3), 128, np.uint8))


def grey_instance() -> Instance:
    """An instance in the middle of `grey_frame`."""
    return Instance((160, 120, 480, 360), np.ones((240, 320), np.bool_), 1.0)
