# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Print the configuration in force as commented YAML, ready for a node's params_file."""

import argparse

from robollm_core import config
from robollm_core.cli.arguments import add_config_arguments, config_in_force


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm config`."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tree in force; unknown keys and wrong values are refused."""
    print(config.to_yaml(config_in_force(args.config, args.assignments)), end="")
    return 0
