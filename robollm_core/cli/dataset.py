# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Make data sets of your own recordings, in the layouts that `robollm train` reads.

from-bag BAG ... turns recorded cells into picks, totes and defects. draft-labels
ANSWERS makes a file of labels from what `robollm replay` answered, to be corrected.
to-bag DIR turns ARMBench picks into a recording. check DIR says what is missing,
broken, listed twice or empty in a data set; its exit code is 1 when more than 5 % of
the samples are broken or nothing is left.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from robollm_core.cli import dataset_bag, dataset_check
from robollm_core.errors import ConfigError

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
OPTIONS: dict[str, dict[str, Any]] = {
    "from-bag": DEFAULTS,
    "draft-labels": {},
    "to-bag": dataset_bag.DEFAULTS,
    "check": dataset_check.DEFAULTS,
}
"""Kind to the options it takes; others are refused."""
USAGE = {
    "from-bag": "from-bag BAG [BAG ...] --out DIR",
    "draft-labels": "draft-labels ANSWERS --out LABELS.json",
    "to-bag": dataset_bag.USAGE,
    "check": dataset_check.USAGE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm dataset`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("kind", choices=tuple(OPTIONS))
    add("bags", nargs="+", type=Path, metavar="BAG",
        help=".mcap, .db3 or a rosbag2 folder; to-bag, check: a data set's folder")  # fmt: skip
    add("--out", type=Path,
        help="from-bag: the folder to make; draft-labels: .json file; to-bag: .mcap")  # fmt: skip
    # None is "not given", so that a kind can refuse what it does not take
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
    add("--split", choices=("train", "val", "test"), help="to-bag, check: (default test, all)")
    dataset_bag.add_arguments(parser)
    dataset_check.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make the data sets, or the draft; 0 when they stand.

    Raises:
        RobollmError: If bags, labels or output are not as they should be.
    """
    known = dict.fromkeys(name for own in OPTIONS.values() for name in own)
    given = {name: getattr(args, name) for name in known if getattr(args, name) is not None}
    own = OPTIONS[args.kind]
    if (args.out is None) != (args.kind == "check"):
        raise ConfigError(f"expected: robollm dataset {USAGE[args.kind]}")
    if given.keys() - own.keys() or (len(args.bags) > 1 and args.kind != "from-bag"):
        raise ConfigError(f"expected: robollm dataset {USAGE[args.kind]}")
    options = own | given
    if args.kind == "from-bag":
        return _from_bag(args, options)
    if args.kind == "check":
        return dataset_check.run(args.bags[0], options)
    if args.kind == "to-bag":
        return dataset_bag.run(args.bags[0], args.out, options)
    return _draft(args)


def _draft(args: argparse.Namespace) -> int:
    from robollm_core.data.site_labels import draft_labels
    from robollm_core.files import write_file

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
