# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The pick events of a recording, answered by the node's own desk in the time of the recording."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from robollm_core.data.bag import ImageEvent
from robollm_core.errors import RobollmError
from robollm_core.picks.answers import PickAnswer, Receipt
from robollm_core.picks.desk import Desk, Effect
from robollm_core.picks.look import Looker, Scoring
from robollm_core.picks.pending import ViewJob
from robollm_core.pipeline import Stages


class RecordedClock:
    """The time of a recording, as the seconds that a desk asks for.

    Attributes:
        now_ns: log time.
    """

    def __init__(self) -> None:
        """Begin with the first message."""
        self.now_ns = 0
        self._start_ns: int | None = None

    def __call__(self) -> float:
        """Seconds since the first message, where a float still tells nanoseconds apart."""
        return (self.now_ns - (self._start_ns or 0)) / 1e9

    def set(self, now_ns: int) -> None:
        """Move on; never back."""
        if self._start_ns is None:
            self._start_ns = now_ns
        self.now_ns = max(self.now_ns, now_ns)

    def at(self, seconds: float) -> int:
        """The log time at which the clock has surely reached so many seconds."""
        return (self._start_ns or 0) + math.ceil(seconds * 1e9) + 1


class Sink(Protocol):
    """Takes what goes out for an event, at a time of the recording."""

    def told(self, receipt: Receipt, now_ns: int) -> None:
        """A status on the way."""

    def answered_pick(self, answer: PickAnswer, now_ns: int) -> None:
        """The one answer of an event."""


class Worker(Protocol):
    """The one that looks, at frames as well."""

    @property
    def free_ns(self) -> int:
        """When it is done with what it has begun."""

    def occupy(self, now_ns: int) -> int:
        """Begin to look at a view; returns when that is done."""


class ReplayedPicks:
    """A desk whose clock is the recording, and which looks at views without a thread."""

    def __init__(
        self, desk: Desk, clock: RecordedClock, stages: Stages, worker: Worker, sink: Sink
    ) -> None:
        """Take a desk.

        Args:
            desk: open, on `clock`.
            clock: is moved on.
            stages: look at views.
            worker: says how long that takes.
            sink: takes receipts and answers.
        """
        self._desk, self._clock, self._sink = desk, clock, sink
        self._looker = Looker()
        self._stages, self._worker = stages, worker
        self._queue: deque[tuple[int, ViewJob]] = deque()
        """What is to be looked at, with the time at which that was asked."""
        self._begun: tuple[int, ViewJob] | None = None
        """What is being looked at, with the time at which that is done."""

    def next_ns(self) -> int | None:
        """When something is due; None while nothing is."""
        due, times = self._desk.next_due(), list[int]()
        if self._begun:
            times.append(self._begun[0])
        elif self._queue:
            times.append(max(self._worker.free_ns, self._queue[0][0]))
        if due is not None:
            times.append(self._clock.at(due))
        return min(times, default=None)

    def step(self, now_ns: int) -> None:
        """Do what is due at a moment."""
        self._clock.set(now_ns)
        if self._begun and self._begun[0] <= now_ns:
            job, self._begun = self._begun[1], None
            if self._desk.wanted(job):
                self._look(job)
        self._do(self._desk.tick())
        self._serve()

    def receive(self, text: str, now_ns: int) -> None:
        """A pick event came."""
        self._clock.set(now_ns)
        self._do(self._desk.receive(text))
        self._serve()

    def on_frame(self, camera: str, event: ImageEvent, now_ns: int) -> None:
        """A frame came."""
        self._clock.set(now_ns)
        size, name = len(event.serialised), event.camera
        self._do(self._desk.on_frame(camera, event.stamp_ns, event, size=size, frame_id=name))
        self._serve()

    def clear(self, reason: str) -> None:
        """Time went back: what waits is cancelled."""
        self._do(self._desk.clear(reason))

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ViewJob):
                self._queue.append((self._clock.now_ns, effect))
            elif isinstance(effect, Receipt):
                self._sink.told(effect, self._clock.now_ns)
            else:
                self._sink.answered_pick(effect, self._clock.now_ns)

    def _serve(self) -> None:
        """Begin with what waits, while the worker is free."""
        while self._queue and not self._begun and self._worker.free_ns <= self._clock.now_ns:
            job = self._queue.popleft()[1]
            # as in the node: what nobody waits for any more takes no time
            if not self._desk.wanted(job):
                continue
            done = self._worker.occupy(self._clock.now_ns)
            if done <= self._clock.now_ns:
                self._look(job)
            else:
                self._begun = (done, job)

    def _look(self, job: ViewJob) -> None:
        try:
            frame = job.frame.payload.decode()
            seen = self._looker.look(frame, job.index, job.event, job.manifest, self._stages)
        except RobollmError as error:
            self._do(self._desk.failed(job, str(error)))
            return
        # what the clock on the wall says does not belong to the recording
        scoring = Scoring.of(self._stages.identification)
        self._do(self._desk.seen(job, replace(seen, secs={}), scoring))
