# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Say what is installed, which runtimes and which ROS, what is missing and how to mend it.

Exit code 0 when the robot cell can work, 1 when something it needs is missing. With --graph it
looks at a running cell instead.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from robollm_core import __version__
from robollm_core.cli.arguments import config_in_force
from robollm_core.cli.checks import Check, all_checks
from robollm_core.cli.doctor_graph import SECONDS, look_at_graph
from robollm_core.files import write_file

EXIT_UNWELL = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm doctor`."""
    parser.add_argument("--config", type=Path, help="YAML file whose models and runtime count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    parser.add_argument(
        "--graph", action="store_true", help="look at the running cells of this ROS domain instead"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="how long --graph listens (default %(default)s)",
    )
    parser.add_argument(
        "--namespace", default="", help="look only at cells in this namespace, with --graph"
    )


def run(args: argparse.Namespace) -> int:
    """Look, print, and say by the exit code whether the robot cell can work."""
    if args.graph:
        return look_at_graph(args.seconds, args.namespace, args.json)
    checks = tuple(all_checks(config_in_force(args.config)))
    print(describe(checks))
    if args.json:
        write_json(args.json, checks)
    return EXIT_UNWELL if lacking(checks) else 0


def lacking(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks that keep the robot cell from working, in order."""
    return tuple(check for check in checks if check.needed and not check.ok)


def describe(checks: Sequence[Check]) -> str:
    """The findings as text: a line a check, with the command that mends it below."""
    width = max(len(check.name) for check in checks)
    lines = [f"robollm {__version__}"]
    for area, group in groupby(checks, key=lambda check: check.area):
        lines.append(f"\n{area}")
        for check in group:
            lines.append(f"  {_mark(check)} {check.name:{width}}  {check.detail}".rstrip())
            if check.mend and not check.ok:
                lines.append(f"     {'':{width}}  -> {check.mend}")
    count = len(lacking(checks))
    verdict = f"{count} needed things are missing: !!" if count else "all that is needed is here"
    return "\n".join([*lines, "", verdict])


def _mark(check: Check) -> str:
    if check.ok:
        return "ok"
    return "!!" if check.needed else "--"


def write_json(path: Path, checks: Sequence[Check]) -> None:
    """Write the findings, whole or not at all.

    Raises:
        OutputError: If the file cannot be written.
    """
    tree = {
        "version": __version__,
        "python": sys.version.split()[0],
        "well": not lacking(checks),
        "checks": [asdict(check) for check in checks],
    }
    write_file(path, (json.dumps(tree, indent=2) + "\n").encode())
