# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A bare image subscription of a bench: serialised as the perception node has it, or ordinary.

It does nothing but make a frame of every image, and notes when it had it in hand.
"""

import argparse
import sys
import threading
import time
from typing import Any

from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from robollm_ros.cdr import FrameReader, image_view
from robollm_ros.inputs import IMAGES_IN
from robollm_ros.program import announce, run, spin, write_json


class Receiver(Node):
    """Makes frames of images.

    Attributes:
        frames: (stamp, time the callback began, time the frame was there), nanoseconds.
    """

    def __init__(self, topic: str, *, ordinary: bool) -> None:
        """Subscribe.

        Args:
            topic: of the images.
            ordinary: whether rclpy unpacks the messages, else they stay serialised.
        """
        super().__init__("bench_receiver")
        self.frames: list[tuple[int, int, int]] = []
        self._read = FrameReader()
        callback = self._on_message if ordinary else self._on_bytes
        self._images = self.create_subscription(Image, topic, callback, IMAGES_IN, raw=not ordinary)

    def _on_bytes(self, serialised: bytes) -> None:
        begun = time.time_ns()
        frame, _ = self._read(serialised)
        self.frames.append((frame.stamp_ns, begun, time.time_ns()))

    def _on_message(self, message: Image) -> None:
        begun = time.time_ns()
        frame = image_view(message).frame()
        self.frames.append((frame.stamp_ns, begun, time.time_ns()))


def receive(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Receive until `stop`; returns the exit code."""
    node = Receiver(arguments.topic, ordinary=arguments.ordinary)
    try:
        announce("listening")
        spin(node, stop.is_set)
    finally:
        node.destroy_node()
    write_json(arguments.json, {"frames": node.frames})
    return 0


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(prog="bench_receiver", description=__doc__)
    add: Any = parser.add_argument
    add("--topic", default="image")
    add("--ordinary", action="store_true", help="let rclpy unpack the messages")
    add("--json", default="", help="write the times to this file, - for stdout")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: receive(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
