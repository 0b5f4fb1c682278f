# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint into an artifact; refused when the two answer differently."""

import argparse
import shlex
import shutil
from pathlib import Path

from robollm_core.errors import OutputError
from robollm_core.files import replacing

STAGES = ("segmentation", "identification", "defects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export`."""
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="what robollm train or convert wrote"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the .onnx file to write; identification also writes X_fusion.onnx beside X.onnx",
    )
    parser.add_argument(
        "--keep-checkpoint",
        action="store_true",
        help="copy the checkpoint beside the artifact, for runtime.name torch",
    )


def run(args: argparse.Namespace) -> int:
    """Export every network of the stage; nothing is written before all have passed."""
    from robollm_core.export.stages import build_candidate, networks_of
    from robollm_core.runtime.artifact import write_artifact

    if args.out.suffix != ".onnx":
        raise OutputError(f"--out must end in .onnx, got {args.out}.")
    command = ["robollm", "export", args.stage, "--checkpoint", str(args.checkpoint)]
    rebuild = shlex.join([*command, "--out", str(args.out)])
    _keep_apart(args.checkpoint, args.out)
    fusion = args.out.with_name(f"{args.out.stem}_fusion.onnx")
    targets = {
        stage: fusion if stage.endswith("_fusion") else args.out
        for stage in networks_of(args.stage, args.checkpoint)
    }
    candidates = {stage: build_candidate(stage, args.checkpoint, rebuild) for stage in targets}
    for stage, candidate in candidates.items():
        write_artifact(targets[stage], candidate.network, candidate.sidecar)
        if args.keep_checkpoint:
            _keep(args.checkpoint, targets[stage])
        found = ", ".join(f"{name} {value:.1e}" for name, value in candidate.differences.items())
        size = len(candidate.network) / 1e6
        print(f"{targets[stage]}: {size:.1f} MB; largest differences: {found}")
    return 0


def _keep_apart(checkpoint: Path, out: Path) -> None:
    # x.json is the sidecar of x.safetensors as well as of x.onnx
    same = out.with_suffix("").resolve() == checkpoint.with_suffix("").resolve()
    if checkpoint.suffix == ".safetensors" and same:
        raise OutputError(
            f"{out} would overwrite {checkpoint.with_suffix('.json')}, the sidecar of the "
            "checkpoint. Choose another name or folder for --out."
        )


def _keep(checkpoint: Path, target: Path) -> None:
    from robollm_core.runtime.artifact import kept_checkpoint

    kept = kept_checkpoint(target, checkpoint.suffix)
    _copy(checkpoint, kept)
    if checkpoint.suffix == ".safetensors":
        _copy(checkpoint.with_suffix(".json"), kept.with_suffix(".json"))


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as part:
        shutil.copyfile(source, part)
