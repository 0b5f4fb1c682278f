# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Paired intervals and tests against restatements that share no code with them."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from robollm_core.evaluation.compare_statistics import (
    Resampling,
    discordance,
    holm,
    mcnemar,
    ratio,
    resample,
    swaps,
)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (3, 9), (12, 2), (40, 41), (5, 5)])
def test_mcnemar_is_twice_the_tail_of_a_fair_coin(one, other):
    count = one + other
    tail = sum(math.comb(count, k) for k in range(min(one, other) + 1)) / 2**count
    assert mcnemar((one, other)) == pytest.approx(min(1.0, 2 * tail))


def test_discordant_pairs_are_counted_on_the_side_that_is_right():
    a = [True, True, False, False, True]
    b = [True, False, False, True, False]
    assert discordance(a, b) == (2, 1)
    assert discordance(b, a) == (1, 2)


def test_swaps_come_near_to_all_sign_flips():
    differences = np.array([0.5, 0.2, 0.0, -0.1, 0.3, 0.4, 0.25, -0.05, 0.15])
    own = differences[differences != 0]
    sums = [abs(np.dot(signs, own)) for signs in itertools.product((-1, 1), repeat=len(own))]
    exact = np.mean(np.array(sums) >= abs(own.sum()) - 1e-9)
    assert swaps(differences, Resampling(20_000, 3)) == pytest.approx(exact, abs=0.006)
    assert swaps(-differences, Resampling(500, 3)) == swaps(differences, Resampling(500, 3))
    assert swaps(np.zeros(9), Resampling(500)) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_as_the_step_down_procedure_does(seed):
    p = np.random.default_rng(seed).random(7) ** 4
    corrected = holm(p.tolist())
    for level in (0.001, 0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for turn, index in enumerate(np.argsort(p)):
            if p[index] > level / (len(p) - turn):
                break
            rejected.add(int(index))
        assert {i for i, value in enumerate(corrected) if value <= level} == rejected
    assert all(low <= high for low, high in zip(p, corrected, strict=True))


def test_one_test_needs_no_correction():
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_the_interval_of_a_mean_is_the_one_of_theory():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.0, 1.0, (400, 1)), rng.normal(0.1, 1.0, (400, 1))
    units = np.ones(400)
    drawn = resample(ratio((a, b), (units, units)), units, Resampling(4000, 1))
    figure = drawn.difference(0, 400)
    differences = (b - a)[:, 0]
    half = stats.norm.ppf(0.975) * differences.std(ddof=1) / 20
    assert figure["value"] == pytest.approx(differences.mean(), abs=1e-6)
    assert figure["low"] == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert figure["high"] == pytest.approx(differences.mean() + half, abs=0.1 * half)
    p_theory = 2 * stats.norm.sf(abs(differences.mean()) / (differences.std(ddof=1) / 20))
    assert drawn.p_value(0) == pytest.approx(p_theory, abs=0.02)


def test_units_that_come_together_are_drawn_together():
    """Ten frames of fifty like things are ten witnesses, not five hundred."""
    frames = np.arange(10) % 2 * 1.0
    grouped = (np.zeros((10, 1)), 50 * frames[:, None])
    wide = resample(ratio(grouped, (np.full(10, 50.0),) * 2), np.zeros(10), Resampling(1000))
    alone = (np.zeros((500, 1)), np.repeat(frames, 50)[:, None])
    narrow = resample(ratio(alone, (np.ones(500),) * 2), np.zeros(500), Resampling(1000))
    ends = [d.difference(0, 500) for d in (wide, narrow)]
    widths = [figure["high"] - figure["low"] for figure in ends]
    assert widths[0] == pytest.approx(math.sqrt(50) * widths[1], rel=0.15)


def test_the_number_of_each_kind_stays_as_it_is():
    kinds = np.array([0] * 3 + [1] * 40)
    seen = []

    def statistic(counts):
        seen.append((int(counts[:3].sum()), int(counts[3:].sum())))
        return np.zeros(1), np.zeros(1)

    resample(statistic, kinds, Resampling(50))
    assert set(seen) == {(3, 40)}


def test_a_resample_without_the_figure_does_not_spoil_the_others():
    top, bottom = np.array([[1.0], [0.0], [0.0]]), np.array([1.0, 0.0, 0.0])
    drawn = resample(ratio((top, top), (bottom, bottom)), np.zeros(3), Resampling(200))
    assert np.isnan(drawn.draws).any()
    assert drawn.difference(0, 1) == {"value": 0.0, "n": 1, "low": 0.0, "high": 0.0}
    assert drawn.p_value(0) == 1.0


def test_interval_and_p_agree_on_whether_zero_is_left_out():
    rng = np.random.default_rng(2)
    for shift in np.linspace(0.0, 0.4, 9):
        a, b = rng.random((80, 1)), rng.random((80, 1)) + shift * 0.5
        units = np.ones(80)
        drawn = resample(ratio((a, b), (units, units)), units, Resampling(999, 4))
        figure = drawn.difference(0, 80)
        outside = figure["low"] > 0 or figure["high"] < 0
        if abs(drawn.p_value(0) - 0.05) > 0.005:
            assert outside == (drawn.p_value(0) < 0.05)
