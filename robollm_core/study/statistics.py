# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Means over seeds with their intervals, and differences of arms that share seeds."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from scipy import stats

from robollm_core.errors import ShapeError

LEVEL = 0.95
_ROUNDING = 1e-12


class Mean(TypedDict):
    """A mean over seeds.

    Attributes:
        mean: of the values.
        low, high: limits of its 95 % interval.
        n: seeds.
    """

    mean: float
    low: float
    high: float
    n: int


class Difference(Mean):
    """A mean difference of two arms, seed by seed.

    Attributes:
        p: two-sided, of no difference.
        q: p after the correction for all comparisons of a table.
    """

    p: float
    q: float


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and t interval: what the spread over seeds says, no more.

    Args:
        values: one a seed, at least two.

    Raises:
        ShapeError: If there are fewer than two.

    Source:
        Student, 1908; computed by scipy.
    """
    if len(values) < 2:
        raise ShapeError(f"an interval needs at least two values, got {len(values)}.")
    array = np.asarray(values, dtype=np.float64)
    centre, error = float(array.mean()), float(stats.sem(array))
    if error <= _ROUNDING * float(np.abs(array).max()):  # no spread but that of rounding
        return Mean(mean=centre, low=centre, high=centre, n=len(array))
    low, high = stats.t.interval(LEVEL, len(array) - 1, loc=centre, scale=error)
    return Mean(mean=centre, low=float(low), high=float(high), n=len(array))


def difference_of(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Mean of first - second over the seeds they share, with its t interval.

    Arms of one seed share data, first weights and random numbers, so the difference
    within a seed can be steadier than the two means. q is p until `corrected`.

    Args:
        first: seed to value.
        second: seed to value.

    Raises:
        ShapeError: If they share fewer than two seeds.
    """
    seeds = sorted(first.keys() & second.keys())
    differences = [first[seed] - second[seed] for seed in seeds]
    mean = mean_of(differences)
    # without any spread there is nothing to judge a difference by
    p = 1.0
    if mean["low"] < mean["high"]:
        p = 2.0 * float(stats.t.sf(abs(mean["mean"]) / stats.sem(differences), len(seeds) - 1))
    return Difference(**mean, p=p, q=p)


def is_shown(difference: Difference) -> bool:
    """Whether there is a spread, and the interval does not hold 0."""
    low, high = difference["low"], difference["high"]
    return low < high and not low <= 0.0 <= high


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Correct p for the number of comparisons: q bounds the share of false findings.

    Source:
        Benjamini and Hochberg, 1995; computed by scipy.
    """
    if not differences:
        return []
    adjusted = stats.false_discovery_control([one["p"] for one in differences])
    return [{**one, "q": float(q)} for one, q in zip(differences, adjusted, strict=True)]
