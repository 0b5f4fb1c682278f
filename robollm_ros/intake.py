# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where frames come in: what is dropped at the door, and what waits for the worker.

In this order a frame is dropped as it arrives: the stream is switched off, its camera is faster
than allowed. And when its turn comes: the stream was switched off since, it is too old.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import error as StructError
from typing import Any

from robollm_ros.cameras import Camera
from robollm_ros.cdr import stamp_ns
from robollm_ros.health import Health
from robollm_ros.mailbox import Mailboxes, Taken

BACK_NS = 1_000_000_000
"""Stamps that fall back by more are of another time: a bag that begins again."""
_FUTURE_NS = 500_000_000
"""Clocks of two machines differ by less."""
_SURE = 2
"""So many such stamps in a row; a single one may be a fault of its message alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A message of a camera.

    Attributes:
        message: serialised bytes, or a CompressedImage.
        arrived: `time.perf_counter()` then.
        stamp_ns: of its header; 0 when it has none that can be read.
    """

    message: Any
    arrived: float
    stamp_ns: int


@dataclass(slots=True)
class _Gate:
    """What is known of the stamps and the pace of one camera."""

    due: float = 0.0
    newest_ns: int = 0
    back: int = 0
    odd: bool = False


class Intake:
    """The door of the worker.

    Attributes:
        cameras: by name; may be replaced, by cameras of the same names, at any time.
        enabled: whether the stream is answered; may change at any time.
        mailboxes: of the activation that lasts, or the last one.
        newest: by camera, the newest message, also one that was dropped.
        on_back: told when time went back, of a camera or of all (None).
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        health: Health,
        *,
        now_ns: Callable[[], int],
        log: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a door that is closed until `open`.

        Args:
            cameras: all there are.
            health: is told of every arrival.
            now_ns: the clock that stamps are compared with.
            log: gets a relative topic and a text.
            clock: seconds that never go back, for rates.
        """
        self.cameras = {camera.name: camera for camera in cameras}
        self.enabled = True
        self.on_back: Callable[[str | None], None] = lambda camera: None
        self._health, self._now_ns, self._log, self._clock = health, now_ns, log, clock
        self.open()
        self.mailboxes.close()

    def open(self) -> None:
        """Begin anew: empty slots, all counts at zero."""
        self.mailboxes: Mailboxes[Arrival] = Mailboxes(list(self.cameras))
        self.newest: dict[str, Arrival] = {}
        self._gates = {name: _Gate() for name in self.cameras}

    def close(self) -> None:
        """Let nothing in any more; the counts stay."""
        self.mailboxes.close()
        self.newest = {}

    def put(self, name: str, message: Any) -> int | None:
        """A message of a camera came in.

        Returns:
            Its stamp; None when there is none that can be read.
        """
        camera, read = self.cameras[name], message_stamp(message)
        stamp = read or 0  # refused, with a reason, when it is decoded
        arrival = Arrival(message, time.perf_counter(), stamp)
        known = None if read is None else self._checked_age_ms(camera, stamp)
        self._health.arrived(name, known)
        if self._went_back(self._gates[name], stamp):
            self.went_back(name)
        self.newest[name] = arrival
        if not self.enabled:
            self.mailboxes.refuse(name, "dropped_disabled")
        elif self._too_soon(self._gates[name], camera.max_rate_hz):
            self.mailboxes.refuse(name, "dropped_rate")
        else:
            self.mailboxes.put(name, arrival)
        return read

    def welcome(self, taken: Taken[Arrival], mailboxes: Mailboxes[Arrival]) -> bool:
        """Whether a frame is still wanted now that its turn has come; if not, it is settled."""
        limit_ms = self.cameras[taken.camera].max_age_ms
        if not self.enabled:
            mailboxes.settle(taken, "dropped_disabled")
        elif limit_ms and (self.age_ms(taken.item.stamp_ns) or 0.0) > limit_ms:
            mailboxes.settle(taken, "dropped_age")
        else:
            return True
        return False

    def age_ms(self, stamp_ns: int) -> float | None:
        """Milliseconds since a stamp; None when it is zero or in the future, or nobody knows."""
        now_ns = self._now_ns()
        if not stamp_ns or stamp_ns > now_ns + _FUTURE_NS:
            return None
        return max(0.0, (now_ns - stamp_ns) / 1e6)

    def went_back(self, name: str | None = None) -> None:
        """Time went back, for a camera or for all: what waits is of a time that is over."""
        self.mailboxes.clear(name)
        for each in self.cameras if name is None else (name,):
            self._gates[each].newest_ns = self._gates[each].back = 0
            self.newest.pop(each, None)
        self.on_back(name)

    def _checked_age_ms(self, camera: Camera, stamp_ns: int) -> float | None:
        age, gate = self.age_ms(stamp_ns), self._gates[camera.name]
        # a clock at zero is one that simulation has not told yet
        if age is None and not gate.odd and self._now_ns():
            gate.odd = True
            what = "lie in the future" if stamp_ns else "are zero"
            self._log(
                camera.heard,
                f"stamps {what}: frames are answered, but nobody can tell how old they are. Let "
                "the driver stamp with the clock of this node.",
            )
        return age

    def _went_back(self, gate: _Gate, stamp_ns: int) -> bool:
        if not stamp_ns:
            return False
        if stamp_ns < gate.newest_ns - BACK_NS:
            gate.back += 1
            if gate.back < _SURE:
                return False
            gate.newest_ns, gate.back = stamp_ns, 0
            return True
        gate.newest_ns, gate.back = max(gate.newest_ns, stamp_ns), 0
        return False

    def _too_soon(self, gate: _Gate, limit_hz: float) -> bool:
        if not limit_hz:
            return False
        now, period = self._clock(), 1.0 / limit_hz
        if now < gate.due:
            return True
        # from when it was due, so that the rate is met; never more than one period made up for
        gate.due = max(gate.due, now - period) + period
        return False


def message_stamp(message: Any) -> int | None:
    """The header stamp of a message of a camera, serialised or not; None if it has none."""
    if not isinstance(message, bytes):
        stamp = message.header.stamp
        return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    try:
        return stamp_ns(message)
    except (StructError, IndexError):
        return None
