# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plays the camera and the manifest of a bag as a cell would, header stamps verbatim.

`ros2 bag play` cannot wait for a subscriber, loses the first frames to
discovery, and is not there on a machine without ROS.

Exit code: 0 when all was played, 2 when the bag or an argument was refused or
nobody listened, 3 when --lockstep waited for an answer that never came.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from robollm_core.data.bag import MANIFEST_TOPIC, BagReader
from robollm_core.errors import BagError
from robollm_ros.cdr import stamp_ns
from robollm_ros.inputs import LATCHED
from robollm_ros.outputs import ANSWERS
from robollm_ros.program import EXIT_REFUSED, announce, run, spin, write_json

IMAGES = {
    "sensor_msgs/msg/Image": (Image, "image"),
    "sensor_msgs/msg/CompressedImage": (CompressedImage, "image/compressed"),
}

EXIT_UNANSWERED = 3
"""In lockstep, frames were left without an answer; not 1, with which Python itself gives up."""


class Player(Node):
    """Publishes what a bag holds, at its pace or answer by answer."""

    def __init__(self, image_type: str, arguments: argparse.Namespace) -> None:
        """Make the publishers.

        Args:
            image_type: type of the image topic in the bag, a key of `IMAGES`.
            arguments: of the command line.
        """
        super().__init__("bag_player")
        kind, topic = IMAGES[image_type]
        self._lockstep: bool = arguments.lockstep
        self._answers = self.resolve_topic_name(arguments.answers)
        # in lockstep this player listens too
        self._listeners = arguments.listeners + int(self._lockstep)
        self._images = self.create_publisher(kind, topic, QoSProfile(depth=5))
        self._manifests = self.create_publisher(String, MANIFEST_TOPIC, LATCHED)
        if self._lockstep:
            self.create_subscription(
                Detection2DArray, self._answers, self._on_answer, ANSWERS, raw=True
            )
        self.sent: list[int] = []
        self.given_up: list[int] = []
        """Stamps of the frames whose answer did not come while it was waited for."""
        self.manifests_sent = 0
        self._answered: set[int] = set()

    @property
    def image_topic(self) -> str:
        """Full name of the topic that carries the images, remapped or not."""
        return str(self._images.topic_name)

    @property
    def answers(self) -> int:
        """Frames sent that were answered, known in lockstep only."""
        return len(self._answered.intersection(self.sent))

    @property
    def unanswered(self) -> list[int]:
        """Of `given_up`, the stamps that were not answered later either."""
        return [stamp for stamp in self.given_up if stamp not in self._answered]

    def matched(self, with_manifest: bool) -> bool:
        """Whether somebody listens to everything that will be played."""
        manifests = self._manifests.get_subscription_count() or not with_manifest
        listened = self.count_subscribers(self._answers) >= self._listeners
        return bool(self._images.get_subscription_count() and manifests and listened)

    def answered_all(self) -> bool:
        """Whether the newest frame was answered; always true out of lockstep."""
        return not (self._lockstep and self.sent) or self.sent[-1] in self._answered

    def play_image(self, serialised: bytes) -> None:
        """Publish an image as it was recorded."""
        self.sent.append(stamp_ns(serialised))
        self._images.publish(serialised)

    def play_manifest(self, serialised: bytes) -> None:
        """Publish a manifest and wait until it has arrived."""
        self.manifests_sent += 1
        self._manifests.publish(serialised)
        self._manifests.wait_for_all_acked()

    def _on_answer(self, serialised: bytes) -> None:
        self._answered.add(stamp_ns(serialised))


def play(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Play the bag; returns the exit code."""
    started = time.monotonic()
    # the reader of the core says all that can be wrong with a bag, and chooses its topics
    with BagReader(arguments.bag, arguments.image_topic) as bag, Reader(arguments.bag) as raw:
        wanted = [
            connection
            for connection in raw.connections
            if connection.topic == bag.image_topic
            or f"/{connection.topic}".endswith(f"/{MANIFEST_TOPIC}")
        ]
        kinds = {c.topic: c.msgtype for c in wanted}
        player = Player(kinds[bag.image_topic], arguments)
        try:
            _match(player, arguments, stop, with_manifest=len(kinds) > 1)
            _perform(player, _messages(raw, wanted, bag.image_topic), arguments, stop)
            _wait(player, stop, arguments.linger, lambda: False)
        finally:
            player.destroy_node()
    report = {
        "bag": str(arguments.bag),
        "image_topic": bag.image_topic,
        "frames_sent": len(player.sent),
        "answers": player.answers if arguments.lockstep else None,
        "unanswered_ns": player.unanswered if arguments.lockstep else None,
        "manifests_sent": player.manifests_sent,
        "stamps_ns": player.sent,
        "seconds": round(time.monotonic() - started, 3),
    }
    write_json(arguments.json, report)
    return _complain(player, arguments.timeout)


def _complain(player: Player, timeout_s: float) -> int:
    """Name the frames without an answer on stderr; returns the exit code."""
    if not player.unanswered:
        return 0
    print(
        f"robollm: {len(player.unanswered)} of {len(player.sent)} frames were not answered within "
        f"{timeout_s} s, with header stamps (ns): {', '.join(map(str, player.unanswered))}. "
        "The log of the perception node says why.",
        file=sys.stderr,
        flush=True,
    )
    return EXIT_UNANSWERED


def _match(
    player: Player, arguments: argparse.Namespace, stop: threading.Event, *, with_manifest: bool
) -> None:
    _wait(player, stop, arguments.timeout, lambda: player.matched(with_manifest))
    if player.matched(with_manifest):
        announce("matched")
    elif not stop.is_set():
        raise BagError(
            f"nobody listens to {player.image_topic} within {arguments.timeout} s. Start the "
            "perception node first, on the same ROS_DOMAIN_ID and with the same input.transport."
        )


def _messages(
    reader: Reader, wanted: list[Connection], image_topic: str
) -> Iterator[tuple[bool, int, bytes]]:
    """(is an image, log time, serialised) in the order of the bag."""
    try:
        for connection, stamp, data in reader.messages(wanted):
            yield connection.topic == image_topic, stamp, bytes(data)
    except Exception as error:  # rosbags raises what its parsers raise
        raise BagError(f"the bag {reader.path} is broken: {error}") from error


def _perform(
    player: Player,
    messages: Iterator[tuple[bool, int, bytes]],
    arguments: argparse.Namespace,
    stop: threading.Event,
) -> None:
    begun = time.monotonic()
    first: int | None = None
    for is_image, stamp, data in messages:
        if stop.is_set() or (is_image and len(player.sent) == arguments.limit):
            return
        first = stamp if first is None else first
        if is_image and not arguments.lockstep:
            due = begun + (stamp - first) / 1e9 / arguments.rate
            _wait(player, stop, due - time.monotonic(), lambda: False)
        if not is_image:
            player.play_manifest(data)
            continue
        player.play_image(data)
        _wait(player, stop, arguments.timeout if arguments.lockstep else 0.0, player.answered_all)
        # who stops the player does not wait for the newest answer, so that none is missing
        if not player.answered_all() and not stop.is_set():
            player.given_up.append(player.sent[-1])


def _wait(player: Node, stop: threading.Event, seconds: float, done: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    spin(player, lambda: done() or stop.is_set() or time.monotonic() >= end)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__)
    add: Any = parser.add_argument
    add("bag", type=Path, help="an .mcap file or a rosbag2 folder")
    add("--rate", type=float, default=1.0, help="times the recorded pace")
    add("--lockstep", action="store_true", help="send a frame when the one before is answered")
    add("--answers", default="perception/detections", help="topic watched by --lockstep")
    add("--listeners", type=int, default=0, help="wait until so many listen to the answers")
    add("--image-topic", default="", help="default: the only image topic of the bag")
    add("--timeout", type=float, default=60.0, help="seconds to wait for a listener, an answer")
    add("--linger", type=float, default=1.0, help="seconds to stay after the last frame")
    add("--limit", type=int, default=-1, help="at most so many frames")
    add("--json", default="", help="write counts to this file, - for stdout")
    return parser


def main() -> int:
    """Entry point of the program."""
    arguments = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    if not arguments.rate > 0:
        print(f"robollm: --rate must be above 0, got {arguments.rate}", file=sys.stderr)
        return EXIT_REFUSED
    return run(lambda stop: play(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
