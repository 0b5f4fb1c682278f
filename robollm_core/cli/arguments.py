# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs share."""

import argparse
from pathlib import Path

from robollm_core.config import Config, load, with_references


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --config and --set."""
    parser.add_argument("--config", type=Path, help="YAML file laid over the defaults")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="set one dotted name of the configuration; may be repeated",
    )


def read_config(args: argparse.Namespace, references_beside: Path) -> Config:
    """The configuration that --config and --set describe.

    Args:
        args: parsed by a parser of `add_config_arguments`.
        references_beside: reference images are looked for in the folder of
            this file, unless the configuration names a folder itself.

    Raises:
        ConfigError: If anything in it is wrong.
    """
    return with_references(load(args.config, args.assignments), references_beside)
