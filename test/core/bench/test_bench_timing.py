# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Things timed in turns."""

import time

import pytest

from robollm_core.bench import timing
from robollm_core.bench.timing import Plan, interleave, orders, reason, summary
from robollm_core.errors import ConfigError


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(timing, "_TURN_S", 0.0)


def noted(names, plan):
    """The order in which things ran."""
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in names}
    return interleave(runs, plan), order


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    runs = [noted("abcdef", Plan(6, 60.0, seed))[1] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_every_round_has_everything_once_in_a_new_order():
    rounds = orders("abcdef", Plan(5, 60.0, 0))
    assert all(sorted(order) == list("abcdef") for order in rounds)
    assert len(set(map(tuple, rounds))) > 1


def test_turns_alternate_after_the_warm_up():
    found, order = noted("ab", Plan(4, 60.0, 0))
    assert [len(found[name].secs) for name in "ab"] == [4, 4]
    # two warm-ups each, then per turn one run that settles and one that counts
    turns = order[4::2]
    assert (
        order[5::2] == turns
        and [sorted(turns[i : i + 2]) for i in (0, 2, 4, 6)] == [["a", "b"]] * 4
    )


def test_times_are_those_of_the_runs():
    found = interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, Plan(5))
    assert min(found["slow"].secs) >= 0.02 > 0.005 > min(found["fast"].secs)


def test_a_turn_has_as_many_runs_as_fit(monkeypatch):
    monkeypatch.setattr(timing, "_TURN_S", 0.05)
    found = interleave({"a": lambda: time.sleep(0.01), "b": lambda: None}, Plan(1))
    assert 2 <= len(found["a"].secs) <= 6 and len(found["b"].secs) == 100


def test_what_fails_has_its_error_and_the_others_go_on():
    calls = []

    def late():
        calls.append(0)
        if len(calls) > 4:
            raise ValueError("the fifth run\nand more")

    def never():
        raise RuntimeError("no kernel")

    found = interleave({"late": late, "never": never, "good": lambda: None}, Plan(5))
    assert found["late"].error == "ValueError: the fifth run" and found["late"].secs == []
    assert found["never"].error == "RuntimeError: no kernel"
    assert len(found["good"].secs) >= 5 and not found["good"].error


def test_time_is_bounded_but_for_the_first_rounds():
    found = interleave({"a": lambda: time.sleep(0.01)}, Plan(500, 0.02, 0))
    assert len(found["a"].secs) == timing.LEAST_ROUNDS


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_a_plan_without_a_round_is_refused(wrong):
    with pytest.raises(ConfigError):
        Plan(**wrong)


def test_the_summary_is_that_of_the_times_and_spread_tells_a_disturbance():
    quiet = summary([0.010, 0.010, 0.011, 0.010, 0.010])
    assert quiet["ms"] == 10.0 and quiet["ms_min"] == 10.0 and quiet["runs"] == 5
    assert 10.9 < quiet["ms_p99"] <= 11.0 and not quiet["disturbed"]
    loud = summary([0.010, 0.014, 0.018, 0.010, 0.020])
    assert loud["ms"] == 14.0 and loud["spread"] == pytest.approx(8 / 14, abs=1e-4)
    assert loud["disturbed"]


def test_a_reason_is_one_short_line():
    assert reason(ValueError("x" * 1000)) == "ValueError: " + "x" * 388
