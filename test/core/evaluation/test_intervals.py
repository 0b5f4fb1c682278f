# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals and ROC figures against formulas written out."""

import itertools
import math

import numpy as np
import pytest

from robollm_core.evaluation.intervals import (
    auroc,
    average_precision,
    fpr_at_recall,
    grouped_mean,
    grouped_proportion,
    precision_at_fpr,
    precision_at_recall,
    proportion,
    recall_at_fpr,
    threshold_at_fpr,
    threshold_at_recall,
    two_sample,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (80, 100), (10, 10), (981, 1000)])
def test_wilson_by_its_formula(hits, n):
    z = 1.959963984540054
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    figure = proportion([True] * hits + [False] * (n - hits))
    assert figure["value"] == pytest.approx(share) and figure["n"] == n
    assert figure["low"] == pytest.approx(centre - half, abs=1e-6)
    assert figure["high"] == pytest.approx(centre + half, abs=1e-6)


def test_an_empty_sample_knows_nothing():
    nothing = {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}
    assert proportion([]) == nothing
    assert two_sample(auroc, np.zeros(0), np.ones(3)) == nothing


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 6, 23), rng.integers(0, 5, 31)  # with ties
    wins = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert auroc(positive, negative) == pytest.approx(np.mean(wins))
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.ones(4), np.ones(5)) == 0.5


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.25, 0.5])
def test_the_threshold_is_the_lowest_that_keeps_the_fpr(fpr):
    negative = np.random.default_rng(1).integers(0, 40, 100).astype(float)
    threshold = threshold_at_fpr(negative, fpr)
    assert np.mean(negative > threshold) <= fpr
    lower = [t for t in np.unique(negative) if t < threshold]
    assert all(np.mean(negative > t) > fpr for t in lower)
    positive = np.random.default_rng(2).integers(10, 60, 80).astype(float)
    wanted = max(np.mean(positive > t) for t in np.unique(negative) if np.mean(negative > t) <= fpr)
    assert recall_at_fpr(fpr)(positive, negative) == pytest.approx(wanted)


def test_recall_never_counts_a_tie_with_the_threshold():
    # a network that says the same of everything has no recall at FPR 0.1
    assert recall_at_fpr(0.1)(np.ones(50), np.ones(50)) == 0.0


@pytest.mark.parametrize("recall", [0.5, 0.95, 1.0])
def test_fpr_at_recall_by_search(recall):
    rng = np.random.default_rng(3)
    positive, negative = rng.normal(1, 1, 60), rng.normal(0, 1, 70)
    candidates = [t for t in positive if np.mean(positive >= t) >= recall]
    assert threshold_at_recall(positive, recall) == max(candidates)
    wanted = min(np.mean(negative >= t) for t in candidates)
    assert fpr_at_recall(recall)(positive, negative) == pytest.approx(wanted)


def test_the_bootstrap_is_seeded_and_covers():
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        positive, negative = rng.normal(1, 1, 80), rng.normal(0, 1, 80)
        figure = two_sample(auroc, positive, negative)
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] == 160
        hits += figure["low"] <= 0.760250 <= figure["high"]  # Phi(1 / sqrt 2)
        if seed == 0:
            assert two_sample(auroc, positive, negative) == figure
    assert hits >= 51  # 95 % of 60, less four standard deviations


def test_the_seed_moves_the_interval_and_not_the_value():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 40), rng.normal(0, 1, 40)
    first, again = (two_sample(auroc, positive, negative) for _ in range(2))
    other = two_sample(auroc, positive, negative, seed=1)
    assert first == again == two_sample(auroc, positive, negative, seed=0)
    assert first["value"] == other["value"] and first != other


def test_precision_at_a_threshold_by_counting():
    rng = np.random.default_rng(3)
    positive = rng.integers(10, 60, 80).astype(float)
    negative = rng.integers(0, 40, 100).astype(float)
    threshold = threshold_at_fpr(negative, 0.1)
    above = (positive > threshold).sum(), (negative > threshold).sum()
    assert precision_at_fpr(0.1)(positive, negative) == pytest.approx(above[0] / sum(above))
    threshold = threshold_at_recall(positive, 0.9)
    reach = (positive >= threshold).sum(), (negative >= threshold).sum()
    assert precision_at_recall(0.9)(positive, negative) == pytest.approx(reach[0] / sum(reach))
    assert precision_at_fpr(0.0)(np.zeros(3), np.ones(3)) == 0.0


def test_average_precision_by_its_steps():
    # ranked: hit, miss, hit: 1 * 1/2 + 2/3 * 1/2
    assert average_precision(np.array([3.0, 1.0]), np.array([2.0])) == pytest.approx(5 / 6)
    assert average_precision(np.array([1.0]), np.array([1.0])) == pytest.approx(0.5)  # a tie


def test_trials_of_a_group_stand_and_fall_together():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 20)
    together = np.repeat(rng.random(50) < 0.5, 20)
    apart = rng.random(1000) < 0.5

    def width(figure):
        return figure["high"] - figure["low"]

    wilson = proportion(together)
    grouped = grouped_proportion(together, group)
    assert (grouped["value"], grouped["n"]) == (wilson["value"], 1000)
    # 50 independent answers instead of 1000: sqrt(20) times as wide
    assert width(grouped) / width(wilson) == pytest.approx(math.sqrt(20), rel=0.1)
    assert width(grouped_proportion(apart, group)) == pytest.approx(width(wilson), rel=0.2)
    assert grouped_proportion(apart, group, seed=1) != grouped_proportion(apart, group)


def test_groups_that_all_agree_are_so_many_trials_and_one_group_says_nothing():
    figure = grouped_proportion([True] * 40, np.repeat([0, 1, 2, 3], 10))
    wilson = proportion([True] * 4)
    assert figure == {**wilson, "n": 40}
    assert grouped_proportion([True, False], [7, 7]) == {
        "value": 0.5, "n": 2, "low": 0.0, "high": 1.0,
    }  # fmt: skip
    assert grouped_proportion([], []) == {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}


def test_the_mean_of_groups_has_the_interval_of_its_spread():
    values = np.random.default_rng(0).poisson(2.0, 400)
    figure = grouped_mean(values)
    error = 1.96 * values.std() / math.sqrt(400)
    assert figure["value"] == pytest.approx(values.mean(), abs=1e-6) and figure["n"] == 400
    assert figure["high"] - figure["low"] == pytest.approx(2 * error, rel=0.1)
    assert grouped_mean([]) == {"value": 0.0, "n": 0, "low": 0.0, "high": 0.0}
