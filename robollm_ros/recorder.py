# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Records the answers of the perception node to one MCAP file.

Messages get the time stamp of the frame they answer, so that the file lies
over the bag that was played; topics and types stand in a fixed order.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_ros.cdr import stamp_ns
from robollm_ros.outputs import ANSWERS, IMAGES_OUT
from robollm_ros.program import EXIT_REFUSED, announce, run, spin, write_json

KINDS: dict[str, tuple[Any, str]] = {
    "detections": (Detection2DArray, rostypes.DETECTIONS),
    "defects": (Detection2DArray, rostypes.DETECTIONS),
    "timing": (String, rostypes.STRING),
    "masks": (Image, rostypes.IMAGE),
    "overlay": (Image, rostypes.IMAGE),
}
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
DRAIN_S = 0.5
"""After the end: time for answers that are already on their way."""


class Recorder(Node):
    """Writes every answer of one node to a bag.

    Attributes:
        counts: messages written, by topic.
    """

    def __init__(self, node: str, names: list[str]) -> None:
        """Name the topics; nothing is subscribed before `record`.

        Args:
            node: name of the perception node, relative to this node's namespace.
            names: keys of `KINDS`.
        """
        super().__init__("recorder")
        self._own = {name: self.resolve_topic_name(f"{node}/{name}") for name in names}
        self.topics = [Topic(self._own[name], KINDS[name][1]) for name in names] + [DIAGNOSTICS]
        self.counts = {topic.name: 0 for topic in self.topics}
        self._output = f"{self.resolve_topic_name(node, only_expand=True)}: output"
        """Name of the diagnostic status that says who listens to the node."""
        self._matched = False
        self._newest_ns = 0
        self._answers: list[Any] = []

    def record(self, bag: BagWriter) -> None:
        """Subscribe; from now on messages are written to `bag`."""
        for name, topic in self._own.items():
            qos = IMAGES_OUT if KINDS[name][0] is Image else ANSWERS
            self._answers.append(
                self.create_subscription(
                    KINDS[name][0], topic, self._keep(bag, name, topic), qos, raw=True
                )
            )
        self.create_subscription(
            DiagnosticArray, DIAGNOSTICS.name, lambda data: self._diagnose(bag, data), 10, raw=True
        )

    def ready(self) -> bool:
        """Whether both sides have found each other on every topic, so that nothing is lost."""
        return self._matched and all(answer.get_publisher_count() for answer in self._answers)

    def answers(self) -> int:
        """Frames of which every part was written."""
        return min(self.counts[topic] for topic in self._own.values())

    def _keep(self, bag: BagWriter, name: str, topic: str) -> Callable[[bytes], None]:
        def keep(data: bytes) -> None:
            stamp = _timing_stamp_ns(data) if name == "timing" else stamp_ns(data)
            self._newest_ns = max(self._newest_ns, stamp)
            bag.write(topic, stamp, data)
            self.counts[topic] += 1

        return keep

    def _diagnose(self, bag: BagWriter, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            if status.name == self._output:
                seen = {pair.key: int(pair.value) for pair in status.values}
                self._matched = all(
                    seen.get(name, 0) >= max(1, self.count_subscribers(topic))
                    for name, topic in self._own.items()
                )
        # health has no frame; before the first answer there is no time to file it under
        if self._newest_ns:
            bag.write(DIAGNOSTICS.name, self._newest_ns, data)
            self.counts[DIAGNOSTICS.name] += 1


def _timing_stamp_ns(data: bytes) -> int:
    return int(json.loads(deserialize_message(data, String).data)["stamp_ns"])


def record(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Record until told to stop, or all answers are in; returns the exit code."""
    names = [
        name
        for name in KINDS
        if (name != "overlay" or arguments.overlay) and (name != "masks" or not arguments.no_masks)
    ]
    node = Recorder(arguments.node, names)
    try:
        with BagWriter(arguments.out, node.topics) as bag:
            node.record(bag)
            complete = _collect(node, arguments, stop)
    finally:
        node.destroy_node()
    report = {"file": str(arguments.out), "counts": node.counts, "answers": node.answers(),
              "bytes": arguments.out.stat().st_size}  # fmt: skip
    write_json(arguments.json, report)
    if not complete:
        print(f"robollm: {arguments.timeout} s passed after {node.answers()} of "
              f"{arguments.answers or 'all'} answers.", file=sys.stderr)  # fmt: skip
    return 0 if complete else EXIT_REFUSED


def _collect(node: Recorder, arguments: argparse.Namespace, stop: threading.Event) -> bool:
    end = time.monotonic() + (arguments.timeout or float("inf"))

    def over() -> bool:
        enough = bool(arguments.answers) and node.answers() >= arguments.answers
        return enough or stop.is_set() or time.monotonic() >= end

    spin(node, lambda: over() or node.ready())
    if node.ready():
        announce("recording")
    spin(node, over)
    complete = stop.is_set() or time.monotonic() < end
    drained = time.monotonic() + DRAIN_S
    spin(node, lambda: time.monotonic() >= drained)
    return complete


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recorder", description=__doc__)
    add: Any = parser.add_argument
    add("out", type=Path, help="the .mcap file; replaced if it exists")
    add("--node", default="perception", help="name of the perception node")
    add("--answers", type=int, default=0, help="end after so many answers (0: when stopped)")
    add("--timeout", type=float, default=0.0, help="give up after so many seconds (0: never)")
    add("--overlay", action="store_true", help="record ~/overlay too")
    add("--no-masks", action="store_true", help="do not record ~/masks")
    add("--json", default="", help="write counts to this file, - for stdout")
    return parser


def main() -> int:
    """Entry point of the program."""
    arguments = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: record(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
