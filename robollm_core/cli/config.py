# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Print the configuration in force as commented YAML, ready for a node's params_file."""

import argparse
from pathlib import Path

from robollm_core import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm config`."""
    parser.add_argument("--file", type=Path, help="YAML file laid over the defaults")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="set one dotted name; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Print the tree; unknown keys and wrong values are refused."""
    print(config.to_yaml(config.load(args.file, args.assignments)), end="")
    return 0
