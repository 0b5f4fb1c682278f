# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The nouns of health: a status, its level, what it may say, and what it is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robollm_core.types import Manifest

OK, WARN, ERROR = 0, 1, 2
"""Levels, as in diagnostic_msgs/DiagnosticStatus."""
RECENT_S = 10.0
"""A refusal younger than this makes the node unwell."""
WINDOW = 512
"""Percentiles are those of this many newest values."""


@dataclass(frozen=True, slots=True)
class Status:
    """One line of health.

    Attributes:
        name: a key of `meanings.MEANINGS`; `input/<camera>` for a camera.
        level: `OK`, `WARN` or `ERROR`.
        message: one sentence.
        values: details, in order.
    """

    name: str
    level: int
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Endpoints of one topic that cannot hear this node, or that it cannot hear.

    Attributes:
        count: how many.
        text: one sentence: topic, policy, who, remedy.
    """

    count: int
    text: str


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What the node knows of one camera when it reports.

    Attributes:
        topic: of the images, resolved.
        stale_after_s: without a frame for so many seconds it is an error.
        counts: frames since activation: "received", "processed", "dropped_<why>",
            "decode_errors".
        publishers: how many publish on the topic, fitting or not.
    """

    topic: str
    stale_after_s: float
    counts: Mapping[str, int]
    publishers: int = 0


@dataclass(frozen=True, slots=True)
class PickFacts:
    """What the desk of pick events has counted.

    Attributes:
        counts: events since activation: "requests", "pending", and by how they ended.
        recent: those of the last minute by how they ended: "done", "timeout", "cancelled",
            "rejected", "error".
        answer_ms: from event to answer, the newest ones.
    """

    counts: Mapping[str, int]
    recent: Mapping[str, int]
    answer_ms: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the node knows when it reports, beyond what `Health` was told.

    Attributes:
        cameras: by name.
        listeners: subscriptions by output topic; a recorder waits for its own.
        manifest: in force.
        gallery: as `Identifier.gallery_status` returns it; None while nothing is loaded.
        picks: of the desk; None while there is none.
        busy: what the worker does, and for how many seconds; None while it waits.
        mismatches: by resolved topic.
    """

    cameras: Mapping[str, CameraFacts]
    listeners: Mapping[str, int]
    manifest: Manifest | None = None
    gallery: Mapping[str, Any] | None = None
    picks: PickFacts | None = None
    busy: tuple[str, float] | None = None
    mismatches: Mapping[str, Mismatch] = field(default_factory=dict)


def percentiles(name: str, window: Iterable[float], percents: tuple[int, ...]) -> dict[str, float]:
    """Percentiles in milliseconds, as `<name>_p<percent>_ms`; empty without values."""
    values = np.fromiter(window, np.float64)
    if not len(values):
        return {}
    found = np.percentile(values, percents)
    return {
        f"{name}_p{percent}_ms": round(float(value), 3)
        for percent, value in zip(percents, found, strict=True)
    }
