# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plays the camera and the manifest of a bag as a cell would, header stamps verbatim.

`ros2 bag play` cannot wait for a subscriber, loses the first frames to
discovery, and is not there on a machine without ROS.
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

from robollm_core.errors import BagError
from robollm_ros.cdr import stamp_ns
from robollm_ros.inputs import LATCHED
from robollm_ros.outputs import ANSWERS
from robollm_ros.program import EXIT_REFUSED, announce, run, spin, write_json

IMAGES = {
    "sensor_msgs/msg/Image": (Image, "image"),
    "sensor_msgs/msg/CompressedImage": (CompressedImage, "image/compressed"),
}


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
        self._images = self.create_publisher(kind, topic, QoSProfile(depth=5))
        self._manifests = self.create_publisher(String, "container/manifest", LATCHED)
        if self._lockstep:
            self.create_subscription(
                Detection2DArray, arguments.answers, self._on_answer, ANSWERS, raw=True
            )
        self.sent: list[int] = []
        self.manifests_sent = 0
        self._answered: set[int] = set()

    @property
    def answers(self) -> int:
        """Frames sent that were answered, known in lockstep only."""
        return len(self._answered.intersection(self.sent))

    def matched(self, with_manifest: bool) -> bool:
        """Whether somebody listens to everything that will be played."""
        manifests = self._manifests.get_subscription_count() or not with_manifest
        return bool(self._images.get_subscription_count() and manifests)

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


def choose_topics(
    reader: Reader, image_topic: str, manifest_topic: str
) -> tuple[Connection, Connection | None]:
    """The image connection and, if the bag has one, the manifest connection.

    Args:
        reader: an open bag.
        image_topic: "" for the only image topic of the bag.
        manifest_topic: matches with or without a namespace in front.

    Raises:
        BagError: If there is no such image topic, several, or it holds nothing.
    """
    images = [c for c in reader.connections if c.msgtype in IMAGES]
    wanted = [c for c in images if c.topic == image_topic] if image_topic else images
    if len(wanted) != 1:
        topics = ", ".join(f"{c.topic} ({c.msgtype})" for c in reader.connections) or "nothing"
        what = f"the image topic {image_topic}" if image_topic else "exactly one image topic"
        raise BagError(f"{reader.path} must hold {what}; it holds {topics}. Use --image-topic.")
    if not wanted[0].msgcount:
        raise BagError(f"{reader.path} holds no message on {wanted[0].topic}.")
    name = manifest_topic.strip("/")
    manifests = [c for c in reader.connections if f"/{c.topic.strip('/')}".endswith(f"/{name}")]
    return wanted[0], manifests[0] if manifests else None


def play(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Play the bag; returns the exit code."""
    started = time.monotonic()
    with _opened(arguments.bag) as reader:
        images, manifest = choose_topics(reader, arguments.image_topic, arguments.manifest_topic)
        player = Player(images.msgtype, arguments)
        try:
            _wait(player, stop, arguments.timeout, lambda: player.matched(manifest is not None))
            if not stop.is_set() and not player.matched(manifest is not None):
                raise BagError(
                    f"nobody subscribed to {IMAGES[images.msgtype][1]} and the manifest within "
                    f"{arguments.timeout} s. Start the perception node first, on the same domain."
                )
            announce("matched")
            _perform(player, _messages(reader, images, manifest), arguments, stop)
            _wait(player, stop, arguments.linger, lambda: False)
        finally:
            player.destroy_node()
    write_json(
        arguments.json,
        {
            "bag": str(arguments.bag),
            "image_topic": images.topic,
            "frames_sent": len(player.sent),
            "answers": player.answers if arguments.lockstep else None,
            "manifests_sent": player.manifests_sent,
            "stamps_ns": player.sent,
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    return 0


def _opened(path: Path) -> Reader:
    try:
        return Reader(path)
    except Exception as error:  # rosbags raises what its parsers raise
        raise BagError(f"cannot read the bag {path}: {error}") from error


def _messages(
    reader: Reader, images: Connection, manifest: Connection | None
) -> Iterator[tuple[bool, int, bytes]]:
    """(is an image, log time, serialised) in the order of the bag."""
    wanted = [images] if manifest is None else [images, manifest]
    try:
        for connection, stamp, data in reader.messages(wanted):
            yield connection.topic == images.topic, stamp, bytes(data)
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
    add("--image-topic", default="", help="default: the only image topic of the bag")
    add("--manifest-topic", default="container/manifest")
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
