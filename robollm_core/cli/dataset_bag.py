# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm dataset to-bag`: ARMBench picks as the recording of a cell."""

import argparse
import shlex
from pathlib import Path
from typing import Any

USAGE = "to-bag DIR --out X.mcap [--split S] [--limit N] [--period SECONDS]"
DEFAULTS: dict[str, Any] = {"split": "test", "limit": 0, "period": 10.0}
"""What to-bag alone takes, and what it takes when it is not given."""

_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to-bag alone takes."""
    add = parser.add_argument
    add("--limit", type=int, metavar="N", help="to-bag: most picks to write (default all)")
    add("--period", type=float, metavar="SECONDS",
        help="to-bag: time from one pick to the next (default 10)")  # fmt: skip


def run(root: Path, out: Path, options: dict[str, Any]) -> int:
    """Write the bag; 0 when it stands.

    Args:
        root: folder in ARMBench's identification layout.
        out: the .mcap file.
        options: of `DEFAULTS`.

    Raises:
        RobollmError: If the picks or the output are not as they should be.
    """
    from robollm_core.data.armbench_bag import IMAGES, PickBagOrder, write_pick_bag
    from robollm_core.data.broken import BrokenFiles

    broken = BrokenFiles()
    order = PickBagOrder(root, options["split"], options["limit"], options["period"])
    done = write_pick_bag(order, out, broken)
    print(
        f"{done.picks} picks, {done.images} images, {done.manifests} manifests, {done.truths} with "
        "their outline"
    )
    if done.unreferenced:
        print(f"left off the manifests, without a reference image: {_names(done.unreferenced)}")
    for entry in broken.entries:
        print(f"broken: {entry.path}: {entry.reason}")
    print(f"{out}: written; its manifests name reference images from {root.resolve()} on:")
    first, bag, folder = next(iter(IMAGES.values())).name, shlex.quote(str(out)), root.resolve()
    setting = shlex.quote(f"identification.reference_root={folder}")
    print(f"  robollm replay {bag} --image-topic {first} --out answers.mcap --set {setting}")
    print(f"  robollm dataset from-bag {bag} --references {shlex.quote(str(folder))} --out DIR")
    return 0


def _names(items: set[str]) -> str:
    shown = sorted(items)[:_NAMED]
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(shown)}{more}"
