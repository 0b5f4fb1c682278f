# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a simulated cell does and when; no graph is needed."""

import json
from itertools import islice, takewhile

import pytest

pytest.importorskip("onnx", reason="the hand-drawn cell needs onnx")

import small_sim

from robollm_core.errors import ConfigError
from robollm_core.manifests import parse_manifest
from robollm_core.picks.event import parse_pick_event
from robollm_core.synthetic.states import HELD_CAMERAS, CellState
from robollm_ros.sim_script import Manifest, Pace, PickEvent, Picture, script


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    return small_sim.write_cell_states(tmp_path_factory.mktemp("cell"))


def pace(rate_hz=10.0, picks_per_s=1.0, held=True):
    return Pace(rate_hz, picks_per_s, "tote_top", held, "run")


def until(seconds, states, **how):
    return list(takewhile(lambda step: step.at_s < seconds, script(states, pace(**how))))


def pictures(steps, camera):
    return [step for step in steps if isinstance(step, Picture) and step.camera == camera]


def events(steps, phase):
    return [s for s in steps if isinstance(s, PickEvent) and s.event["phase"] == phase]


def test_the_tote_camera_keeps_its_rate_and_steps_come_in_order(states):
    steps = until(6.0, states)
    times = [step.at_s for step in steps]
    assert times == sorted(times)
    shown = [step.at_s for step in pictures(steps, "tote_top")]
    assert shown == pytest.approx([k / 10 for k in range(60)])


def test_each_pick_is_asked_looked_at_and_answered_for_in_this_order(states):
    steps = until(3.0, states)
    manifests = [step for step in steps if isinstance(step, Manifest)]
    before, after = events(steps, "pre_pick"), events(steps, "post_pick")
    assert len(manifests) == len(before) == len(after) == 3
    for number, (manifest, asked, told) in enumerate(zip(manifests, before, after, strict=True)):
        assert manifest.at_s == number
        views = [
            p for c in HELD_CAMERAS for p in pictures(steps, c) if number <= p.at_s < number + 1
        ]
        assert [view.camera for view in views] == list(HELD_CAMERAS)
        times = [manifest.at_s, asked.at_s, *(view.at_s for view in views), told.at_s, number + 1]
        assert times == sorted(set(times))
        assert asked.event["pick_id"] == told.event["pick_id"]
        assert asked.event["event_id"] != told.event["event_id"]
        assert asked.cameras == ("tote_top",) and told.cameras == HELD_CAMERAS
        assert asked.truth["item_ids"] == [small_sim.ORDER[number]]


def test_the_event_comes_right_after_a_frame_of_the_tote_it_asks_about(states):
    for rate_hz in (1.0, 1.3, 3.0, 30.0):
        steps = until(9.0, states, rate_hz=rate_hz)
        asked = events(steps, "pre_pick")
        assert len(asked) >= 8
        for event in asked:
            newest = steps[steps.index(event) - 1]
            assert isinstance(newest, Picture) and newest.camera == "tote_top"
            (state,) = [s for s in states if s.pick["item_ids"] == event.truth["item_ids"]]
            assert newest.jpeg == state.tote


def test_manifests_and_events_are_what_their_readers_take(states):
    for step in until(5.0, states):
        if isinstance(step, Manifest):
            parse_manifest(step.text, "the script")
        if isinstance(step, PickEvent):
            views = [{"camera": name, "stamp": {"sec": 1, "nanosec": 2}} for name in step.cameras]
            event = parse_pick_event(json.dumps({**step.event, "views": views}), "the script")
            assert event.container_id.startswith("T-0-run.")


def test_a_cell_that_begins_again_has_new_names_for_everything(states):
    steps = until(6.0, states)
    told = [step.event for step in steps if isinstance(step, PickEvent)]
    assert len({event["event_id"] for event in told}) == len(told) == 12
    assert len({event["pick_id"] for event in told}) == 6
    held = [json.loads(step.text) for step in steps if isinstance(step, Manifest)]
    names = [(each["container_id"], each["version"]) for each in held]
    assert names == [(f"T-0-run.{lap}", version) for lap in (0, 1) for version in (1, 2, 3)]


def test_the_same_run_is_the_same_script_and_another_run_has_other_names(states):
    one, two = until(3.0, states), until(3.0, states)
    assert [getattr(s, "event", s.at_s) for s in one] == [getattr(s, "event", s.at_s) for s in two]
    other = next(script(states, Pace(10.0, 1.0, "tote_top", True, "later")))
    assert json.loads(other.text)["container_id"] == "T-0-later.0"


def test_without_picks_one_tote_is_shown_for_ever(states):
    steps = list(islice(script(states, pace(picks_per_s=0.0)), 200))
    assert isinstance(steps[0], Manifest)
    assert all(isinstance(step, Picture) and step.jpeg == states[0].tote for step in steps[1:])


def test_without_pick_cameras_only_the_tote_is_asked_about(states):
    steps = until(3.0, states, held=False)
    assert len(events(steps, "pre_pick")) == 3
    assert events(steps, "post_pick") == []
    assert {step.camera for step in steps if isinstance(step, Picture)} == {"tote_top"}


def test_a_tote_in_which_nothing_is_seen_is_shown_and_not_asked_about(states):
    blind = CellState(states[0].tote, states[0].manifest, [], None, {})
    steps = until(2.0, [blind, states[1]])
    assert [event.at_s >= 1.0 for event in events(steps, "pre_pick")] == [True]
    assert len(pictures(steps, "tote_top")) == 20


def test_more_picks_than_frames_are_refused():
    with pytest.raises(ConfigError, match="picks_per_s must not exceed rate_hz"):
        pace(rate_hz=1.0, picks_per_s=2.0)
