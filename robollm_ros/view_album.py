# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that wait for their answer, so that the live view shows the two together.

Frames are kept as they came, undecoded, up to a number of bytes; an answer finds
its frame by the header, which it carries unchanged.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_ANSWERS = 64
MAX_SHOTS = 32
"""Frames kept a camera, at most."""
PATIENCE_S = 0.4
"""So long an answer waits for its parts that are still on their way."""
QUIET_S = 2.0
"""Without an answer for so long, frames are shown without one."""
PARTS = ("detections", "defects", "masks")


@dataclass(slots=True, eq=False)
class Shot:
    """One frame of a camera.

    Attributes:
        camera: name of the camera.
        frame_id, stamp_ns: of its header.
        message: as it came.
        size: bytes of it.
        at: when it came, seconds of the clock.
        shown: whether it was given out without its answer.
    """

    camera: str
    frame_id: str
    stamp_ns: int
    message: Any
    size: int
    at: float = 0.0
    shown: bool = False


@dataclass(slots=True, eq=False)
class Answer:
    """What was said of one frame; `parts` are messages by name, one of `PARTS`."""

    at: float
    parts: dict[str, Any] = field(default_factory=dict)


class Album:
    """The newest frames of each camera, and the newest answers."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty.

        Args:
            max_bytes: that all frames may take; the newest of each camera is kept anyway.
            clock: seconds that never go back.
        """
        self._max_bytes, self._clock = max_bytes, clock
        self._shots: dict[str, list[Shot]] = {}
        self._answers: OrderedDict[tuple[str, int], Answer] = OrderedDict()
        self._answered: dict[str, float] = {}
        self._masked = -math.inf

    @property
    def bytes(self) -> int:
        """Bytes of all frames kept."""
        return sum(shot.size for shots in self._shots.values() for shot in shots)

    def add(self, shot: Shot) -> None:
        """Keep a frame; the oldest go when there are too many bytes."""
        shot.at = self._clock()
        own = self._shots.setdefault(shot.camera, [])
        own.append(shot)
        del own[:-MAX_SHOTS]
        excess = self.bytes - self._max_bytes
        while excess > 0:
            spare = [shots for shots in self._shots.values() if len(shots) > 1]
            if not spare:
                return
            oldest = min(spare, key=lambda shots: shots[0].at)
            excess -= oldest.pop(0).size

    def say(self, part: str, frame_id: str, stamp_ns: int, message: Any) -> None:
        """Keep a part of an answer."""
        now = self._clock()
        key = (frame_id, stamp_ns)
        if key not in self._answers:
            self._answers[key] = Answer(now)
        self._answers[key].parts[part] = message
        if part == "masks":
            self._masked = now
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def age_s(self, camera: str) -> float | None:
        """Seconds since the newest frame of a camera; None without one."""
        shots = self._shots.get(camera)
        return self._clock() - shots[-1].at if shots else None

    def take(self, camera: str) -> tuple[Shot, dict[str, Any]] | None:
        """The newest frame of a camera whose answer is whole, and the answer.

        Without answers for `QUIET_S` it is the newest frame, without one; it is
        given once more when its answer comes. What is older than an answered
        frame is not given any more.
        """
        shots = self._shots.get(camera, [])
        for index in range(len(shots) - 1, -1, -1):
            shot = shots[index]
            answer = self._answers.get((shot.frame_id, shot.stamp_ns))
            if answer is not None and self._whole(answer):
                del self._answers[shot.frame_id, shot.stamp_ns]
                self._answered[camera] = self._clock()
                self._drop(shots, index)
                return shot, answer.parts
        if not shots or shots[-1].shown or not self._quiet(camera):
            return None
        shots[-1].shown = True
        return shots[-1], {}

    def clear(self) -> None:
        """Forget all frames and answers."""
        self._shots.clear()
        self._answers.clear()
        self._answered.clear()

    def _whole(self, answer: Answer) -> bool:
        now = self._clock()
        masked = now - self._masked < QUIET_S
        wanted = PARTS if masked else PARTS[:2]
        if all(part in answer.parts for part in wanted):
            return True
        return "detections" in answer.parts and now - answer.at >= PATIENCE_S

    def _quiet(self, camera: str) -> bool:
        return self._clock() - self._answered.get(camera, -math.inf) >= QUIET_S

    def _drop(self, shots: list[Shot], index: int) -> None:
        """Let a frame go, and what is older; of the newest its age stays known."""
        shot = shots[index]
        rest = shots[index + 1 :]
        shots[:] = rest or [Shot(shot.camera, "", -1, None, 0, shot.at, shown=True)]
