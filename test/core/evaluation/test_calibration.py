# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration and abstaining, against sums by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from robollm_core.errors import ShapeError
from robollm_core.evaluation import calibration
from robollm_core.evaluation.calibration import BINS, equal_mass, equal_width, expected_error


@pytest.fixture
def unsure():
    rng = np.random.default_rng(3)
    confidence = rng.beta(3, 1.5, 400)
    return confidence, rng.random(400) < confidence**2


def error_by_hand(confidence, right, edges):
    """Guo et al. 2017: sum over bins (low, high] of |B| / n |accuracy - confidence|."""
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = [i for i, value in enumerate(confidence) if low < value <= high]
        if inside:
            accuracy = sum(bool(right[i]) for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def test_error_over_bins_of_equal_width(unsure):
    edges = [i / BINS for i in range(BINS + 1)]
    assert expected_error(*unsure, equal_width) == pytest.approx(error_by_hand(*unsure, edges))


def test_error_over_bins_of_equal_mass(unsure):
    confidence, right = unsure
    order = sorted(range(400), key=lambda i: confidence[i])
    total = 0.0
    for part in range(BINS):
        inside = [order[i] for i in range(400) if i * BINS // 400 == part]
        assert len(inside) in (26, 27)
        total += abs(sum(right[i] - confidence[i] for i in inside)) / 400
    assert expected_error(confidence, right, equal_mass) == pytest.approx(total)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    found = equal_width(np.array([0.0, 1 / BINS, 1 / BINS + 1e-9, 1.0]))
    assert found.tolist() == [0, 0, 1, BINS - 1]


def test_true_confidences_have_a_small_error_and_proud_ones_a_large():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence
    assert expected_error(confidence, right, equal_width) < 0.02
    assert expected_error(np.ones(1000), rng.random(1000) < 0.6, equal_width) > 0.35


def test_reliability_is_that_of_scikit_learn(unsure):
    share, mean = calibration_curve(unsure[1], unsure[0], n_bins=BINS, strategy="uniform")
    bins = calibration.reliability(*unsure)
    np.testing.assert_allclose([one.confidence for one in bins], mean)
    np.testing.assert_allclose([one.accuracy["value"] for one in bins], share, atol=1e-6)
    assert sum(one.accuracy["n"] for one in bins) == 400
    assert all(b.accuracy["low"] <= b.accuracy["value"] <= b.accuracy["high"] for b in bins)


def test_the_interval_is_that_of_draws_with_the_seed(unsure):
    first = calibration.calibration_error(*unsure, equal_width, seed=4)
    assert first == calibration.calibration_error(*unsure, equal_width, seed=4)
    other = calibration.calibration_error(*unsure, equal_width, seed=5)
    assert other["value"] == first["value"] and other["low"] != first["low"]
    rng, draws = np.random.default_rng(4), []
    for _ in range(1000):
        rows = rng.integers(400, size=400)
        draws.append(expected_error(unsure[0][rows], unsure[1][rows], equal_width))
    assert first["low"] == pytest.approx(np.percentile(draws, 2.5), abs=1e-6)
    assert first["high"] == pytest.approx(np.percentile(draws, 97.5), abs=1e-6)
    assert first["n"] == 400


def test_an_empty_sample_says_nothing():
    empty = np.zeros(0)
    figure = calibration.calibration_error(empty, empty.astype(bool), equal_mass, seed=0)
    assert figure == {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize("confidence", [[0.5, 1.2], [-0.1, 0.5], [0.5]])
def test_what_is_no_confidence_is_refused(confidence):
    with pytest.raises(ShapeError, match="from 0 to 1"):
        calibration.calibration_error(
            np.array(confidence), np.array([True, False]), equal_width, seed=0
        )


def test_risk_falls_as_the_unsure_are_left_out():
    confidence = np.array([0.9, 0.2, 0.6, 0.8])
    right = np.array([True, False, False, True])
    coverage, risk = calibration.risk_coverage(confidence, right)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0.0, 0.0, 1 / 3, 0.5]
    assert calibration.area_under_risk(confidence, right) == pytest.approx((1 / 3 + 0.5) / 4)
    at_half = calibration.risk_at(confidence, right, 0.5)
    assert (at_half["value"], at_half["n"]) == (0.0, 2)
    assert calibration.risk_at(confidence, right, 0.6)["n"] == 3
    assert calibration.risk_at(confidence, right, 1.0)["value"] == 0.5


def test_of_equally_sure_answers_the_wrong_one_comes_first():
    risk = calibration.risk_coverage(np.array([0.5, 0.5]), np.array([True, False]))[1]
    assert risk.tolist() == [1.0, 0.5]
