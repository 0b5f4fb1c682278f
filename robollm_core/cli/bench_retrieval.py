# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench retrieval`: time and memory of ranking in a large gallery."""

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = (
    "Rank random embeddings in a gallery, and in an eighth, a quarter and a half of it. The peak "
    "of memory counts the pages of the gallery's file."
)
_COUNTS = {
    "queries": (50_000, "picks to identify"),
    "references": (750_000, "photos in the gallery"),
    "items": (190_000, "products they belong to"),
    "dim": (256, "width of an embedding"),
    "seed": (0, "of all numbers"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sizes."""
    for name, (value, text) in _COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default {value})")
    parser.add_argument("--half", action="store_true", help="keep references as float16")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for the references' file")


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Rank and print.

    Returns:
        The figures, and whether memory stayed within its limit.

    Raises:
        RobollmError: If sizes or the folder are not as they should be.
    """
    from robollm_core.bench.retrieval import Sizes, draw, measure, table
    from robollm_core.files import write_file

    sizes = Sizes(**{name: getattr(args, name) for name in (*_COUNTS, "half")})
    figures = measure(sizes, args.folder)
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
