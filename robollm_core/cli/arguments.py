# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs share."""

import argparse
from pathlib import Path


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
