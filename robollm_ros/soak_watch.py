# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Watches a running cell from outside and counts: frames answered, events and their answers.

It knows nothing of the perception node but its topics, and keeps counts alone, so that
it may watch for days.
"""

import argparse
import json
import re
import sys
import threading
from collections import Counter, OrderedDict
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from robollm_core.errors import ConfigError
from robollm_ros.program import announce, run, spin, write_json

WATCHED = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
_NUMBERS = re.compile(r"[0-9][0-9.a-f]*")
_MOST_SENTENCES = 2000


class Watch(Node):
    """Counts what a cell asks and what the perception node answers.

    Attributes:
        answered: ~/detections by camera.
        timing: newest ~/timing by camera.
        events: phase by event_id, of each event that was asked; how often it was asked.
        answers: by event_id: how many "identity", "defects", "final", "replayed".
        statuses: newest values, worst level and sentences of each diagnostic status.
    """

    def __init__(self, node: str) -> None:
        """Subscribe; `node` is the perception node's name relative to this one's namespace."""
        super().__init__("soak_watch")
        self._prefix = f"{self.resolve_topic_name(node, only_expand=True)}: "
        self.answered: Counter[str] = Counter()
        self.timing: dict[str, dict[str, Any]] = {}
        self.events: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.malformed = 0
        self.answers: dict[str, Counter[str]] = {}
        self.finals: Counter[str] = Counter()
        self.rejected_nameless = 0
        self.latency_ms: list[float] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        listen = self.create_subscription
        self._kept = [
            listen(Detection2DArray, f"{node}/detections", self._on_detections, WATCHED),
            listen(String, f"{node}/timing", self._on_timing, WATCHED),
            listen(Detection2DArray, "pick/identity", self._on("identity"), WATCHED),
            listen(Detection2DArray, "pick/defects", self._on("defects"), WATCHED),
            listen(String, "pick/status", self._on_status, WATCHED),
            listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, WATCHED),
        ]
        self._asked = listen(String, "pick/event", self._on_event, WATCHED)
        self._states = self.create_client(ChangeState, f"{node}/change_state")

    def matched(self) -> bool:
        """Whether both sides hear each other on every topic, so that nothing is missed."""
        here = all(kept.get_publisher_count() for kept in (*self._kept, self._asked))
        there = self.statuses.get("output", {}).get("values", {})
        return here and all(int(there.get(name, 0)) for name in ("detections", "timing"))

    def change(self, transition: int, stop: threading.Event) -> None:
        """Ask the perception node for a transition and wait for it.

        Raises:
            ConfigError: If it refuses.
        """
        asked = self._states.call_async(ChangeState.Request(transition=Transition(id=transition)))
        spin(self, lambda: stop.is_set() or asked.done())
        if not stop.is_set() and not asked.result().success:
            raise ConfigError(
                f"the perception node refuses transition {transition}; its log says why."
            )

    def found(self) -> bool:
        """Whether the perception node takes requests."""
        return bool(self._states.service_is_ready())

    def report(self) -> dict[str, Any]:
        """All counts as a tree."""
        return {
            "answered": dict(self.answered),
            "timing": self.timing,
            "events": self.events,
            "malformed_events": self.malformed,
            "answers": {name: dict(counts) for name, counts in self.answers.items()},
            "finals": dict(self.finals),
            "rejected_nameless": self.rejected_nameless,
            "pick_ms": self.latency_ms,
            "statuses": {
                name: {**told, "sentences": dict(told["sentences"])}
                for name, told in self.statuses.items()
            },
        }

    def _on_detections(self, message: Detection2DArray) -> None:
        self.answered[message.header.frame_id] += 1

    def _on_timing(self, message: String) -> None:
        told = json.loads(message.data)
        self.timing[told["camera"]] = told

    def _on(self, kind: str) -> Any:
        def count(message: Detection2DArray) -> None:
            self._of(message.header.frame_id)[kind] += 1

        return count

    def _of(self, event_id: str) -> "Counter[str]":
        return self.answers.setdefault(event_id, Counter())

    def _on_status(self, message: String) -> None:
        told = json.loads(message.data)
        if not told.get("final"):
            return
        self.finals[told["state"]] += 1
        name = told.get("event_id")
        if not name:
            self.rejected_nameless += 1
            return
        self._of(name)["replayed" if told.get("replayed") else "final"] += 1
        took = told.get("answer_ms", told.get("ms", {}).get("answer"))
        if isinstance(took, (int, float)) and told["state"] in ("done", "timeout"):
            self.latency_ms.append(float(took))

    def _on_event(self, message: String) -> None:
        try:
            told = json.loads(message.data)
            name, phase = str(told["event_id"]), str(told["phase"])
        except (ValueError, KeyError, TypeError):
            self.malformed += 1
            return
        self.events.setdefault(name, {"phase": phase, "asked": 0})["asked"] += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(self._prefix):
                continue
            name = status.name.removeprefix(self._prefix)
            empty = {"worst": 0, "sentences": Counter()}
            told = self.statuses.setdefault(name, empty)
            level = status.level[0]
            told |= {"level": level, "message": status.message,
                     "worst": max(told["worst"], level),
                     "values": {pair.key: pair.value for pair in status.values}}  # fmt: skip
            sentence = f"{level} {_NUMBERS.sub('#', status.message)}"
            if sentence in told["sentences"] or len(told["sentences"]) < _MOST_SENTENCES:
                told["sentences"][sentence] += 1


def watch(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Watch until `stop`; returns the exit code."""
    node = Watch(arguments.node)
    try:
        if arguments.start:
            spin(node, lambda: stop.is_set() or node.found())
            node.change(Transition.TRANSITION_CONFIGURE, stop)
        spin(node, lambda: stop.is_set() or node.matched())
        if arguments.start:
            node.change(Transition.TRANSITION_ACTIVATE, stop)
        announce("watching")
        spin(node, stop.is_set)
        write_json(arguments.json, node.report())
    finally:
        node.destroy_node()
    return 0


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(prog="soak_watch", description=__doc__)
    add: Any = parser.add_argument
    add("--node", default="perception", help="name of the perception node")
    add(
        "--start", action="store_true",
        help="configure the perception node, and activate it when nothing can be missed any more",
    )  # fmt: skip
    add("--json", default="", help="write the counts to this file at the end, - for stdout")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: watch(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
