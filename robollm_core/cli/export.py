# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint into an artifact; refused when the two answer differently."""

import argparse
import shlex
import shutil
from pathlib import Path

from robollm_core.data.files import replacing
from robollm_core.errors import OutputError

STAGES = ("segmentation", "identification", "defects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export`."""
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--checkpoint", type=Path, required=True, help="what training wrote")
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
    from robollm_core.export.stages import build_candidate
    from robollm_core.runtime.artifact import write_artifact

    if args.out.suffix != ".onnx":
        raise OutputError(f"--out must end in .onnx, got {args.out}.")
    command = ["robollm", "export", args.stage, "--checkpoint", str(args.checkpoint)]
    rebuild = shlex.join([*command, "--out", str(args.out)])
    targets = {args.stage: args.out}
    if args.stage == "identification":
        targets["identification_fusion"] = args.out.with_name(f"{args.out.stem}_fusion.onnx")
    candidates = {stage: build_candidate(stage, args.checkpoint, rebuild) for stage in targets}
    for stage, candidate in candidates.items():
        write_artifact(targets[stage], candidate.network, candidate.sidecar)
        if args.keep_checkpoint:
            _copy(args.checkpoint, targets[stage].with_suffix(".pt"))
        found = ", ".join(f"{name} {value:.1e}" for name, value in candidate.differences.items())
        size = len(candidate.network) / 1e6
        print(f"{targets[stage]}: {size:.1f} MB; largest differences: {found}")
    return 0


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as part:
        shutil.copyfile(source, part)
