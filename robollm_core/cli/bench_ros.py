# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench ros`: what ROS costs a frame, and how many it carries."""

import argparse
import importlib.util
import re
from pathlib import Path
from typing import Any

from robollm_core.errors import ConfigError, DependencyError

DESCRIPTION = (
    "Show frames to the perception node over ROS 2, from a camera in a process of its own, and say "
    "of every frame how long it took from its stamp to the publication of its detections, and of "
    "every lost frame where it was lost. The networks are replaced by a fixed cost, so that only "
    "the ROS side is measured: the tax is what ROS takes beyond the core alone."
)
SIZES = ("640x480", "1280x960", "2448x2048")
RATES = (10.0, 20.0, 30.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is shown."""
    add: Any = parser.add_argument
    add("--size", nargs="+", default=list(SIZES), metavar="WxH", help="frames, in pixels")
    add("--rate", nargs="+", type=float, default=list(RATES), metavar="HZ", help="frames a second")
    add("--seconds", type=float, default=60.0, help="how long each size and rate is shown")
    add("--transport", default="raw", choices=("raw", "compressed"), help="type of the images")
    add("--stage-ms", type=float, default=10.0, help="what the networks would take")
    add(
        "--how",
        default="sleep",
        choices=("sleep", "spin"),
        help="whether that leaves the processor free, as an accelerator does, or keeps one core "
        "busy, as an engine on the processor does",
    )
    add("--instances", type=int, default=10, metavar="N", help="things found in every frame")
    add(
        "--picks",
        type=float,
        default=0.0,
        metavar="HZ",
        help="picks asked a second besides; a frame then waits for the pick before it",
    )
    add("--page", type=Path, metavar="FILE.md", help="write the table as Markdown here")
    add("--no-search", action="store_true", help="leave out the search for the peak rate")
    add("--no-subscriptions", action="store_true", help="leave out the bare subscriptions")


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Show frames and print.

    Returns:
        The figures, and whether the targets that apply were kept.

    Raises:
        RobollmError: If ROS is not there, a value is wrong or a program fails.
    """
    from robollm_core.bench import machine
    from robollm_core.bench.ros_latency import targets
    from robollm_core.bench.ros_report import draw, markdown, remarks, table
    from robollm_core.cli.ros_graph import Bench
    from robollm_core.files import write_file

    _check(args)
    before = machine.facts(0)
    with Bench(args) as bench:
        rows = bench.rows()
        figures: dict[str, Any] = {
            "rows": rows,
            "subscriptions": [] if args.no_subscriptions else bench.subscriptions(),
            "peaks": [] if args.no_search else bench.peaks(),
            "targets": targets(rows),
            "stage": {"ms": args.stage_ms, "how": args.how, "instances": args.instances},
            "conditions": before,
        }
    print(table(rows))
    print("\n".join(remarks(figures)))
    if args.page is not None:
        write_file(args.page, markdown(figures).encode())
    if args.plot is not None:
        write_file(args.plot, draw(rows))
    return figures, all(target["kept"] for target in figures["targets"])


def _check(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("rclpy") is None:
        raise DependencyError(
            "`robollm bench ros` needs rclpy: run `make setup`, or source a ROS 2 installation."
        )
    for size in args.size:
        if not re.fullmatch("[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", size):
            raise ConfigError(f"--size must be WIDTHxHEIGHT, such as 1280x960, got {size!r}.")
    for name, value, least in (
        ("--seconds", args.seconds, 0.5),
        ("--rate", min(args.rate), 0.1),
        ("--stage-ms", args.stage_ms, 0.0),
        ("--instances", args.instances, 0),
        ("--picks", args.picks, 0.0),
    ):
        if not value >= least:
            raise ConfigError(f"{name} must be {least} at least, got {value}.")
