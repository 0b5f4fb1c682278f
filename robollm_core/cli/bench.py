# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Measure time and memory of a part of the package on this machine."""

import argparse
import importlib
import json
import shlex
import sys
from pathlib import Path

from robollm_core import __version__

KINDS = {
    "engines": "time each network on each runtime, against what the machine could do",
    "pipeline": "how much of a frame is spent outside the engines, and on what",
    "startup": "from the start of a process to its first answer, cold and warm",
    "memory": "resident memory over thousands of frames",
    "ros": "what ROS costs a frame, where frames are lost, and the highest rate",
    "retrieval": "rank random embeddings in a gallery of references, block by block",
}
"""What can be measured; the kind X is the module cli/bench_X.py with a DESCRIPTION,
`add_arguments(parser)` and `measure(args)`, which returns the figures and whether the
limits that belong to them were kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb, one kind of bench a word."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, text in KINDS.items():
        module = importlib.import_module(f"robollm_core.cli.bench_{kind}")
        options = kinds.add_parser(kind, help=text, description=module.DESCRIPTION)
        options.set_defaults(measure=module.measure)
        module.add_arguments(options)
        options.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
        options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them here")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when the limits were kept, 1 when not.

    Raises:
        RobollmError: If sizes or output are not as they should be.
    """
    from robollm_core.evaluation.provenance import machine
    from robollm_core.files import write_file

    figures, kept = args.measure(args)
    facts = {
        "machine": machine(),
        **figures,
        "kind": args.kind,
        "command": shlex.join(["robollm", *sys.argv[1:]]),
        "version": __version__,
    }
    if args.json is not None:
        text = json.dumps(facts, indent=2, sort_keys=True, allow_nan=False)
        write_file(args.json, (text + "\n").encode())
    return 0 if kept else 1
