# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the live view makes of a cell's messages, the hostile ones among them."""

import json
import math

import pytest
from hand_clock import HandClock
from hypothesis import given
from hypothesis import strategies as st

from robollm_ros.view_state import (
    MAX_ITEMS,
    MAX_PICKS,
    MAX_SETTLED,
    MAX_TEXT,
    SILENT_S,
    CellState,
    brief,
    finite,
)

NODE = "/cell/perception"


@pytest.fixture
def state(clock):
    return CellState(NODE, clock)


def manifest(*products, container="T-1", version=1):
    return json.dumps({"container_id": container, "version": version, "products": list(products)})


def product(name, **more):
    return {"product_id": name, "reference_images": [f"{name}.png"], **more}


def receipt(event, pick, state="done", **more):
    return json.dumps({"event_id": event, "pick_id": pick, "state": state, **more})


def pick(state, event, pick_id, item, outcome="done"):
    state.hear_identity(event, pick_id, item, 0.5)
    state.hear_defects(event, pick_id, "nominal", 0.1)
    state.hear_status(receipt(event, pick_id, outcome))


def left(state):
    return {row["id"]: row["left"] for row in state.manifest()["items"]}


def health(state, *statuses, node=NODE):
    state.hear_health(
        [(f"{node}: {name}", level, text, values) for name, level, text, values in statuses]
    )


def test_nothing_is_known_at_first(state):
    assert state.manifest()["container"] == ""
    assert state.picks() == []
    assert not state.alive
    assert state.lifecycle == ""


def test_a_manifest_shows_what_there_was_and_what_is_left(state):
    state.hear_manifest(
        manifest(product("apple", quantity=4, picked=1), product("lime", text="sour"))
    )
    told = state.manifest()
    assert told["items"] == [
        {"id": "apple", "text": "", "left": 3, "total": 4},
        {"id": "lime", "text": "sour", "left": 1, "total": 1},
    ]
    assert (told["container"], told["version"], told["left"], told["total"]) == ("T-1", 1, 4, 5)


def test_a_pick_ticks_one_off(state):
    state.hear_manifest(manifest(product("apple", quantity=2)))
    pick(state, "e1", "P1", "apple")
    assert left(state) == {"apple": 1}
    assert state.manifest()["left"] == 1


@pytest.mark.parametrize("outcome", ["timeout", "cancelled", "rejected", "error", "accepted"])
def test_what_was_not_answered_ticks_nothing_off(state, outcome):
    state.hear_manifest(manifest(product("apple")))
    pick(state, "e1", "P1", "apple", outcome)
    assert left(state) == {"apple": 1}


@pytest.mark.parametrize("item", ["unknown", "", "pear"])
def test_an_unknown_item_ticks_nothing_off(state, item):
    state.hear_manifest(manifest(product("apple")))
    pick(state, "e1", "P1", item)
    assert left(state) == {"apple": 1}
    assert state.picks()[0]["item"] == ("pear" if item == "pear" else "")


def test_the_second_look_at_a_pick_replaces_the_first(state):
    state.hear_manifest(manifest(product("apple", quantity=2), product("lime", quantity=2)))
    pick(state, "e1", "P1", "apple")
    pick(state, "e2", "P1", "lime")
    assert left(state) == {"apple": 2, "lime": 1}
    pick(state, "e3", "P1", "unknown")
    assert left(state) == {"apple": 2, "lime": 2}


def test_no_more_is_ticked_off_than_there_was(state):
    state.hear_manifest(manifest(product("apple")))
    pick(state, "e1", "P1", "apple")
    pick(state, "e2", "P2", "apple")
    assert left(state) == {"apple": 0}


def test_a_new_manifest_knows_of_the_picks_before_it(state):
    state.hear_manifest(manifest(product("apple", quantity=3)))
    pick(state, "e1", "P1", "apple")
    state.hear_manifest(manifest(product("apple", quantity=3, picked=1), version=2))
    assert left(state) == {"apple": 2}
    pick(state, "e2", "P1", "apple")  # the same pick, looked at again on the arm
    assert left(state) == {"apple": 2}
    pick(state, "e3", "P2", "apple")
    assert left(state) == {"apple": 1}


def test_the_order_of_the_three_messages_does_not_matter(state):
    state.hear_status(receipt("e1", "P1", answer_ms=12.25, phase="pre_pick"))
    state.hear_defects("e1", "P1", "multi_pick", 0.9)
    state.hear_identity("e1", "P1", "apple", 0.7)
    (row,) = state.picks()
    assert row.pop("at")
    assert row == {
        "event_id": "e1", "pick_id": "P1", "phase": "pre_pick", "state": "done", "item": "apple",
        "score": 0.7, "verdict": "multi_pick", "defect": 0.9, "ms": 12.25, "missing": [],
        "reason": "",
    }  # fmt: skip


def test_a_pick_that_failed_says_why(state):
    more = {"views_missing": ["tote_wall"], "reason": "1 of 2 needed views came."}
    state.hear_status(receipt("e1", "P1", "timeout", **more))
    assert state.picks()[0]["missing"] == ["tote_wall"]
    assert state.picks()[0]["reason"] == "1 of 2 needed views came."


def test_the_newest_pick_comes_first_and_the_oldest_go(state):
    for number in range(MAX_PICKS + 5):
        pick(state, f"e{number}", f"P{number}", "apple")
    rows = [row["pick_id"] for row in state.picks()]
    assert len(rows) == MAX_PICKS
    assert rows[0] == f"P{MAX_PICKS + 4}"


def test_a_refused_manifest_leaves_the_one_before_and_says_why(state):
    state.hear_manifest(manifest(product("apple")))
    state.hear_manifest("{")
    assert left(state) == {"apple": 1}
    assert "JSON" in state.manifest()["refusal"]
    state.hear_manifest(manifest(product("lime"), version=2))
    assert state.manifest()["refusal"] == ""


def test_the_form_of_armbench_is_shown_too(state):
    state.hear_manifest(json.dumps({"B00A": {"name": "x"}, "B00B": {}}))
    assert set(left(state)) == {"B00A", "B00B"}


def test_a_long_manifest_is_cut_and_counted(state):
    state.hear_manifest(manifest(*(product(f"i{n}") for n in range(MAX_ITEMS + 7))))
    told = state.manifest()
    assert len(told["items"]) == MAX_ITEMS
    assert told["more"] == 7
    assert told["left"] == MAX_ITEMS + 7


def test_health_is_the_nodes_own_and_grows_old(state, clock):
    health(state, ("lifecycle", 0, "active", {}), node="/other/perception")
    assert not state.alive
    health(state, ("lifecycle", 0, "active", {}), ("input/tote", 2, "stale", {"received": "4"}))
    assert state.alive
    assert state.lifecycle == "active"
    assert state.stale("tote")
    assert not state.stale("arm")
    clock.now += SILENT_S + 0.1
    assert state.lifecycle == ""
    assert not state.stale("tote")


def test_latency_is_read_by_stage_and_percentile(state):
    values = {"total_p50_ms": "81.2", "total_p99_ms": "nan", "pick_wait_p90_ms": "3", "odd": "1"}
    health(state, ("latency", 0, "p90 99 ms", values))
    assert state.health()["latency"] == {
        "total": {"p50": 81.2, "p99": None}, "pick_wait": {"p90": 3.0},
    }  # fmt: skip


def test_what_grows_with_messages_has_an_end(state):
    for number in range(3 * MAX_SETTLED):
        pick(state, f"e{number}", f"P{number}", "apple")
        if number % 500 == 0:
            state.hear_manifest(manifest(product("apple", quantity=10**6), version=number))
    assert len(state._counted) <= MAX_SETTLED
    assert len(state._settled) <= MAX_SETTLED
    health(state, *((f"s{n}", 0, "x", {f"k{m}": "v" for m in range(500)}) for n in range(500)))
    assert len(json.dumps(state.health())) < 100_000


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "7", "{", '{"event_id": null}', '{"event_id": {}}', "[" * 100_000,
     '{"event_id": "e", "views_missing": 7, "answer_ms": "x", "phase": [1]}',
     '{"event_id": "e", "answer_ms": 1e999}', '{"event_id": "\\ud800"}'],
)  # fmt: skip
def test_a_receipt_that_is_none_does_no_harm(state, text):
    state.hear_status(text)
    json.dumps(state.picks(), allow_nan=False).encode()


@given(st.text(max_size=400), st.text(max_size=400), st.floats())
def test_any_words_can_be_told_to_a_page(text, other, number):
    state = CellState(NODE, HandClock())
    state.hear_identity(text, other, text, number)
    state.hear_defects(text, other, text, number)
    state.hear_status(
        json.dumps({"event_id": text, "pick_id": other, "state": text, "phase": other})
    )
    state.hear_status(text)
    state.hear_manifest(text)
    health(state, (text, 1, other, {text: other}), ("lifecycle", 0, text, {}))
    told = json.dumps([state.picks(), state.manifest(), state.health()], allow_nan=False)
    told.encode("ascii")
    assert all(len(row["item"]) <= MAX_TEXT for row in state.picks())


def test_texts_are_cut_and_numbers_are_numbers():
    assert brief("x" * 1000) == "x" * (MAX_TEXT - 1) + "…"
    assert brief(7) == "7"
    assert finite("1.5") == 1.5
    for odd in (math.nan, math.inf, "x", None, [], 10**400):
        assert finite(odd) is None
