# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node of a bench: the real node, whose networks are replaced by a fixed cost.

So a bench times the ROS side alone; what the cost is like says `robollm_core.bench.ros_stages`.
"""

import argparse
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from rclpy.serialization import serialize_message
from rclpy.utilities import remove_ros_args

from robollm_core.bench.ros_stages import fixed_stages
from robollm_core.config import Config
from robollm_core.pipeline import Stages
from robollm_ros import perception_node
from robollm_ros.cdr import stamp_ns
from robollm_ros.program import run, write_json


class TimedPublisher:
    """A publisher that notes when each message was out; all else is the publisher's own."""

    def __init__(self, publisher: Any, out: list[tuple[int, int]]) -> None:
        """Publish through `publisher` and add (stamp, time afterwards), ns, to `out`."""
        self._publisher, self._out = publisher, out

    def publish(self, message: Any) -> None:
        """Publish and note."""
        self._publisher.publish(message)
        now = time.time_ns()
        data = message if isinstance(message, bytes) else serialize_message(message)
        self._out.append((stamp_ns(data), now))

    def __getattr__(self, name: str) -> Any:
        """What only the publisher knows."""
        return getattr(self._publisher, name)


class BenchNode(perception_node.PerceptionNode):
    """The perception node with stages of a fixed cost.

    Attributes:
        published: (stamp, time when its detections were out) of every frame, ns.
    """

    def __init__(self, stages: Stages, **options: Any) -> None:
        """Make the node, unconfigured, with these for networks."""
        self.published: list[tuple[int, int]] = []
        self._fixed = stages
        super().__init__(**options)

    def load_stages(self, config: Config) -> Stages:
        """The stages of the bench."""
        return self._fixed

    def describe_stages(self, stages: Stages) -> Mapping[str, str]:
        """That they are no networks."""
        return {"stages": "of a fixed cost"}

    def retune_stages(self, stages: Stages, config: Config) -> Stages:
        """The same: they have no thresholds."""
        return stages

    def create_lifecycle_publisher(self, kind: Any, topic: str, *how: Any, **more: Any) -> Any:
        """The node's own, timed for detections."""
        publisher = super().create_lifecycle_publisher(kind, topic, *how, **more)
        if not topic.endswith("detections"):
            return publisher
        return TimedPublisher(publisher, self.published)

    def destroy_lifecycle_publisher(self, publisher: Any) -> Any:
        """The node's own."""
        inner = getattr(publisher, "_publisher", publisher)
        return super().destroy_lifecycle_publisher(inner)


def serve(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Run the node until `stop`; returns the exit code."""
    stages = fixed_stages(arguments.stage_ms, arguments.how, arguments.instances)
    made: list[BenchNode] = []

    def make() -> BenchNode:
        made.append(BenchNode(stages))
        return made[-1]

    code = perception_node.serve(stop, make)
    write_json(arguments.json, {"published": made[0].published})
    return code


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(prog="bench_cell", description=__doc__)
    add: Any = parser.add_argument
    add("--stage-ms", type=float, default=10.0, help="what the networks would take")
    add("--how", default="sleep", choices=("sleep", "spin"))
    add("--instances", type=int, default=10, help="things found in every frame")
    add("--json", default="", help="write when frames were out to this file, - for stdout")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    return run(lambda stop: serve(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
