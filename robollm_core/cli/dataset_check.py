# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm dataset check`: what is wrong with a data set, before hours are spent on it."""

import argparse
import json
from pathlib import Path
from typing import Any

USAGE = "check DIR [--split S] [--json FILE] [--decode]"
DEFAULTS: dict[str, Any] = {"split": "", "json": None, "decode": False}
"""What check takes, and what it takes when it is not given."""

EXIT_UNUSABLE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what check alone takes."""
    add = parser.add_argument
    add("--json", type=Path, metavar="FILE", help="check: every finding, as JSON")
    add("--decode", action="store_true", default=None,
        help="check: decode every picture (default: look at its first and last bytes)")  # fmt: skip


def run(root: Path, options: dict[str, Any]) -> int:
    """Check a data set.

    Args:
        root: its folder.
        options: of `DEFAULTS`.

    Returns:
        0 when it can be used, with findings or without; 1 when more than 5 % of its
        samples are broken, or nothing is left.

    Raises:
        RobollmError: If the folder has no known layout, or the JSON cannot be written.
    """
    from robollm_core.data.check import check_dataset, describe
    from robollm_core.files import write_file

    ledger = check_dataset(root, options["split"], options["decode"])
    if options["json"] is not None:
        write_file(options["json"], (json.dumps(ledger.to_json(), indent=1) + "\n").encode())
    for line in describe(ledger):
        print(line)
    return 0 if ledger.usable else EXIT_UNUSABLE
