# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Make data sets of your own recordings, in the layouts that `robollm train` reads.

from-bag BAG ... turns recorded cells into picks, totes and defects. draft-labels
ANSWERS makes a file of labels from what `robollm replay` answered, to be corrected.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from robollm_core.errors import ConfigError

KINDS = ("from-bag", "draft-labels")
DEFAULTS: dict[str, Any] = {
    "image_topic": "",
    "labels": None,
    "answers": [],
    "trust_answers": None,
    "references": None,
    "val_share": 0.2,
    "test_share": 0.2,
    "split_by": "container",
    "seed": 0,
}
"""What from-bag alone takes, and what it takes when it is not given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm dataset`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("kind", choices=KINDS)
    add("bags", nargs="+", type=Path, metavar="BAG", help=".mcap, .db3 or a rosbag2 folder")
    add("--out", type=Path, required=True,
        help="from-bag: the folder to make; draft-labels: the .json file")  # fmt: skip
    # None is "not given", so that draft-labels can refuse what it does not take
    add("--image-topic", help="default: the only one of the bag")
    add("--labels", type=Path, metavar="FILE", help="corrected labels; see docs/site.md")
    add("--answers", type=Path, action="append", metavar="BAG",
        help="answers of `robollm replay`, for --trust-answers")  # fmt: skip
    add("--trust-answers", type=float, metavar="MIN_SCORE",
        help="take answers from this similarity on for labels")  # fmt: skip
    add("--references", type=Path, metavar="DIR",
        help="where reference paths of manifests start (default: folder of each bag)")  # fmt: skip
    add("--val-share", type=float, help="share that chooses (default 0.2)")
    add("--test-share", type=float, help="share that measures (default 0.2)")
    add("--split-by", choices=("container", "item"),
        help="what is in one split only: a container (default), or also an item")  # fmt: skip
    add("--seed", type=int, help="of the division into splits (default 0)")


def run(args: argparse.Namespace) -> int:
    """Make the data sets, or the draft; 0 when they stand.

    Raises:
        RobollmError: If bags, labels or output are not as they should be.
    """
    given = {name: getattr(args, name) for name in DEFAULTS if getattr(args, name) is not None}
    if args.kind == "from-bag":
        return _from_bag(args, DEFAULTS | given)
    if given or len(args.bags) > 1:
        raise ConfigError("expected: robollm dataset draft-labels ANSWERS --out LABELS.json")
    return _draft(args)


def _draft(args: argparse.Namespace) -> int:
    from robollm_core.data.files import write_file
    from robollm_core.data.site_labels import draft_labels

    tree = draft_labels(args.bags[0])
    write_file(args.out, (json.dumps(tree, indent=1) + "\n").encode())
    count = sum(len(frame["instances"]) for frame in tree["frames"])
    print(f"{args.out}: {len(tree['frames'])} frames, {count} instances to check")
    return 0


def _from_bag(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from robollm_core.data.site import SiteOrder, write_site

    options["answers"] = tuple(options["answers"])
    order = SiteOrder(bags=tuple(args.bags), **options)
    for line in describe(write_site(order, args.out)):
        print(line)
    print(f"{args.out}: written")
    return 0


def describe(summary: dict[str, Any]) -> list[str]:
    """A summary as lines to read."""
    said = ", ".join(f"{count} {source}" for source, count in summary["labels"].items())
    lines = [f"labelled frames: {said}"]
    for split in ("train", "val", "test"):
        counts = ", ".join(f"{count} {kind}" for kind, count in summary["split"][split].items())
        lines.append(f"{split}: {counts}")
    lines += [
        f"left out: {each['count']} x {reason} ({each['first'][0]})"
        for reason, each in summary["left_out"].items()
    ]
    return [*lines, *([summary["warning"]] if "warning" in summary else [])]
