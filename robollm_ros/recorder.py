# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Records the answers of the perception node to MCAP, in one file or in parts.

Messages get the time stamp of the frame they answer, so that the file lies
over the bag that was played; topics and types stand in a fixed order. Asked to end
by SIGINT or SIGTERM it leaves a whole file; killed, it leaves FILE.mcap.....part, of
which `robollm replay recover` saves all but the last second.
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
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import Topic
from robollm_core.data.parts import FLUSH_S, PartsWriter
from robollm_core.errors import ConfigError
from robollm_ros.cdr import stamp_ns
from robollm_ros.program import EXIT_REFUSED, announce, run, spin, write_json
from robollm_ros.qos import ANSWERS, IMAGES_OUT, LATCHED

KINDS: dict[str, tuple[Any, str, QoSProfile]] = {
    "detections": (Detection2DArray, rostypes.DETECTIONS, ANSWERS),
    "defects": (Detection2DArray, rostypes.DETECTIONS, ANSWERS),
    "timing": (String, rostypes.STRING, ANSWERS),
    "masks": (Image, rostypes.IMAGE, IMAGES_OUT),
    "overlay": (Image, rostypes.IMAGE, IMAGES_OUT),
    "label_info": (LabelInfo, rostypes.LABEL_INFO, LATCHED),
    "vision_info": (VisionInfo, rostypes.VISION_INFO, LATCHED),
}
"""Outputs under the name of the node."""
_EVENTS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
PICKS: dict[str, tuple[Any, str, QoSProfile]] = {
    "pick/identity": (Detection2DArray, rostypes.DETECTIONS, _EVENTS),
    "pick/defects": (Detection2DArray, rostypes.DETECTIONS, _EVENTS),
    "pick/status": (String, rostypes.STRING, _EVENTS),
}
"""Answers to pick events, beside the node."""
FRAMED = ("detections", "defects", "timing", "masks")
"""Outputs of which every answered frame has one; overlays are drawn when there is time."""
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
DRAIN_S = 0.5
"""After the end: time for answers that are already on their way."""


class Recorder(Node):
    """Writes every answer of one node to a bag.

    Attributes:
        counts: messages written, by topic.
    """

    def __init__(self, node: str, names: list[str], picks: bool = False) -> None:
        """Name the topics; nothing is subscribed before `record`.

        Args:
            node: name of the perception node, relative to this node's namespace.
            names: keys of `KINDS`.
            picks: whether answers to pick events are recorded too.
        """
        super().__init__("recorder")
        self._own = {name: self.resolve_topic_name(f"{node}/{name}") for name in names}
        self._picks = {name: self.resolve_topic_name(name) for name in PICKS if picks}
        self._all = {**self._own, **self._picks}
        known = {**KINDS, **PICKS}
        self.topics = [
            Topic(topic, known[name][1], latched=known[name][2] is LATCHED)
            for name, topic in self._all.items()
        ]
        self.topics.append(DIAGNOSTICS)
        self.counts = {topic.name: 0 for topic in self.topics}
        self._output = f"{self.resolve_topic_name(node, only_expand=True)}: output"
        """Name of the diagnostic status that says who listens to the node."""
        self._matched = False
        self._newest_ns = 0
        self._early: list[tuple[str, bytes]] = []
        """What came before the first frame was answered, and has no time to be filed under."""
        self._answers: list[Any] = []

    def record(self, bag: PartsWriter) -> None:
        """Subscribe; from now on messages are written to `bag`."""
        for name, topic in self._all.items():
            kind, _, qos = {**KINDS, **PICKS}[name]
            keep = self._keep(bag, name, topic)
            self._answers.append(self.create_subscription(kind, topic, keep, qos, raw=True))
        self.create_subscription(
            DiagnosticArray, DIAGNOSTICS.name, lambda data: self._diagnose(bag, data), 10, raw=True
        )
        # also while nothing comes, on a clock that a paused simulation does not stop
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FLUSH_S, bag.flush, clock=steady)

    def ready(self) -> bool:
        """Whether both sides have found each other on every topic, so that nothing is lost."""
        return self._matched and all(answer.get_publisher_count() for answer in self._answers)

    def answers(self) -> int:
        """Frames of which every part was written."""
        return min(self.counts[self._own[name]] for name in FRAMED if name in self._own)

    def finish(self, bag: PartsWriter) -> None:
        """Write what was held back for a frame that never came, under its own time."""
        early, self._early = self._early, []
        for topic, data in early:
            own = stamp_ns(data) if topic in self._own.values() else 0
            self._write(bag, topic, own, data)

    def _keep(self, bag: PartsWriter, name: str, topic: str) -> Callable[[bytes], None]:
        def keep(data: bytes) -> None:
            if name in FRAMED or name == "overlay":
                stamp = _timing_stamp_ns(data) if name == "timing" else stamp_ns(data)
                self._newest_ns = stamp
                self._write(bag, topic, stamp, data)
            elif self._newest_ns:
                self._write(bag, topic, self._newest_ns, data)
            else:
                self._early.append((topic, data))

        return keep

    def _write(self, bag: PartsWriter, topic: str, log_ns: int, data: bytes) -> None:
        if self._early:
            early, self._early = self._early, []
            for held, kept in early:
                self._write(bag, held, log_ns, kept)
        bag.write(topic, log_ns, data)
        self.counts[topic] += 1

    def _diagnose(self, bag: PartsWriter | None, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            if status.name == self._output:
                seen = {pair.key: int(pair.value) for pair in status.values}
                self._matched = all(
                    seen.get(name, 0) >= max(1, self.count_subscribers(topic))
                    for name, topic in self._own.items()
                )
        # health has no frame; before the first answer there is no time to file it under
        if self._newest_ns and bag is not None:
            self._write(bag, DIAGNOSTICS.name, self._newest_ns, data)


def _timing_stamp_ns(data: bytes) -> int:
    return int(json.loads(deserialize_message(data, String).data)["stamp_ns"])


def record(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Record until told to stop, or all answers are in; returns the exit code."""
    left_out = {"overlay": not arguments.overlay, "masks": arguments.no_masks}
    names = [name for name in KINDS if not left_out.get(name)]
    node = Recorder(arguments.node, names, not arguments.no_picks)
    limits = {"max_bytes": round(arguments.split_mb * 2**20), "max_s": arguments.split_s}
    try:
        with PartsWriter(arguments.out, node.topics, **limits) as bag:
            node.record(bag)
            complete = _collect(node, arguments, stop)
            node.finish(bag)
    finally:
        node.destroy_node()
    report = {"file": str(arguments.out), "files": [str(path) for path in bag.files],
              "counts": node.counts, "answers": node.answers(),
              "bytes": sum(path.stat().st_size for path in bag.files)}  # fmt: skip
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
    add("--no-picks", action="store_true", help="do not record pick/identity, defects and status")
    add("--split-mb", type=float, default=0.0, metavar="N",
        help="begin a new file after so many megabytes: OUT_0.mcap, OUT_1.mcap ...")  # fmt: skip
    add("--split-s", type=float, default=0.0, metavar="N", help="the same after so many seconds")
    add("--json", default="", help="write counts to this file, - for stdout")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    for name in ("split_mb", "split_s", "timeout"):
        value = getattr(arguments, name)
        if not 0 <= value < float("inf"):
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} must be a number of at least 0, got {value}.")


def main() -> int:
    """Entry point of the program."""
    arguments = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    try:
        _check(arguments)
    except ConfigError as error:
        print(f"robollm: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return run(lambda stop: record(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
