# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What waits for the worker: a slot a camera, in which the newest wins, and jobs that go first.

A queue would answer old frames late; a robot wants the newest frame now. Every
frame that comes in is counted, and so is what became of it.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Job = Callable[[], None]

FATES = (
    "processed", "dropped_mailbox", "dropped_age", "dropped_rate", "dropped_disabled",
    "dropped_jump", "decode_errors", "failed",
)  # fmt: skip
"""What may become of a frame; "waiting" beside them has no fate yet."""
DROPS = tuple(fate for fate in FATES if fate.startswith("dropped_"))


@dataclass(frozen=True, slots=True, eq=False)
class Taken(Generic[T]):
    """A frame on its way through the worker; its fate is still to be told.

    Attributes:
        camera: whose.
        item: as it was put in.
    """

    camera: str
    item: T


class Mailboxes(Generic[T]):
    """The slots of all cameras and the jobs, for one reader and any number of writers."""

    def __init__(self, cameras: Sequence[str]) -> None:
        """Make them empty and open, with all counts at zero."""
        self._slots: dict[str, T] = {}
        self._turns = list(cameras)
        """Served longest ago first."""
        self._counts = {camera: dict.fromkeys(("received", *FATES), 0) for camera in cameras}
        self._taken: Taken[T] | None = None
        self._urgent: deque[Job] = deque()
        self._errands: deque[Job] = deque()
        self._errand_was_last = False
        self._closed = False
        self._changed = threading.Condition()

    def put(self, camera: str, item: T) -> None:
        """Leave a frame; an unread one of the same camera is overwritten and counted."""
        with self._changed:
            if self._closed:
                return
            self._counts[camera]["received"] += 1
            if camera in self._slots:
                self._counts[camera]["dropped_mailbox"] += 1
            self._slots[camera] = item
            self._changed.notify()

    def refuse(self, camera: str, fate: str) -> None:
        """Count a frame that is dropped as it arrives."""
        with self._changed:
            if not self._closed:
                self._counts[camera]["received"] += 1
                self._counts[camera][fate] += 1

    def urgent(self, job: Job) -> bool:
        """Leave a job that goes before everything else; False when closed."""
        return self._leave(self._urgent, job)

    def errand(self, job: Job) -> bool:
        """Leave a job that goes before one frame, after which frames have a turn again."""
        return self._leave(self._errands, job)

    def _leave(self, queue: "deque[Job]", job: Job) -> bool:
        with self._changed:
            if not self._closed:
                queue.append(job)
                self._changed.notify()
            return not self._closed

    def take(self) -> Job | Taken[T] | None:
        """Wait for what comes next.

        Returns:
            A job; or a frame, whose fate is then to be told by `settle`; None once closed.
        """
        with self._changed:
            self._changed.wait_for(self._ready)
            if self._closed:
                return None
            if self._urgent:
                return self._urgent.popleft()
            if self._errands and not (self._slots and self._errand_was_last):
                self._errand_was_last = True
                return self._errands.popleft()
            self._errand_was_last = False
            camera = next(name for name in self._turns if name in self._slots)
            self._turns.remove(camera)
            self._turns.append(camera)
            self._taken = Taken(camera, self._slots.pop(camera))
            return self._taken

    def _ready(self) -> bool:
        return bool(self._closed or self._urgent or self._errands or self._slots)

    def settle(self, taken: Taken[T], fate: str) -> bool:
        """Say what became of the frame that was taken; False if that was told before."""
        with self._changed:
            if self._taken is not taken:
                return False
            self._counts[taken.camera][fate] += 1
            self._taken = None
            return True

    def clear(self, camera: str | None = None) -> None:
        """Drop what waits, of one camera or of all, because time went back."""
        with self._changed:
            for name in self._turns if camera is None else (camera,):
                if self._slots.pop(name, None) is not None:
                    self._counts[name]["dropped_jump"] += 1

    def close(self) -> None:
        """Wake the reader for good; unread frames count as dropped, jobs are forgotten."""
        with self._changed:
            for camera in self._slots:
                self._counts[camera]["dropped_mailbox"] += 1
            self._slots.clear()
            self._urgent.clear()
            self._errands.clear()
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Give up the frame that was taken: nobody will answer it any more."""
        with self._changed:
            if self._taken is not None:
                self._counts[self._taken.camera]["failed"] += 1
                self._taken = None

    def counts(self) -> dict[str, dict[str, int]]:
        """By camera: "received", the `FATES`, and "waiting"; received is the sum of the others."""
        with self._changed:
            found = {camera: dict(counts) for camera, counts in self._counts.items()}
            for camera, counts in found.items():
                taken = self._taken is not None and self._taken.camera == camera
                counts["waiting"] = int(camera in self._slots) + int(taken)
            return found
