# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The newest frames of every camera, as they came, and which of them a view means.

Not thread-safe: the desk, its one user, takes turns.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from robollm_core.picks.event import EXACT, LATEST, NEAREST, PickView

BACK_NS = 1_000_000_000
"""A stamp that much earlier than the one before it is a clock set back, not a late frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A frame that may still be asked for.

    Attributes:
        camera: name as the node has it.
        stamp_ns: of its header.
        arrived: seconds of the monotonic clock.
        payload: the message, undecoded.
        size: bytes of the payload.
    """

    camera: str
    stamp_ns: int
    arrived: float
    payload: Any
    size: int


@dataclass(frozen=True, slots=True)
class Match:
    """What was found for a view.

    Attributes:
        frame: None while there is none.
        lost: why there will never be one; "" while there may.
    """

    frame: Kept | None = None
    lost: str = ""


class FrameRing:
    """Keeps frames within a number a camera and a number of bytes over all of them."""

    def __init__(self, cameras: Iterable[str], frames: int, max_bytes: int, stale_s: float) -> None:
        """Keep nothing yet.

        Args:
            cameras: their names.
            frames: most frames a camera.
            max_bytes: of all payloads together; a frame that is larger is not kept.
            stale_s: a frame that came so long before the event is no "latest" one.
        """
        self._kept: dict[str, deque[Kept]] = {camera: deque() for camera in cameras}
        self._frames, self._max_bytes, self._stale_s = frames, max_bytes, stale_s
        self._bytes = 0
        self._oversized: set[str] = set()
        """Cameras whose newest frame was too large to keep."""

    @property
    def sizes(self) -> dict[str, int]:
        """Frames and bytes that are kept."""
        return {"frames": sum(map(len, self._kept.values())), "bytes": self._bytes}

    def put(self, frame: Kept) -> None:
        """Keep a frame, and let go of older ones for it.

        A stamp that lies `BACK_NS` before that of the frame before clears the camera:
        frames of two times would be taken for each other.
        """
        own = self._kept[frame.camera]
        if own and 0 < frame.stamp_ns < own[-1].stamp_ns - BACK_NS:
            self._empty(own)
        if frame.size > self._max_bytes:
            self._oversized.add(frame.camera)
            return
        self._oversized.discard(frame.camera)
        own.append(frame)
        self._bytes += frame.size
        if len(own) > self._frames:
            self._drop(own)
        while self._bytes > self._max_bytes:
            # of the camera that has most, so that a slow one keeps its newest frame
            self._drop(max(self._kept.values(), key=_weight))

    def find(self, view: PickView, camera: str, asked: float, *, settle: bool = False) -> Match:
        """Look for the frame that a view means.

        Args:
            view: what is wanted.
            camera: the camera that `view.camera` names.
            asked: when the event arrived, on the clock of `Kept.arrived`.
            settle: take the nearest frame there is without waiting for one behind it.
        """
        frames = self._kept[camera]
        found = self._search(frames, view, asked, settle)
        if found.frame is None and camera in self._oversized:
            return Match(lost="its frames are larger than picks.history_mb; raise it")
        return found

    def _search(self, frames: deque[Kept], view: PickView, asked: float, settle: bool) -> Match:
        if view.match == LATEST:
            fresh = [frame for frame in frames if frame.arrived >= asked - self._stale_s]
            return Match(fresh[-1] if fresh else None)
        by_stamp = view.stamp_ns is not None
        wanted = view.stamp_ns if view.stamp_ns is not None else round(asked * 1e9)

        def time_of(frame: Kept) -> int:
            return frame.stamp_ns if by_stamp else round(frame.arrived * 1e9)

        if view.match == EXACT:
            return _exact(frames, wanted)
        if view.match == NEAREST:
            tolerance = round(view.tol_ms * 1e6)
            return _nearest(frames, wanted, time_of, tolerance, settle)
        later = [frame for frame in frames if time_of(frame) >= wanted]
        return Match(min(later, key=time_of, default=None))

    def clear(self) -> None:
        """Let go of everything."""
        for own in self._kept.values():
            self._empty(own)
        self._oversized.clear()

    def _empty(self, own: deque[Kept]) -> None:
        while own:
            self._drop(own)

    def _drop(self, own: deque[Kept]) -> None:
        self._bytes -= own.popleft().size


def _weight(frames: deque[Kept]) -> int:
    return sum(frame.size for frame in frames)


def _exact(frames: deque[Kept], wanted: int) -> Match:
    for frame in reversed(frames):
        if frame.stamp_ns == wanted:
            return Match(frame)
    # a camera sends in order: what has been overtaken was dropped on the way, or here
    overtaken = any(frame.stamp_ns > wanted for frame in frames)
    return Match(lost="newer frames came, it did not or is gone" * overtaken)


def _nearest(
    frames: deque[Kept], wanted: int, time_of: Callable[[Kept], int], tolerance: int, settle: bool
) -> Match:
    if not (settle or any(time_of(frame) >= wanted for frame in frames)):
        return Match()  # a nearer one may still come
    best = min(frames, key=lambda frame: abs(time_of(frame) - wanted), default=None)
    if best is None:
        return Match()
    off = abs(time_of(best) - wanted)
    if off <= tolerance:
        return Match(best)
    overtaken = any(time_of(frame) >= wanted for frame in frames)
    return Match(lost=f"the nearest frame is {off / 1e6:.0f} ms off" * overtaken)
