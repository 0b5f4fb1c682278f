# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Measure time and memory of a part of the package on this machine."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from robollm_core import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb, one kind of bench a word."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    retrieval = kinds.add_parser(
        "retrieval",
        help="rank random embeddings in a gallery of references, block by block",
        description="Rank random embeddings in a gallery, and in an eighth, a quarter and a half "
        "of it. The peak of memory counts the pages of the gallery's file.",
    )
    retrieval.set_defaults(measure=_retrieval)
    counts = {
        "queries": (50_000, "picks to identify"),
        "references": (750_000, "photos in the gallery"),
        "items": (190_000, "products they belong to"),
        "dim": (256, "width of an embedding"),
        "seed": (0, "of all numbers"),
    }
    for name, (value, text) in counts.items():
        retrieval.add_argument(
            f"--{name}", type=int, default=value, help=f"{text} (default {value})"
        )
    retrieval.add_argument("--half", action="store_true", help="keep references as float16")
    retrieval.add_argument("--folder", type=Path, metavar="DIR", help="for the references' file")
    retrieval.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    retrieval.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them here")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when the limits were kept, 1 when not.

    Raises:
        RobollmError: If sizes or output are not as they should be.
    """
    from robollm_core.evaluation.provenance import machine
    from robollm_core.files import write_file

    figures, kept = args.measure(args)
    facts = {
        "kind": args.kind,
        **figures,
        "command": shlex.join(["robollm", *sys.argv[1:]]),
        "machine": machine(),
        "version": __version__,
    }
    if args.json is not None:
        text = json.dumps(facts, indent=2, sort_keys=True, allow_nan=False)
        write_file(args.json, (text + "\n").encode())
    return 0 if kept else 1


def _retrieval(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    from robollm_core.bench.retrieval import Sizes, draw, measure, table
    from robollm_core.files import write_file

    names = ("queries", "references", "items", "dim", "seed", "half")
    figures = measure(Sizes(**{name: getattr(args, name) for name in names}), args.folder)
    print(table(figures["sizes"]))
    memory = figures["memory"]
    kept = bool(memory["kept"])
    print(
        f"time grows with the references to the power of {figures['growth']['secs_exponent']:.2f}, "
        f"CPU time of {figures['growth']['cpu_secs_exponent']:.2f}; "
        f"peak RSS {memory['peak_rss_bytes'] / 1e9:.2f} GB, limit "
        f"{memory['limit_bytes'] / 1e9:.0f} GB: {'kept' if kept else 'not kept'}"
    )
    if args.plot is not None:
        write_file(args.plot, draw(figures))
    return figures, kept
