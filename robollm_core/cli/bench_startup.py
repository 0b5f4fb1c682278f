# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench startup`: from the start of a process to its first answer."""

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from robollm_core.cli.arguments import add_cell_arguments, read_cell
from robollm_core.cli.processes import Program, private_domain
from robollm_core.config import Config, to_yaml, update
from robollm_core.files import write_file

DESCRIPTION = (
    "Start a cell in a new process and wait for its first answer, cold (nothing cached for this "
    "machine) and warm, and, where ROS 2 is installed, the node until its first detections."
)
PATIENCE_S = 120.0
_SETTLE_S = 5.0
"""For the player to start; it says nothing before it has met the node."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how often and what."""
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind")
    parser.add_argument("--no-node", action="store_true", help="leave the ROS node out")
    add_cell_arguments(parser)


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Start and print.

    Returns:
        The figures, and whether a warm start is within its limit.

    Raises:
        RobollmError: If a network or the sample is not as it should be.
    """
    from robollm_core.bench.startup import draw, kept, measure, node_row, table

    config, bag = read_cell(args)
    figures = measure(config, bag, args.runs)
    rows = figures["rows"]
    if not args.no_node and importlib.util.find_spec("rclpy") is not None:
        rows.append(node_row(node_starts(config, bag, args.runs)))
    print(table(rows))
    verdict = kept(rows)
    limit = figures["limit_secs"]
    print(f"warm start, limit {limit:g} s: {'kept' if verdict else 'not kept'}")
    if args.plot is not None:
        write_file(args.plot, draw(rows))
    return figures, verdict


def node_starts(config: Config, bag: Path, runs: int) -> list[float]:
    """Seconds from the start of the perception node to the end of a player that waits for it.

    The player is there before the node, sends one frame when the node listens, and
    ends with its detections. The first start fills the cache and does not count.

    Raises:
        RobollmError: If the node does not answer.
    """
    from robollm_core.data import rostypes
    from robollm_core.data.bag import BagReader

    with tempfile.TemporaryDirectory(prefix="robollm-bench-") as name:
        place = Path(name)
        with BagReader(bag) as reader:
            transport = "compressed" if reader.image_type == rostypes.COMPRESSED else "raw"
        cache = str(place / "cache")
        own = update(config, {"runtime.cache": cache, "input.transport": transport})
        write_file(place / "parameters.yaml", to_yaml(own).encode())
        return [_node_secs(place, bag) for _ in range(runs + 1)][1:]


def _node_secs(place: Path, bag: Path) -> float:
    environment = private_domain(os.environ)
    ros = ["--ros-args", "--params-file", str(place / "parameters.yaml"), "-p", "autostart:=true"]
    play = [str(bag), "--lockstep", "--limit", "1", "--linger", "0", "--timeout", str(PATIENCE_S)]
    player = Program("bag_player", play, environment, place / "player.txt")
    node = Program("perception_node", ros, environment, place / "node.txt")
    with player:
        time.sleep(_SETTLE_S)
        begun = time.monotonic()
        with node:
            player.wait(PATIENCE_S)
            secs = time.monotonic() - begun
            node.stop(PATIENCE_S)
    return secs
