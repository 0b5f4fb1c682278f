# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What came of the frames that a camera showed over ROS: latency of every one, and every loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENTS = (50.0, 90.0, 99.0, 99.9)
MOST_LOST = 0.05
"""Share of the frames that may be lost at the peak rate."""
DROPS = (
    "dropped_mailbox", "dropped_age", "dropped_rate", "dropped_disabled", "dropped_jump",
    "decode_errors",
)  # fmt: skip
"""Counters of the node, where a frame ends that is not answered."""
_EDGES_MS = (0.0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)

Pairs = Sequence[tuple[int, int]]
"""(stamp of a frame, time of what is noted), nanoseconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is shown.

    Attributes:
        size: WIDTHxHEIGHT.
        rate: frames a second.
        seconds: how long.
        transport: "raw" or "compressed".
    """

    size: str
    rate: float
    seconds: float
    transport: str = "raw"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What each side saw of a case.

    Attributes:
        camera: "stamps_ns", "publish_ms" (of each) and "seconds".
        published: when the node had its detections out.
        heard: when a listener in another process had them.
        counts: what the node's counters grew by: "received", "processed", `DROPS`.
        core_ms: median milliseconds of the core alone for such a frame.
        usage: "cpu" (cores in use) and "rss_kib" of the node.
        picks: when each was asked and when it was answered, 0 for never.
    """

    camera: Mapping[str, Any]
    published: Pairs
    heard: Pairs
    counts: Mapping[str, int]
    core_ms: float
    usage: Mapping[str, float]
    picks: Pairs = ()


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Percentiles in milliseconds, "min" to "max"; None of nothing."""
    if not len(values):
        return None
    found = np.percentile(np.asarray(values, np.float64), (0.0, *PERCENTS, 100.0))
    names = ("min", "p50", "p90", "p99", "p99_9", "max")
    return {name: round(float(value), 3) for name, value in zip(names, found, strict=True)}


def histogram(values: Sequence[float]) -> dict[str, list[float]]:
    """Counts by "edges_ms"; what lies beyond the last edge is counted in the last bin."""
    inside = np.clip(np.asarray(values, np.float64), _EDGES_MS[0], _EDGES_MS[-1])
    counts, edges = np.histogram(inside, _EDGES_MS)
    return {"edges_ms": [float(edge) for edge in edges], "counts": [int(n) for n in counts]}


def row(case: Case, seen: Seen) -> dict[str, Any]:
    """Sum a case up.

    The tax of a frame is its time from the stamp to the publication of its
    detections, less what the core alone takes. The camera driver's own call of
    publish() is part of it, and told apart as well: the tax of the node is the rest.

    Args:
        case: what was shown.
        seen: what became of it.

    Returns:
        The case, "sent", "answered", "loss" (share), "lost" (by where), "latency_ms",
        "heard_ms", "camera_ms", "tax_ms", "node_tax_ms" (see `spread`), "histogram" (of
        the tax), "picks" ("asked", "answered", "ms"), "core_ms", "cpu", "rss_kib",
        "rate_reached" and "uncounted": frames that are neither answered nor counted as lost
        anywhere.
    """
    stamps = list(seen.camera["stamps_ns"])
    shown = dict(zip(stamps, seen.camera["publish_ms"], strict=True))
    published = _of(seen.published, shown)
    latency = {stamp: (when - stamp) / 1e6 for stamp, when in published.items()}
    tax = {stamp: value - seen.core_ms for stamp, value in latency.items()}
    heard = _of(seen.heard, shown)
    lost = losses(len(stamps), len(published), len(heard), seen.counts)
    return {
        "size": case.size,
        "rate": case.rate,
        "seconds": case.seconds,
        "transport": case.transport,
        "sent": len(stamps),
        "answered": len(published),
        "loss": round(1.0 - len(published) / max(1, len(stamps)), 6),
        "lost": lost,
        "latency_ms": spread(list(latency.values())),
        "heard_ms": spread([(when - stamp) / 1e6 for stamp, when in heard.items()]),
        "camera_ms": spread(list(shown.values())),
        "tax_ms": spread(list(tax.values())),
        "node_tax_ms": spread([tax[stamp] - shown[stamp] for stamp in tax]),
        "histogram": histogram(list(tax.values())),
        "picks": _picks(seen.picks, stamps),
        "core_ms": round(seen.core_ms, 3),
        "rate_reached": round(max(0, len(stamps) - 1) / max(1e-9, seen.camera["seconds"]), 2),
        "cpu": round(seen.usage["cpu"], 3),
        "rss_kib": seen.usage["rss_kib"],
        "uncounted": uncounted(len(stamps), len(published), lost),
    }


def _of(pairs: Pairs, shown: Mapping[int, float]) -> dict[int, int]:
    """Those of the frames of one case, each once."""
    return {stamp: when for stamp, when in pairs if stamp in shown}


def _picks(picks: Pairs, stamps: Sequence[int]) -> dict[str, Any]:
    """Those asked while frames of the case were shown."""
    mine = [pair for pair in picks if stamps and stamps[0] <= pair[0] <= stamps[-1]]
    took = [(answered - asked) / 1e6 for asked, answered in mine if answered]
    return {"asked": len(mine), "answered": len(took), "ms": spread(took)}


def losses(sent: int, published: int, heard: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Where frames were lost.

    Args:
        sent: by the camera.
        published: answers of the node.
        heard: answers that reached a listener.
        counts: of the node.

    Returns:
        "never_received" (on the way to the node), `DROPS` and "answer_lost" (on the
        way from the node, of those answered).
    """
    return {
        "never_received": sent - counts.get("received", 0),
        **{name: counts.get(name, 0) for name in DROPS},
        "answer_lost": published - heard,
    }


def uncounted(sent: int, published: int, lost: Mapping[str, int]) -> int:
    """Frames that nobody accounts for; 0 when sent = answered + never received + drops."""
    return sent - published - lost["never_received"] - sum(lost[name] for name in DROPS)


def grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """What the node's counters grew by between two of its ~/timing messages.

    Args:
        before: empty for the beginning.
        after: the later one.

    Returns:
        "received", "processed" and `DROPS`.
    """
    names = ("received", "processed", *DROPS)
    return {name: int(after.get(name, 0)) - int(before.get(name, 0)) for name in names}


LIMITS = (
    # size, rate, figure, limit in ms
    ("1280x960", 20.0, "p50", 3.0),
    ("1280x960", 20.0, "p99", 10.0),
    ("2448x2048", 10.0, "p50", 8.0),
)
"""Of the tax."""


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Hold rows against the targets that apply to them.

    Returns:
        "name", "limit", "value" and "kept" of each; the tax of the node, less the call
        of the camera driver, is told beside the whole and judged by the same limit.
    """
    found: list[dict[str, Any]] = []
    for one in rows:
        if one["transport"] != "raw" or one["tax_ms"] is None:
            continue
        where = f"{one['size']} at {one['rate']:g} Hz"
        for size, rate, figure, limit in LIMITS:
            if (one["size"], one["rate"]) != (size, rate):
                continue
            for key, what in (("tax_ms", "stamp to answer"), ("node_tax_ms", "of the node")):
                name = f"ms of tax, {what}, {figure}, {where}"
                found.append(_target(name, limit, one[key][figure]))
        if _must_keep_up(one):
            found.append(_target(f"frames lost, {where}", 0, one["sent"] - one["answered"]))
        found.append(_target(f"frames unaccounted for, {where}", 0, one["uncounted"]))
        if one["picks"]["asked"]:
            silent = one["picks"]["asked"] - one["picks"]["answered"]
            found.append(_target(f"picks without an answer, {where}", 0, silent))
    return found


def _must_keep_up(one: Mapping[str, Any]) -> bool:
    return bool(one["core_ms"] * one["rate"] < 500.0)


def _target(name: str, limit: float, value: float) -> dict[str, Any]:
    return {"name": name, "limit": limit, "value": value, "kept": value <= limit}


def peak(tried: Sequence[Mapping[str, float]]) -> float | None:
    """The highest rate that was reached with at most `MOST_LOST` lost; None if there is none.

    Args:
        tried: "rate_reached" and "loss" of each trial.
    """
    good = [one["rate_reached"] for one in tried if one["loss"] <= MOST_LOST]
    return max(good, default=None)


def next_rate(tried: Sequence[Mapping[str, float]], first: float) -> float | None:
    """Which rate to try next: doubled until one fails, then the middle; None when it is found.

    Args:
        tried: "rate" (asked for), "rate_reached" and "loss" of each trial so far.
        first: rate to begin with.
    """
    if not tried:
        return first
    good = [one["rate"] for one in tried if _passes(one)]
    bad = [one["rate"] for one in tried if not _passes(one)]
    if not bad:
        return 2 * max(good)
    least, most = max(good, default=0.0), min(bad)
    if most - least <= MOST_LOST * most or most < 1.0:
        return None
    return (least + most) / 2


def _passes(one: Mapping[str, float]) -> bool:
    """Whether the camera kept its rate and the node answered; a late camera is a limit too."""
    return one["loss"] <= MOST_LOST and one["rate_reached"] >= 0.95 * one["rate"]
