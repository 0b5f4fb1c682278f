# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.evaluation.latency import percentiles, stage_latency_ms
from robollm_core.types import PerceptionResult


def test_percentiles_of_a_known_row():
    got = percentiles([float(value) for value in range(101)])
    assert got == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert percentiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0}
    assert percentiles([0.0, 10.0]) == pytest.approx({"p50": 5.0, "p90": 9.0, "p99": 9.9})


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.randoms())
def test_order_does_not_matter_and_percentiles_rise(values, rng):
    got = percentiles(values)
    assert min(values) <= got["p50"] <= got["p90"] <= got["p99"] <= max(values)
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert percentiles(shuffled) == got


def test_no_value_has_no_percentile():
    with pytest.raises(ValueError, match="no value"):
        percentiles([])


def test_stages_are_in_milliseconds():
    secs = {"segment": 0.1, "identify": 0.02, "inspect": 0.003, "total": 0.123}
    got = stage_latency_ms([PerceptionResult(0, "", (1, 1), (), stage_secs=secs)] * 3)
    assert list(got) == ["segment", "identify", "inspect", "total"]
    assert got["identify"] == pytest.approx({"p50": 20.0, "p90": 20.0, "p99": 20.0})
