# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Build TensorRT engines ahead of time; TensorRT-RTX also builds for GPUs that are not here.

Engines go into the cache, where the runtime finds them, or with --out into a folder:
put them beside the networks on the robot.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robollm_core.errors import ArtifactError, RuntimeUnavailableError

if TYPE_CHECKING:
    from robollm_core.runtime.artifact import Sidecar
    from robollm_core.runtime.cache import Entry
    from robollm_core.runtime.tensorrt_build import BuildPlan

_FLAVOURS = ("tensorrt", "tensorrt_rtx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export tensorrt`."""
    parser.add_argument("artifacts", type=Path, nargs="*", metavar="ARTIFACT", help=".onnx files")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="all artifacts of a folder; models/tiny when nothing else is named",
    )
    parser.add_argument(
        "--flavour",
        choices=_FLAVOURS,
        help="default: tensorrt_rtx with --target, else the first that is installed",
    )
    parser.add_argument(
        "--target",
        type=lambda text: text.split(","),
        default=[],
        metavar="SM,...",
        help="GPUs to build for, such as sm86,sm89,sm120; default: the one of this machine",
    )
    parser.add_argument(
        "--build-only",
        action="store_true",
        help="do not load and run the engines; needed where there is no GPU, implied by --out",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the engines here instead of the cache"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")


def run(args: argparse.Namespace) -> int:
    """Build every artifact for every target, and print a table.

    Raises:
        ArtifactError: If an artifact is missing, damaged or cannot be built.
        RuntimeUnavailableError: If TensorRT or the GPU that was asked for is not there.
        CacheError: If an engine cannot be written.
    """
    from robollm_core import __version__
    from robollm_core.files import write_file
    from robollm_core.runtime.artifact import load_artifact

    flavour = args.flavour or _flavour(args)
    targets = _targets(flavour, args.target)
    loaded = [load_artifact(path) for path in _artifacts(args)]
    rows = []
    for file, sidecar in loaded:
        for target in targets:
            rows.append(_build(args, file, sidecar, (flavour, target)))
            print(_line(rows[-1]), flush=True)
        if not (args.build_only or args.out):
            print(f"  {_load(file, flavour)}", flush=True)
    if args.json is not None:
        command = shlex.join(["robollm", *sys.argv[1:]])
        facts = {"engines": rows, "command": command, "version": __version__}
        write_file(args.json, (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode())
    return 0


def _flavour(args: argparse.Namespace) -> str:
    from robollm_core.runtime.tensorrt_flavour import find_flavour

    reasons = []
    for name in _FLAVOURS[1:] if args.target else _FLAVOURS:
        try:
            return find_flavour(name).name
        except RuntimeUnavailableError as error:
            reasons.append(str(error))
    raise RuntimeUnavailableError(" ".join(reasons))


def _targets(flavour: str, named: list[str]) -> list[str]:
    from robollm_core.runtime.tensorrt_build import targets
    from robollm_core.runtime.tensorrt_flavour import CLASSIC, find_flavour

    found = find_flavour(flavour)
    if not named:
        return [_own_target(flavour)]
    if flavour == CLASSIC:
        raise RuntimeUnavailableError(
            f"tensorrt builds for the GPU of this machine alone, got --target {','.join(named)}. "
            "Leave --target out, or take --flavour tensorrt_rtx."
        )
    unknown = [name for name in named if name not in targets(found)]
    if unknown:
        raise RuntimeUnavailableError(
            f"{flavour} {found.version} builds for {', '.join(targets(found))}, got --target "
            f"{', '.join(unknown)}."
        )
    return named


def _own_target(flavour: str) -> str:
    from robollm_core.runtime.tensorrt_cuda import this_gpu
    from robollm_core.runtime.tensorrt_flavour import target_of

    try:
        return target_of(flavour, this_gpu())
    except RuntimeUnavailableError as error:
        raise RuntimeUnavailableError(
            f"{error} To build for other GPUs: --flavour tensorrt_rtx --target sm86,sm89,sm120 "
            "--build-only."
        ) from error


def _artifacts(args: argparse.Namespace) -> list[Path]:
    from robollm_core.runtime.artifact import locate, sidecar_path

    if args.artifacts and args.models is None:
        return list(args.artifacts)
    folder = locate(str(args.models or "models/tiny"))
    # networks without a sidecar are not artifacts of ours
    found = [path for path in sorted(folder.glob("*.onnx")) if sidecar_path(path).is_file()]
    if not found:
        raise ArtifactError(f"no artifact (x.onnx beside x.json) in {folder}. Name another folder.")
    return [*args.artifacts, *found]


def _build(
    args: argparse.Namespace, file: Path, sidecar: "Sidecar", wanted: tuple[str, str]
) -> dict[str, Any]:
    from robollm_core.config import RuntimeConfig
    from robollm_core.runtime.cache import cache_folder
    from robollm_core.runtime.tensorrt_build import BuildPlan
    from robollm_core.runtime.tensorrt_cache import ready_engine

    flavour, target = wanted
    plan = BuildPlan(file, flavour, target)
    cache = cache_folder(RuntimeConfig())
    entry = _entry(plan, sidecar, args.out, cache)
    there, start = entry.valid(), time.monotonic()
    engine = ready_engine(plan, entry, cache)
    return {
        "artifact": str(file),
        "stage": sidecar.stage,
        "precision": sidecar.precision,
        "target": target,
        "flavour": flavour,
        "flavour_version": str(entry.facts["version"]),
        "mb": round(len(engine) / 1e6, 2),
        "secs": round(time.monotonic() - start, 2),
        "built": not there,
        "path": str(entry.path),
    }


def _entry(plan: "BuildPlan", sidecar: "Sidecar", out: Path | None, cache: Path) -> "Entry":
    from robollm_core.runtime.tensorrt_cache import kept_engine, placed_engine

    return placed_engine(plan, sidecar, out) if out else kept_engine(plan, sidecar, cache)


def _load(file: Path, flavour: str) -> str:
    from robollm_core.config import RuntimeConfig
    from robollm_core.runtime.factory import load_engine

    return load_engine(file, RuntimeConfig(name=flavour, device="cuda")).description


def _line(row: dict[str, Any]) -> str:
    name = Path(row["artifact"]).name
    secs = f"{row['secs']:6.1f} s" if row["built"] else "was there"
    return (
        f"{name:32} {row['target']:6} {row['flavour']} {row['flavour_version']} "
        f"{row['precision']:13} {row['mb']:8.1f} MB {secs:>9}  {row['path']}"
    )
