# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Timing several things against each other: in turns, so that a disturbance hits all alike."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from robollm_core.errors import ConfigError

WARM_UPS = 2
LEAST_ROUNDS = 5
DISTURBED = 0.1
"""Spread from which a time is called disturbed."""
_TURN_S = 0.2
_SETTLED_S = 0.25
"""What takes longer than this hides what the turn before left in caches and idle threads."""
_MOST_A_TURN = 100

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        rounds: turns everything gets at most, at least 1.
        seconds: no round begins after so long, but the first `LEAST_ROUNDS`.
        seed: of the order, drawn anew every round.
    """

    rounds: int = 15
    seconds: float = 90.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse plans without a round.

        Raises:
            ConfigError: If rounds or seconds are too small.
        """
        if self.rounds < 1 or not self.seconds > 0.0:
            raise ConfigError(
                f"a measurement needs rounds from 1 and seconds above 0, got {self.rounds} and "
                f"{self.seconds}."
            )


@dataclass(slots=True)
class Timed:
    """What came of one thing.

    Attributes:
        secs: of every timed run, in the order of the runs.
        error: why there are none; empty when there are.
    """

    secs: list[float] = field(default_factory=list)
    error: str = ""


def interleave(
    runs: Mapping[K, Callable[[], object]], plan: Plan, title: str = "measure"
) -> dict[K, Timed]:
    """Run all in turns, a new seeded order every round.

    A turn is one run that does not count, unless it is a long one, and as many
    timed runs as fit into a fifth of a second, at least one.

    Args:
        runs: name to what is timed.
        plan: how long.
        title: of the progress bar.

    Returns:
        Name to times, in the order of `runs`. What raises while it warms up or
        later has an error in place of times; the others go on.
    """
    found = {name: Timed() for name in runs}
    last: dict[K, float] = {}
    with tqdm(total=len(runs) * (plan.rounds + 1), desc=title, mininterval=1.0) as bar:
        for name in orders(list(runs), Plan(1, plan.seconds, plan.seed))[0]:
            for _ in range(WARM_UPS):
                last[name] = _once(runs[name], found[name])
            bar.update()
        start = time.perf_counter()
        for number, order in enumerate(orders(list(runs), plan)):
            if number >= LEAST_ROUNDS and time.perf_counter() - start > plan.seconds:
                break
            for name in order:
                last[name] = _turn(runs[name], found[name], last[name])
                bar.update()
    for timed in found.values():
        if timed.error:
            timed.secs.clear()
    return found


def orders(names: Sequence[K], plan: Plan) -> list[list[K]]:
    """The order of every round, the same for the same seed."""
    rng = np.random.default_rng(plan.seed)
    return [
        [names[int(place)] for place in rng.permutation(len(names))] for _ in range(plan.rounds)
    ]


def _turn(run: Callable[[], object], timed: Timed, last: float) -> float:
    if last < _SETTLED_S:
        _once(run, timed)
    end = time.perf_counter() + _TURN_S
    for _ in range(_MOST_A_TURN):
        if timed.error:
            break
        last = _once(run, timed)
        timed.secs.append(last)
        if time.perf_counter() >= end:
            break
    return last


def _once(run: Callable[[], object], timed: Timed) -> float:
    if timed.error:
        return 0.0
    start = time.perf_counter()
    try:
        run()
    except Exception as error:  # noqa: BLE001 - a runtime raises whatever it likes; it is reported
        timed.error = reason(error)
    return time.perf_counter() - start


def reason(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    return f"{type(error).__name__}: {text}"[:400]


def summary(secs: Sequence[float]) -> dict[str, float | int | bool]:
    """What a row says of its times.

    Args:
        secs: at least one.

    Returns:
        "ms" (median), "ms_p99", "ms_min", "spread" (distance of the quartiles over
        the median), "runs" and "disturbed".
    """
    times = np.asarray(secs, np.float64) * 1e3
    low, median, high, most = (float(v) for v in np.percentile(times, (25, 50, 75, 99)))
    spread = (high - low) / median if median else 0.0
    return {
        "ms": round(median, 4),
        "ms_p99": round(most, 4),
        "ms_min": round(float(times.min()), 4),
        "spread": round(spread, 4),
        "runs": len(times),
        "disturbed": spread > DISTURBED,
    }
