# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot is of a bench: it hears the answers of the perception node, asks, and notes when."""

import argparse
import json
import sys
import threading
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from robollm_ros.cdr import stamp_ns
from robollm_ros.outputs import ANSWERS, IMAGES_OUT
from robollm_ros.program import announce, run, spin, write_json


class Listener(Node):
    """Hears detections, defects and timing; masks and overlay only if asked.

    Attributes:
        heard: (stamp, time of arrival) of every ~/detections, nanoseconds.
        timing: of every frame, as the node tells it.
        asked: when each pick was asked, by event_id, nanoseconds.
        picked: when its identity arrived.
    """

    def __init__(self, node: str, pictures: list[str], picks_hz: float) -> None:
        """Subscribe.

        Args:
            node: name of the perception node, relative to this one's namespace.
            pictures: "masks", "overlay": heard too.
            picks_hz: picks asked a second, of the newest frame; 0 for none.
        """
        super().__init__("bench_listener")
        self._run = f"{time.time_ns():x}"
        self.asked: dict[str, int] = {}
        self.picked: dict[str, int] = {}
        self.heard: list[tuple[int, int]] = []
        self.timing: list[dict[str, Any]] = []
        listen = self.create_subscription
        self._kept = [
            listen(Detection2DArray, f"{node}/detections", self._on_answer, ANSWERS, raw=True),
            listen(Detection2DArray, f"{node}/defects", _ignore, ANSWERS, raw=True),
            listen(String, f"{node}/timing", self._on_timing, ANSWERS),
            *(listen(Image, f"{node}/{name}", _ignore, IMAGES_OUT, raw=True) for name in pictures),
        ]
        if picks_hz > 0.0:
            self._kept.append(listen(Detection2DArray, "pick/identity", self._on_pick, ANSWERS))
            self._events = self.create_publisher(String, "pick/event", 20)
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(1.0 / picks_hz, self._ask, clock=steady)

    def matched(self) -> bool:
        """Whether the node is there."""
        return all(kept.get_publisher_count() for kept in self._kept)

    def report(self) -> dict[str, Any]:
        """All that was noted; a pick that was not answered has the time 0."""
        picks = [(when, self.picked.get(name, 0)) for name, when in self.asked.items()]
        return {"heard": self.heard, "timing": self.timing, "picks": picks}

    def _ask(self) -> None:
        # before the first answer there is no frame to pick from
        if not self.heard:
            return
        name = f"{self._run}-{len(self.asked)}"
        view = {"camera": "camera", "role": "pick", "match": "latest"}
        event = {"event_id": name, "pick_id": name, "phase": "pre_pick", "views": [view]}
        self.asked[name] = time.time_ns()
        self._events.publish(String(data=json.dumps(event)))

    def _on_pick(self, message: Detection2DArray) -> None:
        self.picked[message.header.frame_id] = time.time_ns()

    def _on_answer(self, serialised: bytes) -> None:
        self.heard.append((stamp_ns(serialised), time.time_ns()))

    def _on_timing(self, message: String) -> None:
        self.timing.append(json.loads(message.data))


def _ignore(_: Any) -> None:
    """Received, as a consumer would, and nothing else."""


def listen(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Listen until `stop`; returns the exit code."""
    node = Listener(arguments.node, arguments.pictures, arguments.picks)
    try:
        spin(node, lambda: stop.is_set() or node.matched())
        announce("listening")
        spin(node, stop.is_set)
    finally:
        node.destroy_node()
    write_json(arguments.json, node.report())
    return 0


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(prog="bench_listener", description=__doc__)
    add: Any = parser.add_argument
    add("--node", default="perception", help="name of the perception node")
    add("--pictures", nargs="*", default=[], choices=("masks", "overlay"), help="heard too")
    add("--picks", type=float, default=0.0, help="picks asked a second")
    add("--json", default="", help="write what was heard to this file, - for stdout")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: listen(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
