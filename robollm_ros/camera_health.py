# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How one camera is doing: its rate, the age of its frames, what they look like, why none come."""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Any

from robollm_core.types import Frame
from robollm_ros.status import (
    ERROR,
    OK,
    RECENT_S,
    WARN,
    WINDOW,
    CameraFacts,
    Mismatch,
    Status,
    percentiles,
)

RATE_S = 10.0
"""The rate is that of the newest so many seconds."""
_ARRIVALS = 4096


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of a camera when it is reported, beyond what was seen of it.

    Attributes:
        now: seconds on the clock.
        active: whether the node listens.
        facts: what the node knows of it.
        bad: publishers of its topic that do not fit; None when all do.
        refusal: when and why its newest refused frame was refused; None without one.
        enabled: whether the stream is answered.
    """

    now: float
    active: bool
    facts: CameraFacts
    bad: Mismatch | None = None
    refusal: tuple[float, str] | None = None
    enabled: bool = True


class CameraHealth:
    """Gathers what is seen of one camera; not locked: `Health` does that."""

    def __init__(self, name: str, since: float) -> None:
        """Start with no frame.

        Args:
            name: of the camera.
            since: seconds on the clock when it was first listened to.
        """
        self.name = name
        self._since = since
        self._last: float | None = None
        self._arrivals: deque[float] = deque(maxlen=_ARRIVALS)
        self._ages_ms: deque[float] = deque(maxlen=WINDOW)
        self._look: dict[str, Any] = {}
        self._answered_at = -inf

    def arrived(self, now: float, age_ms: float | None) -> None:
        """A frame came in, so many milliseconds after its stamp; None: nobody knows."""
        self._last = now
        self._arrivals.append(now)
        if age_ms is not None:
            self._ages_ms.append(age_ms)

    def jumped(self) -> None:
        """Its stamps, or the clock, went back."""
        self._ages_ms.clear()

    def described(self, frame: Frame, encoding: str) -> str:
        """Note what frames look like; returns what changed, "" while the size stays."""
        height, width = frame.image_rgb.shape[:2]
        before, size = self._look.get("size"), f"{width}x{height}"
        self._look = {"size": size, "encoding": encoding, "frame_id": frame.camera}
        return "" if before in (None, size) else f"the size changed from {before} to {size}."

    def answered(self, now: float) -> None:
        """Its newest frame was answered."""
        self._answered_at = now

    def status(self, seen: Moment) -> Status:
        """Sum up."""
        silence = seen.now - (self._since if self._last is None else self._last)
        values = {
            "topic": seen.facts.topic,
            "hz": self._hz(seen.now),
            "silent_s": round(silence, 3),
            **percentiles("age", self._ages_ms, (50, 99)),
            **seen.facts.counts,
            "publishers": seen.facts.publishers,
            "incompatible_qos": seen.bad.count if seen.bad else 0,
            **self._look,
        }
        if not seen.active:
            return Status(f"input/{self.name}", OK, "not listening", values)
        level, text = self._judge(seen, silence)
        return Status(f"input/{self.name}", level, text, values)

    def _judge(self, seen: Moment, silence: float) -> tuple[int, str]:
        facts = seen.facts
        if silence > facts.stale_after_s:
            return ERROR, self._silent(silence, facts, seen.bad)
        refused_at, reason = seen.refusal or (-inf, "")
        if seen.now - refused_at < RECENT_S and refused_at > self._answered_at:
            return ERROR, f"frames arrive and are refused: {reason}"
        if seen.bad:
            return WARN, seen.bad.text
        if not facts.counts.get("processed") and facts.counts.get("dropped_age"):
            return WARN, (
                "every frame is older than max_age_ms when its turn comes; compare the clocks of "
                "camera and node, or raise the limit"
            )
        if self._last is None:
            return OK, "no frame yet"
        return OK, "frames arrive" if seen.enabled else "frames arrive; the stream is switched off"

    def _silent(self, silence: float, facts: CameraFacts, bad: Mismatch | None) -> str:
        lead = f"{'no frame yet' if self._last is None else 'stale'} for {silence:.1f} s: "
        if bad and bad.count >= facts.publishers:
            return lead + bad.text
        if not facts.publishers:
            return (
                f"{lead}nobody publishes {facts.topic}; start the camera driver, or correct the "
                "topic's name"
            )
        return (
            f"{lead}{facts.topic} has {facts.publishers} publisher(s), which send nothing that "
            "arrives; look at the driver and its message type, and load config/fastdds_shm.xml "
            "there for large images"
        )

    def _hz(self, now: float) -> float:
        while self._arrivals and now - self._arrivals[0] > RATE_S:
            self._arrivals.popleft()
        return round(len(self._arrivals) / max(min(RATE_S, now - self._since), 1e-3), 3)
