# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm export check`: would a runtime on another machine take these artifacts?"""

import argparse
import json
from pathlib import Path
from typing import Any

from robollm_core.errors import ArtifactError, OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export check`."""
    parser.add_argument("artifacts", nargs="*", type=Path, metavar="ARTIFACT", help=".onnx files")
    parser.add_argument("--models", type=Path, metavar="DIR", help="check every .onnx file of DIR")
    parser.add_argument(
        "--target",
        choices=("tensorrt10",),
        default="tensorrt10",
        help="whose limits: tensorrt10 is TensorRT 10.3 on Jetson (default)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found here")


def run(args: argparse.Namespace) -> int:
    """Print each node that would be refused; 0 when there is none, 1 otherwise.

    Raises:
        ArtifactError: If a file is missing or no network, or there is none to check.
    """
    from robollm_core.export.check import read_target
    from robollm_core.files import write_file

    target = read_target(args.target)
    found = [_check(path, args.target) for path in _files(args)]
    count = sum(len(entry["offences"]) for entry in found)
    print(f"{len(found)} artifacts, {count} offences; {target.version}")
    if args.json is not None:
        told = {"target": target.name, "version": target.version, "source": target.source}
        text = json.dumps({**told, "artifacts": found}, indent=2, sort_keys=True)
        write_file(args.json, (text + "\n").encode())
    return 1 if count else 0


def _files(args: argparse.Namespace) -> list[Path]:
    files: list[Path] = list(args.artifacts)
    if args.models is not None:
        inside = sorted(args.models.glob("*.onnx"))
        if not inside:
            raise ArtifactError(f"no .onnx file in {args.models}.")
        files += inside
    if not files:
        raise OutputError("nothing to check: name .onnx files, or a folder with --models DIR.")
    return files


def _check(path: Path, target: str) -> dict[str, Any]:
    from robollm_core.export.check import check_file, read_target
    from robollm_core.files import file_sha256
    from robollm_core.runtime.artifact import load_artifact, sidecar_path

    if sidecar_path(path).is_file():
        path, _ = load_artifact(path.resolve())
    offences = check_file(path, read_target(target))
    print(f"{path}: {'clean' if not offences else f'{len(offences)} offences'}")
    for offence in offences:
        print(f"  {offence.line()}")
    entries = [{name: getattr(offence, name) for name in offence.__slots__} for offence in offences]
    return {"file": str(path), "sha256": file_sha256(path), "offences": entries}
