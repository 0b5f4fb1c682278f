# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals over seeds, against the formulas of the textbooks."""

import math

import numpy as np
import pytest

from robollm_core.errors import ShapeError
from robollm_core.study.statistics import corrected, difference_of, is_shown, mean_of

T_975 = {1: 12.7062047, 2: 4.30265273, 4: 2.77644511}
"""Quantiles of Student's t, from a printed table."""


def interval(values):
    """Mean, low and high of the 95 % interval, by hand."""
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = T_975[n - 1] * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


@pytest.mark.parametrize("values", [(0.4, 0.6), (0.61, 0.64, 0.7), (3.0, -1.0, 2.0, 8.0, 5.0)])
def test_mean_and_interval_are_those_of_the_formula(values):
    found = mean_of(values)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx(interval(values))
    assert found["n"] == len(values)


def test_the_interval_holds_the_true_mean_in_19_of_20_samples():
    rng = np.random.default_rng(0)
    held = [m["low"] <= 2.0 <= m["high"] for m in map(mean_of, rng.normal(2.0, 3.0, (2000, 3)))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [(), (0.5,)])
def test_one_seed_has_no_interval(values):
    with pytest.raises(ShapeError, match="at least two"):
        mean_of(values)


def test_a_difference_is_taken_within_seeds():
    # the seeds differ much more than the arms: only the pairing shows the difference
    first = {0: 0.51, 1: 0.72, 2: 0.915}
    second = {2: 0.90, 0: 0.50, 1: 0.70}
    found = difference_of(first, second)
    pairs = (0.01, 0.02, 0.015)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx(interval(pairs))
    assert is_shown(found)
    apart = mean_of(list(first.values()))["low"] > mean_of(list(second.values()))["high"]
    assert not apart


def test_p_is_that_of_the_t_distribution_with_two_degrees():
    found = difference_of({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    t = (7 / 3) / (np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    # closed form of the tail for two degrees of freedom
    assert found["p"] == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert found["q"] == found["p"]


def test_seeds_that_only_one_arm_has_are_left_out():
    found = difference_of({0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.5, 1: 1.0, 7: 0.0})
    assert found["n"] == 2
    assert found["mean"] == pytest.approx(0.75)
    with pytest.raises(ShapeError):
        difference_of({0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0})


@pytest.mark.parametrize("gap", [0.0, 0.25])
def test_equal_differences_show_nothing_for_want_of_a_spread(gap):
    found = difference_of({0: 0.5 + gap, 1: 0.75 + gap}, {0: 0.5, 1: 0.75})
    assert found["mean"] == pytest.approx(gap)
    assert found["p"] == 1.0
    assert not is_shown(found)


@pytest.mark.parametrize(
    ("low", "high", "shown"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)]
)
def test_a_difference_is_shown_where_its_interval_holds_no_zero(low, high, shown):
    assert is_shown({"mean": 0.0, "low": low, "high": high, "n": 3, "p": 0.5, "q": 0.5}) is shown


def test_the_correction_is_that_of_benjamini_and_hochberg():
    p = [0.04, 0.001, 0.5, 0.01, 0.03]
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * len(p) / np.arange(1, len(p) + 1)
    wanted = np.empty(len(p))
    wanted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    blank = {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 3, "q": 0.0}
    found = corrected([{**blank, "p": one} for one in p])
    assert [one["q"] for one in found] == pytest.approx(wanted)
    assert [one["p"] for one in found] == p
    assert corrected([]) == []
