# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of `robollm bench ros`, on frames whose fate is made up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.bench.ros_latency import (
    DROPS,
    LIMITS,
    Case,
    Seen,
    grown,
    histogram,
    losses,
    next_rate,
    peak,
    row,
    spread,
    targets,
    uncounted,
)
from robollm_core.bench.ros_report import draw, markdown, remarks, table

MS = 1_000_000


def seen(latencies_ms, counts=None, core_ms=10.0, publish_ms=2.0, heard=None):
    """Frames 50 ms apart; a latency of None is a frame that was not answered."""
    stamps = [10**18 + 50 * MS * i for i in range(len(latencies_ms))]
    out = [
        (stamp, stamp + round(ms * MS))
        for stamp, ms in zip(stamps, latencies_ms, strict=True)
        if ms is not None
    ]
    told = {"received": len(stamps), "processed": len(out), **(counts or {})}
    camera = {
        "stamps_ns": stamps,
        "publish_ms": [publish_ms] * len(stamps),
        "seconds": 0.05 * (len(stamps) - 1),
    }
    usage = {"cpu": 0.25, "rss_kib": 100 * 1024}
    return Seen(camera, out, out if heard is None else out[:heard], told, core_ms, usage)


CASE = Case("1280x960", 20.0, 5.0)


def test_the_tax_is_what_is_left_of_the_latency_without_the_core():
    one = row(CASE, seen([12.0, 13.0, 14.0, 15.0, 30.0]))
    assert one["latency_ms"]["p50"] == 14.0
    assert one["tax_ms"] == {**one["tax_ms"], "min": 2.0, "p50": 4.0, "max": 20.0}
    # the camera's own call took 2 ms of each
    assert one["node_tax_ms"]["p50"] == 2.0
    assert one["camera_ms"]["max"] == 2.0
    assert (one["sent"], one["answered"], one["loss"], one["uncounted"]) == (5, 5, 0.0, 0)
    assert one["rate_reached"] == 20.0


def test_every_lost_frame_is_told_where():
    fates = [12.0, None, None, None, None, 12.0, 12.0, None]
    counts = {"received": 6, "dropped_mailbox": 1, "dropped_age": 1, "decode_errors": 1}
    one = row(CASE, seen(fates, counts, heard=2))
    assert one["lost"] == {
        "never_received": 2, "dropped_mailbox": 1, "dropped_age": 1, "dropped_rate": 0,
        "dropped_disabled": 0, "dropped_jump": 0, "decode_errors": 1, "answer_lost": 1,
    }  # fmt: skip
    assert one["loss"] == 0.625
    assert one["uncounted"] == 0


def test_a_frame_that_vanishes_is_unaccounted_for():
    one = row(CASE, seen([12.0, None, 12.0]))
    assert one["uncounted"] == 1
    (found,) = [target for target in targets([one]) if "unaccounted" in target["name"]]
    assert not found["kept"]


@given(st.integers(0, 50), st.integers(0, 50), st.tuples(*[st.integers(0, 9)] * len(DROPS)))
def test_sent_frames_are_the_sum_of_their_fates(answered, on_the_way, drops):
    counts = dict(zip(DROPS, drops, strict=True))
    received = answered + sum(drops)
    lost = losses(received + on_the_way, answered, answered, {**counts, "received": received})
    assert lost["never_received"] == on_the_way
    assert uncounted(received + on_the_way, answered, lost) == 0
    assert uncounted(received + on_the_way + 1, answered, lost) == 1


def test_frames_of_another_case_and_answers_that_came_twice_do_not_count():
    whole = seen([12.0, 13.0])
    twice = [*whole.published, whole.published[0], (5, 6)]
    one = row(CASE, Seen(whole.camera, twice, twice, whole.counts, 10.0, whole.usage))
    assert one["answered"] == 2
    assert one["lost"]["answer_lost"] == 0


def test_a_case_without_an_answer_has_no_percentiles():
    one = row(CASE, seen([None, None], {"received": 0}))
    assert one["tax_ms"] is None
    assert one["loss"] == 1.0
    assert one["lost"]["never_received"] == 2
    assert "nothing was answered" in table([one])
    assert targets([one]) == []


def test_percentiles_are_those_of_numpy_and_the_histogram_loses_nothing():
    values = np.random.default_rng(0).gamma(2.0, 3.0, 5000)
    told = spread(values)
    for name, percent in (("p50", 50), ("p99", 99), ("p99_9", 99.9), ("max", 100)):
        assert told[name] == pytest.approx(np.percentile(values, percent), abs=1e-3)
    assert spread([]) is None
    found = histogram([*values, -5.0, 1e9])
    assert sum(found["counts"]) == 5002
    assert found["counts"][-1] == 1
    assert len(found["edges_ms"]) == len(found["counts"]) + 1


@pytest.mark.parametrize(("size", "rate", "figure", "limit"), LIMITS)
def test_a_target_is_kept_up_to_its_limit_and_not_beyond(size, rate, figure, limit):
    for excess, kept in ((-0.01, True), (0.01, False)):
        latency = 10.0 + limit + excess
        one = row(Case(size, rate, 5.0), seen([latency] * 10, publish_ms=0.0))
        told = {target["name"]: target for target in targets([one])}
        for what in ("stamp to answer", "of the node"):
            name = f"ms of tax, {what}, {figure}, {size} at {rate:g} Hz"
            assert told[name]["kept"] is kept
            assert told[name]["value"] == pytest.approx(limit + excess, abs=1e-6)


def test_loss_is_no_fault_where_the_stage_is_slower_than_the_camera():
    fates = [60.0, None] * 10
    counts = {"dropped_mailbox": 10}
    slow = row(CASE, seen(fates, counts, core_ms=55.0))
    fast = row(CASE, seen(fates, counts, core_ms=10.0))
    names = [target["name"].split(",")[0] for target in targets([slow])]
    assert "frames lost" not in names
    (lost,) = [target for target in targets([fast]) if target["name"].startswith("frames lost")]
    assert (lost["value"], lost["kept"]) == (10, False)


def test_picks_belong_to_the_case_during_which_they_were_asked():
    whole = seen([12.0] * 20)
    first, last = whole.camera["stamps_ns"][0], whole.camera["stamps_ns"][-1]
    picks = [(first - 1, first), (first, first + 3 * MS), (last, 0), (last + 1, last + 2)]
    one = row(CASE, replace(whole, picks=picks))
    assert one["picks"]["asked"] == 2
    assert one["picks"]["answered"] == 1
    assert one["picks"]["ms"]["max"] == 3.0
    (found,) = [target for target in targets([one]) if target["name"].startswith("picks")]
    assert (found["value"], found["kept"]) == (1, False)


def test_counters_are_compared_between_two_messages_of_the_node():
    before = {"received": 10, "processed": 8, "dropped_mailbox": 2}
    after = {"received": 25, "processed": 20, "dropped_mailbox": 4, "dropped_age": 1}
    assert grown(before, after) == {
        "received": 15, "processed": 12, "dropped_mailbox": 2, "dropped_age": 1,
        "dropped_rate": 0, "dropped_disabled": 0, "dropped_jump": 0, "decode_errors": 0,
    }  # fmt: skip
    assert grown({}, after)["received"] == 25


@given(st.floats(5.0, 900.0))
def test_the_search_ends_near_the_rate_that_is_carried(carried):
    tried = []
    while (rate := next_rate(tried, 20.0)) is not None:
        loss = max(0.0, 1 - carried / rate)
        tried.append({"rate": rate, "rate_reached": rate, "loss": loss})
        assert len(tried) < 20
    # a loss of 5 % is allowed, and the search stops within 5 %
    assert 0.94 * carried <= peak(tried) <= carried / 0.95 + 1e-6


def test_a_camera_that_cannot_go_faster_ends_the_search_too():
    tried = []
    while (rate := next_rate(tried, 20.0)) is not None:
        tried.append({"rate": rate, "rate_reached": min(rate, 70.0), "loss": 0.0})
        assert len(tried) < 20
    assert peak(tried) == pytest.approx(70.0)
    assert peak([{"rate": 20.0, "rate_reached": 20.0, "loss": 0.5}]) is None


def test_lines_and_figure_are_drawn_of_every_case():
    rows = [
        row(CASE, seen([12.0, 14.0, None], {"dropped_mailbox": 1})),
        row(Case("640x480", 10.0, 1.0), seen([11.0])),
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 3
    told = {
        "rows": rows, "targets": targets(rows),
        "subscriptions": [{"size": "8x8", "serialised_ms": spread([1.0]),
                           "ordinary_ms": spread([2.0])}],
        "peaks": [{"size": "8x8", "peak_hz": None, "tried": []}],
    }  # fmt: skip
    said = "\n".join(remarks(told))
    assert "1.00 ms serialised, 2.00 ms by an ordinary" in said
    assert "lost: {'dropped_mailbox': 1}" in said
    assert "not kept" in said
    page = markdown(told).splitlines()
    assert page[0].count("|") == page[1].count("|") == page[2].count("|") == 15
    assert page[2].startswith("| 1280x960 | 20 | 3 | 1 | 13.00 |")
    pytest.importorskip("matplotlib")
    assert draw(rows).startswith(b"\x89PNG")
