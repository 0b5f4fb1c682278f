# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Is one run better than another on the same samples? Intervals and tests of pairs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from tqdm import tqdm

from robollm_core.evaluation.figure import Figure

LEVEL = 0.95
MCNEMAR = "McNemar, exact"
FLIPS = "random swaps of the two runs, sample by sample"
BOOTSTRAP = "the bootstrap interval, widened until it holds 0"

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Statistic = Callable[[Counts], tuple[Floats, Floats]]
"""Figures of A and of B, (F,) each, of a sample in which unit i occurs (n,)[i] times."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How resamples are drawn.

    Attributes:
        times: how many.
        seed: of the draw; the same seed and units give the same resamples.
    """

    times: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two runs, on the same samples.

    Attributes:
        name: of the figure.
        a, b: its value in each run.
        figure: B less A, with the paired bootstrap interval and n, the samples.
        p: chance of so large a difference, or a larger one, if the runs were
            equal; two-sided, not corrected for the other figures.
        test: what p is from.
        discordant: samples that only A has right, and that only B has; None where
            a sample is not right or wrong.
    """

    name: str
    a: float
    b: float
    figure: Figure
    p: float
    test: str
    discordant: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Figures of two runs and how their difference varies from resample to resample.

    Attributes:
        a, b: (F,) float64, on the samples as they are.
        draws: (R, F) float64, B less A; not a number where a resample has no figure.
    """

    a: Floats
    b: Floats
    draws: Floats

    def difference(self, column: int, n: int) -> Figure:
        """B less A of one figure with its percentile interval.

        Source:
            B. Efron and R. J. Tibshirani 1993, chapter 13.
        """
        own = self.draws[:, column]
        own = own[np.isfinite(own)]
        value = float(self.b[column] - self.a[column])
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(own, [tail, 1 - tail]) if len(own) else (-1.0, 1.0)
        return Figure(
            value=round(value, 6), n=n, low=round(float(low), 6), high=round(float(high), 6)
        )

    def p_value(self, column: int) -> float:
        """The p-value that goes with the interval: its level where it just reaches 0."""
        own = self.draws[:, column]
        own = own[np.isfinite(own)]
        fewer = min(int(np.sum(own <= 0.0)), int(np.sum(own >= 0.0)))
        return float(min(1.0, 2 * (fewer + 1) / (len(own) + 1)))


def resample(statistic: Statistic, strata: npt.ArrayLike, how: Resampling) -> Sampled:
    """Draw the units of both runs together, with replacement.

    Args:
        statistic: figures of A and B of how often each unit occurs.
        strata: (n,) what kind each unit is; the number of each kind stays as it is.
        how: number of resamples and their seed.

    Returns:
        The figures and the differences.
    """
    kinds = np.asarray(strata)
    a, b = statistic(np.ones(len(kinds), np.int64))
    draws = [np.subtract(*statistic(counts)[::-1]) for counts in _draws(kinds, how)]
    return Sampled(a, b, np.asarray(draws, np.float64).reshape(how.times, len(a)))


def _draws(kinds: npt.NDArray[np.generic], how: Resampling) -> Iterator[Counts]:
    rng = np.random.default_rng(how.seed)
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    for _ in tqdm(range(how.times), "resample", delay=2.0):
        counts = np.zeros(len(kinds), np.int64)
        for group in groups:
            chosen = rng.integers(len(group), size=len(group))
            counts[group] = np.bincount(chosen, minlength=len(group))
        yield counts


def ratio(
    above: tuple[npt.ArrayLike, npt.ArrayLike], below: tuple[npt.ArrayLike, npt.ArrayLike]
) -> Statistic:
    """Sums over sums, such as means, or shares of things that come in frames.

    Args:
        above: of A and of B, (n, F): what each unit adds to the numerators.
        below: of A and of B, (n,) or (n, F): to the denominators.

    Returns:
        The statistic; a figure is not a number where its denominator is 0.
    """
    tops = [np.asarray(each, np.float64) for each in above]
    bottoms = [np.asarray(each, np.float64) for each in below]

    def statistic(counts: Counts) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = (
                (counts @ top) / (counts @ bottom)
                for top, bottom in zip(tops, bottoms, strict=True)
            )
        return a, b

    return statistic


def discordance(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> tuple[int, int]:
    """Samples that only A has right, and that only B has, of (n,) bool each."""
    a, b = np.asarray(right_a, np.bool_), np.asarray(right_b, np.bool_)
    return int(np.sum(a & ~b)), int(np.sum(b & ~a))


def mcnemar(discordant: tuple[int, int]) -> float:
    """Exact two-sided p of McNemar's test; 1 when the runs are right on the same samples.

    Source:
        Q. McNemar 1947; exact as a binomial test of the discordant pairs, by scipy.
    """
    if not sum(discordant):
        return 1.0
    return float(stats.binomtest(discordant[0], sum(discordant), 0.5).pvalue)


def swaps(differences: npt.ArrayLike, how: Resampling) -> float:
    """Two-sided p of a mean difference: how often do random signs give one as large?

    Args:
        differences: (n,) of each sample, B less A.
        how: number of draws and their seed.

    Source:
        R. A. Fisher 1935, chapter III; drawn at random, and the sample itself counted.
    """
    own = np.asarray(differences, np.float64)
    own = own[own != 0.0]
    rng = np.random.default_rng(how.seed)
    reached = abs(own.sum()) - 1e-12  # sums in another order differ in the last bits
    sums = (
        abs(float(own @ (2.0 * rng.integers(2, size=len(own)) - 1.0))) for _ in range(how.times)
    )
    return float((sum(total >= reached for total in sums) + 1) / (how.times + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, so that one in twenty families errs, not tests.

    Source:
        S. Holm 1979, a simple sequentially rejective multiple test procedure.
    """
    corrected = [0.0] * len(p_values)
    worst = 0.0
    for turn, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        worst = max(worst, min(1.0, (len(p_values) - turn) * p_values[index]))
        corrected[index] = worst
    return corrected
