# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator as a live camera and a manifest source, for a cell without a robot."""

import array
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from robollm_core.config import Leaf
from robollm_core.data.bag import MANIFEST_TOPIC
from robollm_core.errors import DependencyError
from robollm_core.images import decode_image
from robollm_ros.conversions import image_message, json_message
from robollm_ros.inputs import LATCHED, image_topic
from robollm_ros.program import announce, run, spin
from robollm_ros.settings import read_settings

if TYPE_CHECKING:
    from robollm_core.synthetic.cell import CellFrame

SEEDS = 1 << 19
"""Cells that the simulator can make; written out, since the node starts without it."""
PARAMETERS = (
    # name, default, sentence, least, most, choices, live
    Leaf("seed", 0, "The same seed shows the same cell.", 0, SEEDS - 1, (), False),
    Leaf("rate_hz", 2.0, "Frames a second, if the simulator keeps up.", 0.001, 1000.0, (), False),
    Leaf("frames", 0, "End after so many; 0: never.", 0, 1_000_000_000, (), False),
    Leaf(
        "transport", "compressed", "Type of the images.", None, None, ("raw", "compressed"), False
    ),
    Leaf("cell_folder", "sim_cell", "Gets the reference images.", None, None, (), False),
)


class SimCell(Node):
    """Publishes what a simulated cell's camera sees and its container holds."""

    def __init__(self) -> None:
        """Declare the parameters and make the publishers.

        Raises:
            ConfigError: If a parameter is wrong.
        """
        super().__init__("sim_cell", automatically_declare_parameters_from_overrides=True)
        self.settings = read_settings(self, PARAMETERS)
        self._raw = self.settings["transport"] == "raw"
        kind = Image if self._raw else CompressedImage
        self._images = self.create_publisher(kind, image_topic(self._raw), QoSProfile(depth=5))
        self._manifests = self.create_publisher(String, MANIFEST_TOPIC, LATCHED)
        self._truth = self.create_publisher(String, "ground_truth", 10)

    def show(self, frame: "CellFrame") -> None:
        """Publish a frame as of now; a new manifest first."""
        if frame.manifest is not None:
            self._manifests.publish(String(data=frame.manifest))
            self._manifests.wait_for_all_acked()
        stamp: Time = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=frame.truth["camera"])
        if self._raw:
            pixels = decode_image(frame.jpeg, "the rendered frame")
            self._images.publish(image_message(pixels, "rgb8", header))
        else:
            data = array.array("B", frame.jpeg)
            self._images.publish(CompressedImage(header=header, format="jpeg", data=data))
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        self._truth.publish(json_message({"stamp_ns": stamp_ns, **frame.truth}))


def frames_of_cell(folder: Path, seed: int) -> "Iterator[CellFrame]":
    """The simulator's frames, without end.

    Raises:
        DependencyError: If the simulator is not installed.
    """
    try:
        from robollm_core.synthetic.cell import live_cell
    except ImportError as error:
        raise DependencyError(
            f"the simulated cell needs {error.name}. Run: pip install '.[sim]' in the checkout, "
            "or pip install mujoco pillow."
        ) from error
    return live_cell(folder, seed)


def serve(stop: threading.Event) -> int:
    """Show frames at the rate asked for until `stop`; returns the exit code."""
    node = SimCell()
    try:
        due = time.monotonic()
        folder = Path(node.settings["cell_folder"]).expanduser()
        frames = frames_of_cell(folder, node.settings["seed"])
        for shown, frame in enumerate(islice(frames, node.settings["frames"] or None)):
            if stop.is_set():
                break
            node.show(frame)
            if not shown:
                announce("showing")
            # a simulator that is late does not hurry afterwards
            due = max(due + 1 / node.settings["rate_hz"], time.monotonic())
            spin_until(node, stop, due)
    finally:
        node.destroy_node()
    return 0


def spin_until(node: Node, stop: threading.Event, end: float) -> None:
    """Serve the node's parameters until `time.monotonic()` is `end`, or `stop`."""
    spin(node, lambda: stop.is_set() or time.monotonic() >= end)


def main() -> int:
    """Entry point of the program."""
    return run(serve)


if __name__ == "__main__":
    sys.exit(main())
