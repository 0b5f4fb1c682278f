# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A camera driver of a bench: one picture, again and again, at a steady rate, stamped as it goes.

It waits until somebody listens. The stamp is the system time just before the
message is handed to ROS, so a latency counted from it holds everything that ROS does.
"""

import argparse
import array
import sys
import threading
import time
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from robollm_core.errors import ConfigError
from robollm_core.images import encode_jpeg
from robollm_core.types import UInt8Array
from robollm_ros.program import announce, run, spin, write_json

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""What camera drivers offer."""
_SETTLE_S = 0.5
"""After the last frame: best effort keeps nothing for later."""


def picture(width: int, height: int, seed: int = 0) -> UInt8Array:
    """(H, W, 3) uint8: blocks of seeded colours, which JPEG shrinks as it does a photograph."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    image = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return np.ascontiguousarray(image)


def message(image: UInt8Array, transport: str, camera: str) -> Any:
    """An Image or, for "compressed", a CompressedImage without a stamp."""
    if transport == "compressed":
        found = CompressedImage(format="jpeg", data=array.array("B", encode_jpeg(image)))
    else:
        height, width = image.shape[:2]
        pixels = array.array("B", image.tobytes())
        found = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels)
    found.header.frame_id = camera
    return found


class Camera(Node):
    """Publishes one message again and again.

    Attributes:
        stamps: of the frames sent, nanoseconds.
        publish_ms: how long handing each of them to ROS took.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Draw the picture and make the publisher."""
        super().__init__("bench_camera")
        width, height = size_of(arguments.size)
        self._message = message(picture(width, height), arguments.transport, arguments.camera)
        kind = type(self._message)
        self._publisher = self.create_publisher(kind, arguments.topic, BEST_EFFORT)
        self.stamps: list[int] = []
        self.publish_ms: list[float] = []

    def listened(self) -> bool:
        """Whether somebody listens."""
        return bool(self._publisher.get_subscription_count())

    def show(self) -> None:
        """Publish the picture as of now."""
        stamp = time.time_ns()
        sec, nanosec = divmod(stamp, 1_000_000_000)
        self._message.header.stamp = Time(sec=sec, nanosec=nanosec)
        begun = time.perf_counter()
        self._publisher.publish(self._message)
        self.publish_ms.append((time.perf_counter() - begun) * 1e3)
        self.stamps.append(stamp)


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of a text such as 1280x960.

    Raises:
        ConfigError: If it is none, or a side is not in [1, 16384].
    """
    parts = text.split("x")
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        width, height = (int(part) for part in parts)
        if 1 <= width <= 16384 and 1 <= height <= 16384:
            return width, height
    raise ConfigError(f"a size is WIDTHxHEIGHT with sides from 1 to 16384, got {text!r}.")


def show(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Show frames at the rate asked for; returns the exit code."""
    node = Camera(arguments)
    try:
        end = time.monotonic() + arguments.timeout
        spin(node, lambda: stop.is_set() or node.listened() or time.monotonic() >= end)
        if not node.listened() and not stop.is_set():
            raise ConfigError(
                f"nobody listens to {arguments.topic} within {arguments.timeout} s. Start the node "
                "first, on the same ROS_DOMAIN_ID."
            )
        stop.wait(arguments.settle)
        announce("showing")
        took = _shows(node, arguments, stop)
        stop.wait(_SETTLE_S)
    finally:
        node.destroy_node()
    report = {"stamps_ns": node.stamps, "publish_ms": node.publish_ms, "seconds": took}
    write_json(arguments.json, report)
    return 0


def _shows(node: Camera, arguments: argparse.Namespace, stop: threading.Event) -> float:
    """Publish all frames; returns the seconds it took."""
    begun = time.monotonic()
    for number in range(max(1, round(arguments.rate * arguments.seconds))):
        # a camera that is late does not skip: the frames it owes follow at once
        stop.wait(max(0.0, begun + number / arguments.rate - time.monotonic()))
        if stop.is_set():
            break
        node.show()
    return time.monotonic() - begun


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench_camera", description=__doc__)
    add: Any = parser.add_argument
    add("--size", default="1280x960", metavar="WxH")
    add("--rate", type=float, default=20.0, help="frames a second")
    add("--seconds", type=float, default=10.0, help="how long")
    add("--transport", default="raw", choices=("raw", "compressed"))
    add("--topic", default="image", help="with compressed, its whole name too")
    add("--camera", default="bench", help="frame_id of the header")
    add("--timeout", type=float, default=30.0, help="seconds to wait for a listener")
    add("--settle", type=float, default=1.0, help="seconds from the first listener to the start")
    add("--json", default="", help="write stamps and times to this file, - for stdout")
    return parser


def main() -> int:
    """Entry point of the program."""
    arguments = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: show(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
