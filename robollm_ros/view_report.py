# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the live view says of a cell besides its pictures, as JSON by key."""

import json
from typing import TYPE_CHECKING, Any

from rclpy.node import Node

from robollm_ros.view_state import CellState

if TYPE_CHECKING:
    from robollm_ros.view_ears import Cameras

FRESH_S = 1.0
"""A frame as young as this is newer than what the node last said of its camera."""


def report(
    node: Node, state: CellState, cameras: "Cameras", stale_after_s: float
) -> dict[str, str]:
    """The texts that the page takes, by key; the same facts give the same text."""
    facts: dict[str, Any] = {
        "cell": {
            "node": state.node,
            "domain": node.context.get_domain_id(),
            "state": state.lifecycle,
            "alive": state.alive,
            "waiting": waiting(state, cameras),
        },
        "cameras": [_camera(name, state, cameras, stale_after_s) for name in cameras.topics],
        "manifest": state.manifest(),
        "picks": state.picks(),
        "health": state.health(),
    }
    return {
        key: json.dumps({"key": key, "value": value}, allow_nan=False)
        for key, value in facts.items()
    }


def waiting(state: CellState, cameras: "Cameras") -> str:
    """What the page waits for, in one sentence; "" when all is there."""
    if not state.alive:
        return (
            f"Waiting for {state.node}: nothing on /diagnostics names it. "
            "Is it started, on this ROS_DOMAIN_ID and in this namespace?"
        )
    if state.lifecycle != "active":
        return f"{state.node} is {state.lifecycle or 'starting'}; it answers once it is active."
    if not cameras.topics:
        return f"{state.node} listens to no image topic yet."
    if cameras.watching and all(cameras.age_s(name) is None for name in cameras.topics):
        return f"No image yet on {', '.join(cameras.topics.values())}. Is the camera started?"
    return ""


def _camera(
    name: str, state: CellState, cameras: "Cameras", stale_after_s: float
) -> dict[str, Any]:
    age = cameras.age_s(name)
    # a camera of which nothing has come since somebody looks is as silent as one that fell silent
    late = (cameras.watched_s if age is None else age) > stale_after_s
    # the node knows how often each of its cameras should send, and says so once a second
    known = state.alive and name in state.inputs
    fresh = age is not None and age < FRESH_S
    return {
        "name": name,
        "topic": cameras.topics[name],
        # whole seconds, so that a quiet cell sends nothing new
        "age_s": None if age is None else int(age),
        "stale": state.stale(name) and not fresh if known else late,
        "fault": cameras.faults.get(name, ""),
    }
