# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs share."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from robollm_core.config import Config, given, update, with_references


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --config and --set."""
    parser.add_argument("--config", type=Path, help="YAML file laid over the defaults")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="set one dotted name of the configuration; may be repeated",
    )


def read_config(args: argparse.Namespace, references_beside: Path) -> Config:
    """The configuration that --config and --set describe, on top of the bundle they name.

    Args:
        args: parsed by a parser of `add_config_arguments`.
        references_beside: reference images are looked for in the folder of
            this file, unless the configuration names a folder itself.

    Raises:
        ConfigError: If anything in it is wrong.
        ArtifactError: If it names a bundle that is missing or damaged.
        CacheError: If the bundle cannot be unpacked.
    """
    return with_references(config_in_force(args.config, args.assignments), references_beside)


def config_in_force(path: Path | None, assignments: Iterable[str] = ()) -> Config:
    """What a YAML file and assignments set, on top of the bundle they name.

    Args:
        path: as --config.
        assignments: as --set.

    Raises:
        ConfigError: If anything in it is wrong.
        ArtifactError: If it names a bundle that is missing or damaged.
        CacheError: If the bundle cannot be unpacked.
    """
    values = given(path, assignments)
    if not values.get("runtime.bundle"):
        return update(Config(), values)
    # `robollm config` and `robollm doctor` work without what opening a bundle needs
    from robollm_core.runtime.bundle import effective_config

    return effective_config(values)


def add_cell_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --models, --bag, --config and --set: a cell and what it looks at."""
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="networks (default: those of the configuration)"
    )
    parser.add_argument(
        "--bag", type=Path, help="frames, manifests, and references beside it (default: the sample)"
    )
    add_config_arguments(parser)


def read_cell(args: argparse.Namespace) -> tuple[Config, Path]:
    """The configuration of a cell, and the recording it looks at.

    Raises:
        ConfigError: If anything in the configuration is wrong.
    """
    from robollm_core.runtime.artifact import locate

    bag: Path = args.bag or locate("models/sample/cell.mcap")
    config = read_config(args, bag)
    if args.models is not None:
        names = ("segmentation", "identification", "defects")
        folder = args.models.resolve()
        chosen = {f"{name}.artifact": str(folder / f"{name}.onnx") for name in names}
        config = update(config, chosen)
    return config, bag
