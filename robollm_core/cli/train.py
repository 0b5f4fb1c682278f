# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Train one stage from a recipe: last.pt, best.pt and log.csv in the folder given."""

import argparse
import importlib
from pathlib import Path

from robollm_core.errors import ConfigError

STAGES = ("segmentation", "identification", "defects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--recipe", type=Path, required=True, help="a file of config/recipes")
    parser.add_argument("--data", type=Path, required=True, help="data in ARMBench's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument(
        "--minutes", type=_minutes, help="stop after so many minutes; the schedule fits them"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0.0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"minutes must be positive, got {text}")
    return minutes


def run(args: argparse.Namespace) -> int:
    """Train; 0 when a checkpoint stands.

    Raises:
        RobollmError: If recipe, data or output is not as it should be.
    """
    from robollm_core.training.recipe import load_recipe

    recipe = load_recipe(args.recipe, tuple(args.set))
    stage = recipe.get("stage", args.stage)
    if stage != args.stage:
        raise ConfigError(f"{args.recipe} is a recipe for {stage!r}, not for {args.stage!r}.")
    room = importlib.import_module(f"robollm_core.training.{args.stage}")
    room.train(recipe, args.data, args.out, resume=args.resume, minutes=args.minutes)
    return 0
