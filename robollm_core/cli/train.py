# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Train one stage from a recipe: last.pt, best.pt, log.csv and tensorboard in the folder given.

On several GPUs: torchrun --nproc_per_node=N -m robollm_core.cli.main train ...
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core.errors import ConfigError

STAGES = ("encoder", "segmentation", "identification", "defects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--recipe", type=Path, required=True, help="a file of config/recipes")
    parser.add_argument("--data", type=Path, help="data in ARMBench's layout")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument(
        "--minutes", type=_minutes, help="stop after so many minutes; the schedule fits them"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    parser.add_argument(
        "--teacher",
        metavar="NAME_OR_FILE",
        help="whom an encoder imitates: efficientnet-lite0, or a file that holds an encoder",
    )
    parser.add_argument(
        "--dump-config",
        type=Path,
        metavar="FILE",
        help="write the mmengine configuration of a segmentation recipe and stop",
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
    from robollm_core.training.run import train

    recipe = load_recipe(args.recipe, tuple(args.set))
    stage = recipe.get("stage", args.stage)
    if stage != args.stage:
        raise ConfigError(f"{args.recipe} is a recipe for {stage!r}, not for {args.stage!r}.")
    if args.teacher is not None:
        recipe["teacher"] = _teacher(recipe, args)
    if args.dump_config is not None:
        return _dump_config(recipe, args)
    for name in ("data", "out"):
        if getattr(args, name) is None:
            raise ConfigError(f"robollm train {args.stage} needs --{name}.")
    train(args.stage, recipe, args.data, args.out, resume=args.resume, minutes=args.minutes)
    return 0


def _teacher(recipe: Mapping[str, Any], args: argparse.Namespace) -> str:
    objective = recipe.get("objective", "distil" if args.stage == "encoder" else "its own")
    if args.stage != "encoder" or objective != "distil":
        raise ConfigError(
            "--teacher is for the stage encoder with the objective distil, not for "
            f"{args.stage} with {objective}. To start from a taught encoder use --set init=FILE."
        )
    return str(args.teacher)


def _dump_config(recipe: Mapping[str, Any], args: argparse.Namespace) -> int:
    if args.stage != "segmentation":
        raise ConfigError("--dump-config is for segmentation: the other stages are plain torch.")
    from robollm_core.training.segmentation import dump_config

    dump_config(recipe, args.dump_config)
    print(args.dump_config)
    return 0
