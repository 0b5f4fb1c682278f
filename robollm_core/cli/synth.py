# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm synth`: make data sets and bags with the simulator."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core.errors import ConfigError, RobollmError

_SET = {"split": "all", "jobs": os.cpu_count() or 1, "meshes": None}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "segmentation": {"images": 1000, "subset": "all", **_SET},
    "identification": {"picks": 1000, **_SET},
    "defects": {"images": 1000, **_SET},
    "bag": {"images": 40, "raw": False},
    "cell": {"states": 24},
}
"""What each kind takes besides --out and --seed, and what is taken when it is not given."""
KINDS = tuple(OPTIONS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("kind", choices=KINDS, help="what to make")
    parser.add_argument("--out", type=Path, required=True, help="folder (or .mcap file) to write")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    images = "mixed totes (each transfer set gets a tenth), defect pictures, or frames of the bag"
    _add(parser, "images", images, type=int)
    _add(parser, "picks", "how many picks", type=int)
    _add(parser, "split", "train, val, test or all (8:1:1, default)")
    _add(parser, "subset", "one subset instead of all")
    _add(parser, "jobs", "processes (default: one a core)", type=int)
    _add(parser, "meshes", "folder of OBJ scans to add", type=Path)
    _add(parser, "raw", "raw images instead of JPEG", action="store_true")
    _add(parser, "states", "totes between two picks, each with its pick's views", type=int)


def _add(parser: argparse.ArgumentParser, name: str, text: str, **more: Any) -> None:
    # None is "not given"; what it stands for depends on the kind
    parser.add_argument(
        f"--{name}", default=None, help=f"{', '.join(_kinds(name))}: {text}", **more
    )


def _kinds(name: str) -> list[str]:
    return [kind for kind, options in OPTIONS.items() if name in options]


def _segmentation(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.totes import Order, write_segmentation

    order = Order(args.seed, args.images, args.split, args.subset, args.jobs, args.meshes)
    rate = write_segmentation(args.out, order)
    print(f"{args.out}: {rate:.2f} images/s/core")
    return 0


def _identification(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.picks import write_identification

    write_identification(args.out, args.seed, args.picks, args.split, args.jobs, args.meshes)
    return 0


def _defects(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.damage import write_defects

    write_defects(args.out, args.seed, args.images, args.split, args.jobs, args.meshes)
    return 0


def _bag(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.cell import write_bag

    write_bag(args.out, args.seed, images=args.images, raw=args.raw)
    return 0


def _cell(args: argparse.Namespace) -> int:
    from robollm_core.synthetic.cell import write_states

    def tell(done: int) -> None:
        # a line each: the simulated cell runs this as a process and passes it on
        print(f"rendered {done} of {args.states} states of the cell", flush=True)

    write_states(args.out, args.seed, args.states, tell)
    return 0


def _settings(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments with the kind's defaults filled in; others' options are refused."""
    settings = vars(args).copy()
    own = OPTIONS[args.kind]
    for name in {name: None for options in OPTIONS.values() for name in options}:
        value = settings.get(name)
        if value is not None and name not in own:
            raise ConfigError(
                f"--{name} is an option of `robollm synth {'|'.join(_kinds(name))}`, "
                f"not of {args.kind}. Leave it out."
            )
        settings[name] = own.get(name) if value is None else value
    return argparse.Namespace(**settings)


def run(args: argparse.Namespace) -> int:
    """Make what was asked for.

    Raises:
        ConfigError: If an argument is out of range or of another kind.
    """
    settings = _settings(args)
    for name in ("images", "picks", "jobs", "states"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}.")
    if args.seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {args.seed}.")
    verbs = {
        "segmentation": _segmentation,
        "identification": _identification,
        "defects": _defects,
        "bag": _bag,
        "cell": _cell,
    }
    return verbs[args.kind](settings)


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
