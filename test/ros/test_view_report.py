# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the live view says of cameras and of what it waits for."""

import json

import pytest
from hand_clock import HandClock

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")

from robollm_ros.view_report import report
from robollm_ros.view_state import SILENT_S, CellState

pytestmark = pytest.mark.ros


class Node:
    class context:  # noqa: N801 - as rclpy names it
        @staticmethod
        def get_domain_id():
            return 7


class Cameras:
    """What a view has of its cameras: ages by name."""

    def __init__(self, watched_s=10.0, **ages):
        self.topics = {name: f"/{name}/image" for name in ages}
        self.faults, self.ages, self.watched_s = {}, ages, watched_s

    @property
    def watching(self):
        return self.watched_s > 0

    def age_s(self, name):
        return self.ages[name]


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def state(clock):
    return CellState("/perception", clock)


def health(state, lifecycle="active", **levels):
    told = [(f"/perception: input/{name}", level, "x", {}) for name, level in levels.items()]
    state.hear_health([("/perception: lifecycle", 0, lifecycle, {}), *told])


def told(state, cameras, key):
    return json.loads(report(Node, state, cameras, 2.0)[key])["value"]


def stale(state, cameras):
    return {one["name"]: one["stale"] for one in told(state, cameras, "cameras")}


def test_without_a_node_the_views_own_watch_counts(state):
    cameras = Cameras(tote=0.5, arm=2.5, wall=None)
    assert stale(state, cameras) == {"tote": False, "arm": True, "wall": True}


def test_a_camera_is_not_called_silent_before_it_could_speak(state):
    assert stale(state, Cameras(watched_s=1.0, tote=None)) == {"tote": False}
    assert stale(state, Cameras(watched_s=0.0, tote=None)) == {"tote": False}


def test_the_node_knows_how_often_its_cameras_send(state):
    health(state, tote=0, arm=2)
    assert stale(state, Cameras(tote=30.0, arm=5.0)) == {"tote": False, "arm": True}
    # what it said a moment ago may be overtaken by a frame
    assert stale(state, Cameras(tote=30.0, arm=0.2)) == {"tote": False, "arm": False}


def test_a_node_that_died_says_nothing_any_more(state, clock):
    health(state, tote=0)
    clock.now += SILENT_S + 1
    assert stale(state, Cameras(tote=30.0)) == {"tote": True}
    assert told(state, Cameras(), "cell")["state"] == ""


@pytest.mark.parametrize(
    ("lifecycle", "cameras", "words"),
    [
        (None, Cameras(), "Waiting for /perception"),
        ("unconfigured", Cameras(), "/perception is unconfigured"),
        ("inactive", Cameras(tote=1.0), "/perception is inactive"),
        ("active", Cameras(), "listens to no image topic"),
        ("active", Cameras(tote=None), "No image yet on /tote/image"),
        ("active", Cameras(tote=0.1, arm=None), ""),
        ("active", Cameras(watched_s=0.0, tote=None), ""),
    ],
)
def test_it_says_what_it_waits_for(state, lifecycle, cameras, words):
    if lifecycle:
        health(state, lifecycle)
    said = told(state, cameras, "cell")["waiting"]
    assert words in said
    assert bool(said) == bool(words)


def test_the_same_facts_give_the_same_text(state):
    health(state, tote=0)
    cameras = Cameras(tote=0.1)
    before = report(Node, state, cameras, 2.0)
    cameras.ages["tote"] = 0.4
    assert report(Node, state, cameras, 2.0) == before
