# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Whether confidences are true, and what is gained by not answering when unsure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import LEVEL, proportion

BINS = 15
RESAMPLES = 1000
COVERAGES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.5)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bins = npt.NDArray[np.int64]
Statistic = Callable[..., float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same confidence.

    Attributes:
        confidence: their mean confidence.
        accuracy: the share that is right.
    """

    confidence: float
    accuracy: Figure


def resampled(statistic: Statistic, columns: Sequence[npt.ArrayLike], seed: int) -> Figure:
    """A statistic of samples with its bootstrap interval.

    Args:
        statistic: of as many arrays as there are columns.
        columns: (n,) each; row i of all of them is one sample.
        seed: of the draws.

    Returns:
        The figure with the percentile interval of `RESAMPLES` draws; value 0 and
        the interval 0 to 1 for an empty sample.

    Source:
        B. Efron 1979.
    """
    arrays = [np.asarray(column) for column in columns]
    count = len(arrays[0])
    if not count:
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    rng = np.random.default_rng(seed)
    draws = np.empty(RESAMPLES)
    for turn in range(RESAMPLES):
        drawn = rng.integers(count, size=count)
        draws[turn] = statistic(*(array[drawn] for array in arrays))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    value = float(statistic(*arrays))
    return Figure(value=round(value, 6), n=count, low=round(low, 6), high=round(high, 6))


def equal_width(confidence: Floats) -> Bins:
    """The bin of each confidence among `BINS` of equal width, closed above, (n,) int64."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def equal_mass(confidence: Floats) -> Bins:
    """The bin of each confidence among `BINS` that hold equally many, (n,) int64."""
    places = np.empty(len(confidence), np.int64)
    places[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return places * BINS // max(len(confidence), 1)


def expected_error(confidence: Floats, right: Bools, binned: Callable[[Floats], Bins]) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins, by their size.

    Args:
        confidence: (n,) in [0, 1], n at least 1.
        right: (n,) bool.
        binned: `equal_width` or `equal_mass`.

    Source:
        M. P. Naeini, G. Cooper, M. Hauskrecht 2015; C. Guo et al. 2017, equation 3.
    """
    gaps = np.bincount(binned(confidence), right.astype(np.float64) - confidence, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_error(
    confidence: Floats, right: Bools, binned: Callable[[Floats], Bins], seed: int
) -> Figure:
    """`expected_error` with its bootstrap interval.

    The error is biased upwards in small samples, of which every draw is one: the
    interval may lie above the value of the sample.

    Raises:
        ShapeError: If the two differ in length or a confidence is not in [0, 1].
    """
    if confidence.shape != right.shape or np.any((confidence < 0) | (confidence > 1)):
        raise ShapeError(
            f"calibration needs a confidence from 0 to 1 for every answer, got "
            f"{confidence.shape} and {right.shape}."
        )
    return resampled(lambda c, r: expected_error(c, r, binned), (confidence, right), seed)


def reliability(confidence: Floats, right: Bools) -> list[Bin]:
    """Accuracy by confidence in bins of equal width, empty ones left out."""
    places = equal_width(confidence)
    return [
        Bin(float(confidence[places == one].mean()), proportion(right[places == one]))
        for one in np.unique(places)
    ]


def risk_at(confidence: Floats, right: Bools, coverage: float) -> Figure:
    """The share of wrong answers among the most confident ones.

    Args:
        confidence: (n,).
        right: (n,) bool.
        coverage: share that is answered, in (0, 1]; of equally confident answers
            the wrong ones come first.
    """
    answered = int(np.ceil(coverage * len(right) - 1e-9))
    return proportion(~right[_surest_first(confidence, right)][:answered])


def risk_coverage(confidence: Floats, right: Bools) -> tuple[Floats, Floats]:
    """Risk by coverage for every number of answers.

    Returns:
        Coverage and risk, (n,) each, from the surest answer alone to all.
    """
    wrong = ~right[_surest_first(confidence, right)]
    count = np.arange(1, len(wrong) + 1)
    return count / max(len(wrong), 1), np.cumsum(wrong) / count


def area_under_risk(confidence: Floats, right: Bools) -> float:
    """Mean risk over all coverages (AURC); 0 is best.

    Source:
        Y. Geifman, G. Uziel, R. El-Yaniv 2019.
    """
    return float(risk_coverage(confidence, right)[1].mean())


def _surest_first(confidence: Floats, right: Bools) -> npt.NDArray[np.intp]:
    order: npt.NDArray[np.intp] = np.lexsort((right, -confidence))
    return order
