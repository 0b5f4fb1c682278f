# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The mailboxes and the one worker of the perception node, in the time of a recording.

The node keeps the newest frame of each camera and answers one frame at a time; which
frames it drops follows from when they came and how long the others took. Here both
are given, so the same recording drops the same frames each time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.config import InputConfig
from robollm_core.data import rostypes
from robollm_core.data.bag import ImageEvent, find_topics, read_topics
from robollm_core.errors import BagError, ConfigError

BACK_NS = 1_000_000_000
"""Stamps that fall back by more are of another time, as in the node."""
_SURE = 2
"""So many such stamps in a row."""
SERVICE = "service"
"""Key of the whole time of a frame among the times of its stages."""
_NS_A_MS = 1_000_000


@dataclass(slots=True)
class Counts:
    """What became of the frames of one camera, by the names of the node's ~/timing.

    `received` is the sum of all the others once nothing waits.
    """

    received: int = 0
    processed: int = 0
    dropped_mailbox: int = 0
    dropped_age: int = 0
    dropped_rate: int = 0
    dropped_disabled: int = 0
    dropped_jump: int = 0
    decode_errors: int = 0
    failed: int = 0

    def tree(self) -> dict[str, int]:
        """As JSON, with `dropped` and `errors`, the sums that ~/timing has too."""
        tree = asdict(self)
        dropped = sum(value for name, value in tree.items() if name.startswith("dropped_"))
        return {**tree, "dropped": dropped, "errors": self.decode_errors + self.failed}


class ServiceTimes:
    """How long frames take: one number, or a draw from recorded ones."""

    def __init__(self, rows: Sequence[Mapping[str, float]], seed: int = 0) -> None:
        """Take the times to draw from.

        Args:
            rows: milliseconds of a frame by stage, each with `SERVICE`; at least one.
            seed: of the draws.
        """
        self._rows, self._rng = tuple(rows), np.random.default_rng(seed)

    def draw(self) -> Mapping[str, float]:
        """The times of the next frame."""
        if len(self._rows) == 1:
            return self._rows[0]
        return self._rows[int(self._rng.integers(len(self._rows)))]


def read_service_times(path: Path) -> list[dict[str, float]]:
    """Read how long frames took.

    Args:
        path: a .json file with a list of milliseconds, or a bag with the ~/timing
            topic of a perception node.

    Raises:
        ConfigError: If the JSON file is no such list.
        BagError: If the bag cannot be read or has no times.
    """
    if path.suffix == ".json":
        return [{SERVICE: ms} for ms in _listed(path)]
    topics = find_topics(path, "timing", rostypes.STRING)
    messages = read_topics(path, dict.fromkeys(topics, rostypes.STRING))
    rows = [_row(str(message.data), path) for _, _, message in messages]
    if not rows:
        raise BagError(
            f"{path} has no ~/timing topic, which says how long frames took. Record one with "
            "`recorder`, or give --service-time-ms."
        )
    return rows


def _listed(path: Path) -> list[float]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, list) or any(isinstance(value, bool) for value in values):
            raise ValueError("it is no list of numbers")
        times = [float(value) for value in values]
        if not times or not all(np.isfinite(times)) or min(times) < 0:
            raise ValueError("it needs at least one number, all of them finite and not below 0")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} must hold a JSON list of milliseconds, such as [81.5, 90.2]: {error}."
        ) from error
    return times


def _row(text: str, path: Path) -> dict[str, float]:
    try:
        ms = {name: float(value) for name, value in json.loads(text)["ms"].items()}
        own = ms["answer"] - ms.get("queue", 0.0)
        if not (np.isfinite(own) and own >= 0):
            raise ValueError(f"answer {ms['answer']} ms less queue {ms.get('queue')} ms")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BagError(
            f"{path}: ~/timing holds no times of a perception node: {error!r}."
        ) from error
    # what a frame waited and how old it was belongs to the recording, not to the stages
    kept = {name: value for name, value in ms.items() if name not in ("queue", "age", "answer")}
    return {**kept, SERVICE: own}


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A frame whose turn has come.

    Attributes:
        camera: its name.
        event: the image.
        begun_ns: when the worker took it.
        ms: what its stages take, with `SERVICE`.
        queue_ms: how long it waited.
    """

    camera: str
    event: ImageEvent
    begun_ns: int
    ms: Mapping[str, float]
    queue_ms: float


Serve = Callable[[Turn], bool]
"""Answers a frame; False for one that could not be decoded, which takes no time."""


class Turns:
    """Frames come, wait, are overtaken or answered.

    Attributes:
        counts: by camera.
        free_ns: when the worker is done with what it has begun.
    """

    def __init__(
        self,
        limits: InputConfig,
        times: ServiceTimes,
        serve: Serve,
        on_back: Callable[[str], object] = lambda camera: None,
    ) -> None:
        """Begin with an idle worker.

        Args:
            limits: `enabled`, `max_rate_hz` and `max_age_ms` hold as in the node.
            times: how long frames take.
            serve: answers a frame.
            on_back: told the camera whose stamps went back.
        """
        self._on_back = on_back
        self._stamps: dict[str, tuple[int, int]] = {}
        """By camera the newest stamp, and how many have fallen back behind it in a row."""
        self._limits, self._times, self._serve = limits, times, serve
        self._slots: dict[str, tuple[ImageEvent, int]] = {}
        self._due: dict[str, int] = {}
        self._served: dict[str, int] = {}
        self._turn = 0
        self.free_ns = 0
        self.counts: dict[str, Counts] = {}

    def arrive(self, camera: str, event: ImageEvent, now_ns: int) -> None:
        """A frame comes in; `advance` up to now must have been called."""
        counts = self.counts.setdefault(camera, Counts())
        counts.received += 1
        if self._went_back(camera, event.stamp_ns):
            counts.dropped_jump += self._slots.pop(camera, None) is not None
            self._on_back(camera)
        if not self._limits.enabled:
            counts.dropped_disabled += 1
        elif self._too_soon(camera, now_ns):
            counts.dropped_rate += 1
        else:
            counts.dropped_mailbox += camera in self._slots
            self._slots[camera] = (event, now_ns)

    def occupy(self, now_ns: int) -> int:
        """Work that goes before all frames, a view of a pick, which takes as long as one.

        Returns:
            When it is done.
        """
        spent = round(self._times.draw()[SERVICE] * _NS_A_MS)
        self.free_ns = max(self.free_ns, now_ns) + spent
        return self.free_ns

    def advance(self, until_ns: int | None) -> None:
        """Answer all whose turn comes before a moment; None: all that wait."""
        while self._slots:
            begun = max(self.free_ns, min(arrived for _, arrived in self._slots.values()))
            if until_ns is not None and begun >= until_ns:
                return
            # as the node: the camera served longest ago, among those that have a frame by now
            waiting = [name for name, (_, arrived) in self._slots.items() if arrived <= begun]
            camera = min(waiting, key=lambda name: (self._served.get(name, -1), name))
            self._take(camera, begun)

    def _take(self, camera: str, begun_ns: int) -> None:
        event, arrived = self._slots.pop(camera)
        if self._too_old(event, begun_ns):
            self.counts[camera].dropped_age += 1
            return
        self._served[camera] = self._turn
        self._turn += 1
        ms = self._times.draw()
        turn = Turn(camera, event, begun_ns, ms, (begun_ns - arrived) / _NS_A_MS)
        if self._serve(turn):
            self.free_ns = begun_ns + round(ms[SERVICE] * _NS_A_MS)

    def _went_back(self, camera: str, stamp_ns: int) -> bool:
        if not stamp_ns:
            return False
        newest, back = self._stamps.get(camera, (0, 0))
        if stamp_ns >= newest - BACK_NS:
            self._stamps[camera] = (max(newest, stamp_ns), 0)
            return False
        sure = back + 1 >= _SURE
        self._stamps[camera] = (stamp_ns, 0) if sure else (newest, back + 1)
        return sure

    def _too_soon(self, camera: str, now_ns: int) -> bool:
        if not self._limits.max_rate_hz:
            return False
        period, due = round(1e9 / self._limits.max_rate_hz), self._due.get(camera, now_ns)
        if now_ns < due:
            return True
        # the mean rate is reached, and never more than one period is caught up
        self._due[camera] = max(due, now_ns - period) + period
        return False

    def _too_old(self, event: ImageEvent, now_ns: int) -> bool:
        if not self._limits.max_age_ms or not event.stamp_ns:
            return False
        return now_ns - event.stamp_ns > self._limits.max_age_ms * _NS_A_MS


def answer_times(turn: Turn) -> dict[str, Any]:
    """The "ms" of ~/timing for a frame in the time of the recording."""
    stages = {name: value for name, value in turn.ms.items() if name != SERVICE}
    whole = turn.queue_ms + turn.ms[SERVICE]
    ms = {"queue": turn.queue_ms, **stages, "answer": whole}
    return {name: round(value, 3) for name, value in ms.items()}
