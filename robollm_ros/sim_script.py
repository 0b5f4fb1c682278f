# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a simulated cell does and when: frames, manifests and pick events as steps in time.

No ROS and no clock here: the same cell at the same pace is the same script, and
whoever plays it puts the stamps on.
"""

import copy
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from robollm_core.errors import ConfigError
from robollm_core.synthetic.states import HELD_CAMERAS, CellState

_ASK, _HELD, _TELL = 0.2, (0.35, 0.5, 0.65), 0.8
"""Parts of a pick's time: the pre-pick event, the three views, the post-pick event."""
_TOLERANCE_S = 1e-9


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that a fault touched a step.

    Attributes:
        fault: its name.
        number: which of that name, from 1.
        did: what happened to the step, one word.
    """

    fault: str
    number: int
    did: str


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame of a camera.

    Attributes:
        at_s: when, on the script's own clock.
        camera: name of the camera.
        jpeg: the picture.
        instances: ground truth of the tote camera; None of another.
        shift_s: added to the stamp.
        broken: whether the message is spoilt so that nobody can decode it.
        withheld: whether it is never published; it has a stamp all the same.
        marks: the faults that touched it.
    """

    at_s: float
    camera: str
    jpeg: bytes
    instances: list[dict[str, Any]] | None = None
    shift_s: float = 0.0
    broken: bool = False
    withheld: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """What the tote holds now, as the text to publish."""

    at_s: float
    text: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PickEvent:
    """A pick event; the player knows the stamps of the views.

    Attributes:
        at_s: when, on the script's own clock.
        event: everything but the views.
        cameras: whose newest frames are the views.
        truth: what is really picked: item_ids and defect.
        regions: where in a view the item is held, x, y, w, h in pixels.
        text: sent instead of the event, when a fault spoils it.
        marks: the faults that touched it.
    """

    at_s: float
    event: Mapping[str, Any]
    cameras: tuple[str, ...]
    truth: Mapping[str, Any]
    regions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    text: str | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be said about a fault that is no message of the cell."""

    at_s: float
    mark: Mark
    tree: Mapping[str, Any] = field(default_factory=dict)


Step = Picture | Manifest | PickEvent | Note


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a cell works and what its cameras are called.

    Attributes:
        rate_hz: frames of the tote camera a second.
        picks_per_s: picks a second, at most `rate_hz`; 0 for none.
        tote: name of the tote camera.
        held: whether the three pick cameras are there.
        run: part of the names of containers and events, which no other run of the
            same seed has: for a node that goes on they must not come twice.
    """

    rate_hz: float
    picks_per_s: float
    tote: str
    held: bool
    run: str

    def __post_init__(self) -> None:
        """Check what the two rates are to each other.

        Raises:
            ConfigError: If more is picked than is seen.
        """
        if self.picks_per_s > self.rate_hz:
            raise ConfigError(
                f"picks_per_s must not exceed rate_hz: each pick needs a frame of the tote, got "
                f"{self.picks_per_s} and {self.rate_hz}."
            )

    @property
    def cameras(self) -> tuple[str, ...]:
        """Every camera of the cell, the tote's first."""
        return (self.tote, *(HELD_CAMERAS if self.held else ()))


def script(states: Sequence[CellState], pace: Pace) -> Iterator[Step]:
    """All steps of a cell in the order of their times, without end.

    Args:
        states: shown one after the other, then again from the first.
        pace: how fast.
    """
    length = 1 / pace.picks_per_s if pace.picks_per_s else float("inf")
    shown = 0
    for cycle in count():
        lap, number = divmod(cycle, len(states))
        state, begin = _renamed(states[number], f"{pace.run}.{lap}"), _at(cycle, length)
        yield Manifest(begin, json.dumps(state.manifest, separators=(",", ":")))
        later: list[Step] = []
        asked = state.pick is None or not pace.picks_per_s
        while (at := shown / pace.rate_hz) < begin + length - _TOLERANCE_S:
            while later and later[0].at_s <= at:
                yield later.pop(0)
            yield Picture(at, pace.tote, state.tote, state.instances)
            shown += 1
            last = shown / pace.rate_hz >= begin + length - _TOLERANCE_S
            if not asked and (last or at >= begin + _ASK * length):
                later, asked = _pick(state, pace, at, begin + length), True
                yield later.pop(0)
        yield from later


def _at(cycle: int, length: float) -> float:
    return cycle * length if cycle else 0.0


def _renamed(state: CellState, mark: str) -> CellState:
    """The state in a container of its own, which no lap before has shown."""
    manifest = copy.copy(state.manifest)
    manifest["container_id"] = f"{manifest['container_id']}-{mark}"
    pick = (
        None if state.pick is None else {**state.pick, "pick_id": f"{state.pick['pick_id']}-{mark}"}
    )
    return CellState(state.tote, manifest, state.instances, pick, state.held)


def _pick(state: CellState, pace: Pace, asked: float, end: float) -> list[Step]:
    """The events and the views of one pick, in order."""
    assert state.pick is not None

    def at(part: float) -> float:
        return asked + (end - asked) * (part - _ASK) / (1 - _ASK)

    truth = {name: state.pick[name] for name in ("item_ids", "defect")}
    before = _event(state, "pre_pick") | {"roi": state.pick["roi"]}
    steps: list[Step] = [PickEvent(asked, before, (pace.tote,), truth)]
    if pace.held:
        for part, camera in zip(_HELD, HELD_CAMERAS, strict=True):
            steps.append(Picture(at(part), camera, state.held[camera]))
        after, regions = _event(state, "post_pick"), state.pick.get("regions", {})
        steps.append(PickEvent(at(_TELL), after, HELD_CAMERAS, truth, regions))
    return steps


def _event(state: CellState, phase: str) -> dict[str, Any]:
    assert state.pick is not None
    pick_id = state.pick["pick_id"]
    return {
        "schema": "robollm.pick_event/1",
        # a name made from the pick, so that the same run of the same seed gives the same event
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{pick_id}/{phase}")),
        "pick_id": pick_id,
        "phase": phase,
        "container_id": state.manifest["container_id"],
        "manifest_version": state.manifest["version"],
        "min_views": 1,
    }
