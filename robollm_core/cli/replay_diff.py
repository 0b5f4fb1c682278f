# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Compare two bags of answers to the same frames.

Exit code: 0 when they are equal within the tolerances, 1 when not, 2 when one cannot be
compared at all.
"""

import argparse
import json
import math
from pathlib import Path

from robollm_core.data.differences import PARTS, Comparison, Tolerances, compare
from robollm_core.data.seen import read_seen
from robollm_core.errors import ConfigError
from robollm_core.files import write_file

_USUAL = Tolerances()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm replay diff`."""
    add = parser.add_argument
    add("a", type=Path, metavar="A", help="the answers that are expected")
    add("b", type=Path, metavar="B", help="the answers to judge")
    for name, unit in (
        ("box_px", "pixels that an edge of a box may be off"),
        ("score", "what a score may be off; of scores above 1 this share"),
        ("mask_iou", "overlap that the masks of an instance must reach"),
        ("margin", "candidates whose scores are closer than this may change places"),
    ):
        usual = getattr(_USUAL, name)
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=float, default=usual, metavar="X", help=f"{unit} (default {usual:g})")
    add("--node", default="", help="full name of the node, if a bag holds answers of several")
    add(
        "--ignore",
        action="append",
        default=[],
        choices=PARTS,
        help="do not compare these, as for a bag that was recorded without; may be repeated",
    )
    add("--show", type=int, default=20, metavar="N", help="changes to print (default 20)")
    add("--json", type=Path, metavar="FILE", help="write every change to this file")


def run(args: argparse.Namespace) -> int:
    """Compare; 0 when equal within the tolerances, else 1."""
    tolerances = Tolerances(args.box_px, args.score, args.mask_iou, args.margin)
    values = (tolerances.box_px, tolerances.score, tolerances.mask_iou, tolerances.margin)
    if not all(math.isfinite(value) and value >= 0 for value in values) or values[2] > 1:
        raise ConfigError(
            "tolerances must be finite and at least 0, --mask-iou at most 1, got "
            f"{', '.join(map(str, values))}."
        )
    a, b = (read_seen(path, args.node) for path in (args.a, args.b))
    found = compare(a, b, tolerances, args.ignore)
    for change in found.changes[: max(0, args.show)]:
        print(f"{change.where}: {change.what}: {change.detail}")
    if len(found.changes) > max(0, args.show):
        print(f"... and {len(found.changes) - max(0, args.show)} more; --json FILE has them all")
    for name in found.ignored:
        print(f"{name} not compared, as asked")
    print(_summary(found))
    if args.json:
        write_file(args.json, (json.dumps(found.tree(), indent=1) + "\n").encode())
    return 1 if found.changes else 0


def _summary(found: Comparison) -> str:
    of_a, of_b, both = found.frames
    frames = f"{both} frames" if of_a == of_b == both else f"{of_a} and {of_b} frames, {both} both"
    largest = found.largest
    off = (
        f"largest differences: box {largest['box_px']:g} px, score {largest['score']:.3g}, "
        f"mask IoU {largest['mask_iou']:.4f}"
    )
    if not found.changes:
        return f"equal within the tolerances: {frames}, {found.ties} ties; {off}"
    kinds = ", ".join(f"{count} {what}" for what, count in found.counts().items())
    return f"different: {frames}, {found.ties} ties; {kinds}; {off}"
