# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Figures with their 95 % intervals; no figure leaves an evaluation without one."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from robollm_core.evaluation.figure import Figure

LEVEL = 0.95
_RESAMPLES = 1000

Floats = npt.NDArray[np.floating]
Statistic = Callable[[Floats, Floats], float]


def proportion(hits: npt.ArrayLike) -> Figure:
    """A share of independent trials with its Wilson interval.

    Args:
        hits: (n,) bool.

    Returns:
        The figure; value 0 and the interval 0 to 1 for an empty sample.

    Source:
        E. B. Wilson 1927; computed by scipy.
    """
    trials = np.asarray(hits, dtype=np.bool_).reshape(-1)
    if not len(trials):
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    count = int(trials.sum())
    interval = stats.binomtest(count, len(trials)).proportion_ci(LEVEL, method="wilson")
    return _figure(count / len(trials), len(trials), interval.low, interval.high)


def two_sample(
    statistic: Statistic, first: Floats, second: Floats, *, n: int = 0, seed: int = 0
) -> Figure:
    """A statistic of two independent samples with its bootstrap interval.

    Both samples are drawn anew, so a threshold taken from one of them carries
    its own uncertainty into the interval. The same samples and seed give the same
    figure.

    Args:
        statistic: of (a,) and (b,) scores, in [0, 1].
        first: (a,) scores.
        second: (b,) scores.
        n: what to report as n; 0 for a + b.
        seed: of the draws.

    Returns:
        The figure with the percentile interval; an empty sample gives n = 0 and
        the interval 0 to 1.
    """
    if not len(first) or not len(second):
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    rng = np.random.default_rng(seed)
    draws = [
        statistic(
            first[rng.integers(len(first), size=len(first))],
            second[rng.integers(len(second), size=len(second))],
        )
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _figure(statistic(first, second), n or len(first) + len(second), low, high)


def grouped_proportion(hits: npt.ArrayLike, groups: npt.ArrayLike, *, seed: int = 0) -> Figure:
    """A share of trials that come in groups, such as the instances of frames.

    Trials of one group are not independent, so whole groups are drawn anew. Where
    all trials agree the draws cannot differ; the interval is then Wilson's with
    as many trials as there are groups.

    Args:
        hits: (n,) bool.
        groups: (n,) which group each trial belongs to.
        seed: of the draws.

    Returns:
        The figure with the percentile interval and n trials; value 0 and the
        interval 0 to 1 for an empty sample.

    Source:
        Cameron and Miller 2015, "A practitioner's guide to cluster-robust
        inference": the pairs cluster bootstrap.
    """
    trials = np.asarray(hits, dtype=np.bool_).reshape(-1)
    if not len(trials):
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    names, members = np.unique(np.asarray(groups).reshape(-1), return_inverse=True)
    sizes = np.bincount(members).astype(np.float64)
    sums = np.bincount(members, weights=trials).astype(np.float64)
    if len(names) < 2 or trials.all() or not trials.any():
        interval = proportion(np.full(len(names), trials[0]))
        low, high = interval["low"], interval["high"]
        if len(names) < 2:  # one group says nothing of the spread over groups
            low, high = 0.0, 1.0
        return _figure(trials.mean(), len(trials), low, high)
    low, high = _redraw(sums, sizes, seed)
    return _figure(trials.mean(), len(trials), low, high)


def grouped_mean(values: npt.ArrayLike, *, seed: int = 0) -> Figure:
    """A mean over groups, such as a count a frame, with its bootstrap interval.

    Args:
        values: (n,) one a group.
        seed: of the draws.

    Returns:
        The figure with n groups; 0 in every field for an empty sample.
    """
    sums = np.asarray(values, dtype=np.float64).reshape(-1)
    if not len(sums):
        return Figure(value=0.0, n=0, low=0.0, high=0.0)
    low, high = _redraw(sums, np.ones(len(sums)), seed)
    return _figure(sums.mean(), len(sums), low, high)


def _redraw(sums: Floats, sizes: Floats, seed: int) -> tuple[float, float]:
    """Interval of sum over size, groups drawn anew."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(len(sums), size=len(sums))
        draws.append(sums[chosen].sum() / sizes[chosen].sum())
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def auroc(positive: Floats, negative: Floats) -> float:
    """Chance that a positive scores above a negative; ties count half.

    Args:
        positive: (a,) scores, a at least 1.
        negative: (b,) scores, b at least 1.

    Source:
        Mann and Whitney 1947: U / (a b); computed by scipy.
    """
    ranks = stats.rankdata(np.concatenate((positive, negative)))[: len(positive)]
    count = len(positive)
    u = ranks.sum() - count * (count + 1) / 2
    return float(u / (count * len(negative)))


def threshold_at_fpr(negative: Floats, fpr: float) -> float:
    """The lowest threshold that at most a share of the negatives lies above.

    Args:
        negative: (b,) scores, b at least 1; a score counts as flagged when it
            is strictly above the threshold.
        fpr: allowed share, in [0, 1).

    Returns:
        One of the negative scores.
    """
    allowed = int(np.floor(fpr * len(negative) + 1e-9))
    return float(np.sort(negative)[len(negative) - 1 - allowed])


def average_precision(positive: Floats, negative: Floats) -> float:
    """Area below the steps of the precision and recall curve, at the samples' own mix.

    Args:
        positive: (a,) scores, a at least 1.
        negative: (b,) scores.

    Source:
        scikit-learn's average_precision_score.
    """
    from sklearn.metrics import average_precision_score  # slow to import

    truth = np.concatenate((np.ones(len(positive)), np.zeros(len(negative))))
    return float(average_precision_score(truth, np.concatenate((positive, negative))))


def precision_at_fpr(fpr: float) -> Statistic:
    """The share of positives among those above the threshold of `threshold_at_fpr`.

    0 when nothing is above it.
    """

    def statistic(positive: Floats, negative: Floats) -> float:
        threshold = threshold_at_fpr(negative, fpr)
        right = np.count_nonzero(positive > threshold)
        wrong = np.count_nonzero(negative > threshold)
        return right / max(right + wrong, 1)

    return statistic


def precision_at_recall(recall: float) -> Statistic:
    """The share of positives among those that reach the threshold of `threshold_at_recall`."""

    def statistic(positive: Floats, negative: Floats) -> float:
        threshold = threshold_at_recall(positive, recall)
        right = np.count_nonzero(positive >= threshold)
        wrong = np.count_nonzero(negative >= threshold)
        return right / (right + wrong)

    return statistic


def recall_at_fpr(fpr: float) -> Statistic:
    """The share of positives above the threshold of `threshold_at_fpr`."""

    def statistic(positive: Floats, negative: Floats) -> float:
        return float(np.mean(positive > threshold_at_fpr(negative, fpr)))

    return statistic


def fpr_at_recall(recall: float) -> Statistic:
    """The share of negatives at or above the threshold that keeps a share of positives."""

    def statistic(positive: Floats, negative: Floats) -> float:
        return float(np.mean(negative >= threshold_at_recall(positive, recall)))

    return statistic


def threshold_at_recall(positive: Floats, recall: float) -> float:
    """The highest threshold that at least a share of the positives reaches.

    Args:
        positive: (a,) scores, a at least 1.
        recall: wanted share, in (0, 1].
    """
    wanted = max(1, int(np.ceil(recall * len(positive) - 1e-9)))
    return float(np.sort(positive)[len(positive) - wanted])


def _figure(value: float, n: int, low: float, high: float) -> Figure:
    return Figure(
        value=round(float(value), 6), n=n, low=round(float(low), 6), high=round(float(high), 6)
    )
