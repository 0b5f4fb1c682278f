# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench memory`: whether a cell that never stops grows."""

import argparse
from typing import Any

from robollm_core.cli.arguments import add_cell_arguments, read_cell

DESCRIPTION = (
    "Answer thousands of frames of changing size, number of instances and container, and say by "
    "how much the memory of the process grows."
)
SAMPLE_FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how long."""
    parser.add_argument("--frames", type=int, default=10_000, help="answered in all")
    parser.add_argument("--every", type=int, default=50, help="frames between two looks")
    parser.add_argument("--container", type=int, default=25, help="frames until another manifest")
    parser.add_argument("--seed", type=int, default=0, help="of sizes and instances")
    add_cell_arguments(parser)


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Answer and print.

    Returns:
        The figures, and whether nothing grows.

    Raises:
        RobollmError: If a count, a network or the sample is not as it should be.
    """
    from robollm_core.bench.cases import Cell
    from robollm_core.bench.memory import Run, draw, measure, table
    from robollm_core.bench.sample import recorded
    from robollm_core.files import write_file

    run = Run(args.frames, args.every, args.container, args.seed)
    config, bag = read_cell(args)
    figures = measure(Cell(config), recorded(bag, SAMPLE_FRAMES), run)
    print(table(figures))
    if args.plot is not None:
        write_file(args.plot, draw(figures))
    return figures, bool(figures["kept"])
