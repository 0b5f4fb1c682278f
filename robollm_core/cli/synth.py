# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm synth`: make data sets and bags with the simulator."""

import argparse
import os
import sys
from pathlib import Path

from robollm_core.errors import ConfigError, RobollmError

KINDS = ("segmentation", "identification", "defects", "bag")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("kind", choices=KINDS, help="what to make")
    parser.add_argument("--out", type=Path, required=True, help="folder (or .mcap file) to write")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    parser.add_argument(
        "--images",
        type=int,
        default=None,
        help="mixed totes (each transfer set gets a tenth), defect pictures, or frames of the bag",
    )
    parser.add_argument("--picks", type=int, default=None, help="picks of identification")
    parser.add_argument("--split", default="all", help="train, val, test or all (8:1:1, default)")
    parser.add_argument("--subset", default="all", help="segmentation: one subset instead of all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--raw", action="store_true", help="bag: raw images instead of JPEG")
    parser.add_argument("--meshes", type=Path, default=None, help="folder of OBJ scans to add")


def _segmentation(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.totes import Order, write_segmentation

    order = Order(
        seed=args.seed,
        images=1000 if args.images is None else args.images,
        split=args.split,
        subset=args.subset,
        jobs=args.jobs,
        meshes=args.meshes,
    )
    rate = write_segmentation(args.out, order)
    print(f"{args.out}: {rate:.2f} images/s/core")
    return 0


def _identification(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.picks import write_identification

    picks = 1000 if args.picks is None else args.picks
    write_identification(args.out, args.seed, picks, args.split, args.jobs, args.meshes)
    return 0


def _defects(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.damage import write_defects

    images = 1000 if args.images is None else args.images
    write_defects(args.out, args.seed, images, args.split, args.jobs, args.meshes)
    return 0


def _bag(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.cell import write_bag

    options = {} if args.images is None else {"images": args.images}
    write_bag(args.out, args.seed, raw=args.raw, **options)
    return 0


def run(args: argparse.Namespace) -> int:
    """Make what was asked for.

    Raises:
        ConfigError: If an argument is out of range.
    """
    for name in ("images", "picks", "jobs"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}.")
    if args.raw and args.kind != "bag":
        raise ConfigError(f"--raw is an option of `robollm synth bag`, not of {args.kind}.")
    if args.seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {args.seed}.")
    verbs = {
        "segmentation": _segmentation,
        "identification": _identification,
        "defects": _defects,
        "bag": _bag,
    }
    return verbs[args.kind](args)


def main() -> int:
    """Run the verb by itself: `python -m robollm_core.cli.synth`."""
    parser = argparse.ArgumentParser(prog="robollm synth", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except RobollmError as error:
        print(f"robollm: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
