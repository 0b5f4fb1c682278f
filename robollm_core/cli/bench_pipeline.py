# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench pipeline`: where a frame spends its time."""

import argparse
from typing import Any

from robollm_core.cli.arguments import add_cell_arguments, read_cell

DESCRIPTION = (
    "Answer frames of several sizes with a fixed number of instances, and frames of the sample as "
    "they are, and say how much of the time is spent outside the engines, and on what."
)
SIZES = ("640x480", "1280x960", "2448x2048")
INSTANCES = (1, 10, 50)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare sizes and counts."""
    parser.add_argument("--size", nargs="+", default=SIZES, metavar="WxH", help="frames, in pixels")
    parser.add_argument(
        "--instances", nargs="+", type=int, default=INSTANCES, metavar="N", help="on each frame"
    )
    parser.add_argument("--rounds", type=int, default=40, help="times every case is answered")
    add_cell_arguments(parser)


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Time the frames and print.

    Returns:
        The figures, and whether the targets that apply were kept.

    Raises:
        RobollmError: If a size, a network or the sample is not as it should be.
    """
    from robollm_core.bench.cases import Cell, cases
    from robollm_core.bench.pipeline import measure, targets
    from robollm_core.bench.pipeline_report import draw, table
    from robollm_core.bench.timing import Plan
    from robollm_core.files import write_file

    config, bag = read_cell(args)
    chosen = cases(bag, args.size, args.instances)
    figures = measure(Cell(config), chosen, Plan(rounds=args.rounds))
    print(table(figures["rows"]))
    figures["targets"] = targets(figures["rows"])
    for target in figures["targets"]:
        verdict = "kept" if target["kept"] else "not kept"
        print(f"{target['name']}: {target['value']:.3g}, limit {target['limit']:g}: {verdict}")
    if args.plot is not None:
        write_file(args.plot, draw(figures["rows"]))
    return figures, all(target["kept"] for target in figures["targets"])
