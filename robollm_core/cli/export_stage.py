# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint into artifacts, refused when they answer differently.

Other precisions are derived from the fp32 network. Each is compared with it on real
frames and crops and measured on a small data set, and is written only when it keeps
within its limits; the report says what it cost.
"""

import argparse
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from robollm_core.errors import OutputError
from robollm_core.files import replacing

if TYPE_CHECKING:
    from robollm_core.export.gate import Verdict

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export STAGE`."""
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
        "--size",
        action="append",
        default=[],
        metavar="HxW",
        help="segmentation: also X_HxW.onnx, for images of this size (pixels, height first); may "
        "be given again; in place of the recipe's export_sizes",
    )
    parser.add_argument(
        "--keep-checkpoint",
        action="store_true",
        help="copy the checkpoint beside the artifact, for runtime.name torch",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["fp32"],
        help="also X.fp16.onnx and so on; X.onnx, in fp32, is always written",
    )
    add_gate_arguments(parser)


def add_gate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the parity gate takes; `robollm export runtimes` takes the same."""
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="int8: set to calibrate with, in ARMBench's layout of the stage, or with a folder a "
        "stage; its train or val is taken (default: made by the simulator)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="set on whose test split the metric must stay, or with a folder a stage (default: "
        "made by the simulator)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the table here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")


def run(args: argparse.Namespace) -> int:
    """Export every network of the stage; nothing is written before all have passed.

    Returns:
        0, or 1 when a precision was asked for that the gate did not let pass.

    Raises:
        RobollmError: If checkpoint, data or output are not as they should be.
    """
    from robollm_core.export.large import write_network
    from robollm_core.export.sizes import sized_path, sizes_of
    from robollm_core.export.stages import build_candidate, networks_of

    if args.out.suffix != ".onnx":
        raise OutputError(f"--out must end in .onnx, got {args.out}.")
    command = ["robollm", "export", args.kind, "--checkpoint", str(args.checkpoint)]
    sizes = [word for size in args.size for word in ("--size", size)]
    rebuild = shlex.join([*command, "--out", str(args.out), *sizes])
    _keep_apart(args.checkpoint, args.out)
    fusion = args.out.with_name(f"{args.out.stem}_fusion.onnx")
    targets = {
        sized_path(fusion if stage.endswith("_fusion") else args.out, size): (stage, size)
        for stage in networks_of(args.kind, args.checkpoint)
        for size in sizes_of(args.kind, args.checkpoint, args.size)
    }
    candidates = {
        target: build_candidate(stage, args.checkpoint, rebuild, size)
        for target, (stage, size) in targets.items()
    }
    for target, candidate in candidates.items():
        write_network(target, candidate.network, candidate.sidecar)
        if args.keep_checkpoint:
            _keep(args.checkpoint, target)
        found = ", ".join(f"{name} {value:.1e}" for name, value in candidate.differences.items())
        size = len(candidate.network) / 1e6
        print(f"{target}: {size:.1f} MB; largest differences: {found}")
    asked = [one for one in PRECISIONS if one in args.precision and one != "fp32"]
    mains = [target for target, (stage, _) in targets.items() if stage == args.kind]
    return _derive(args, mains, asked) if asked else 0


def _derive(args: argparse.Namespace, artifacts: Iterable[Path], asked: list[str]) -> int:
    """The other precisions of artifacts that were written, and the report."""
    from robollm_core.config import RuntimeConfig
    from robollm_core.export.derive import derive, samples_for
    from robollm_core.export.gate import Gate
    from robollm_core.export.samples import scenes
    from robollm_core.export.sets import GATE, set_of
    from robollm_core.export.verdicts import table, write_report

    config, offered = RuntimeConfig(), True
    data = set_of(GATE, args.kind, args.data, config)
    verdicts: list[Verdict] = []
    for artifact in artifacts:
        gate = Gate(args.kind, artifact, data, scenes())
        for precision in asked:
            samples = samples_for(gate, precision, args.calibration, config)
            derived = derive(gate, precision, samples)
            for path in derived.write(artifact, _again(args, precision)):
                print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
            offered = offered and bool(derived.networks)
            verdicts += derived.verdicts
    print(table(verdicts))
    report = args.report or args.out.with_suffix(".export.md")
    write_report(verdicts, {args.kind: str(data)}, report, args.json or report.with_suffix(".json"))
    return 0 if offered else 1


def _again(args: argparse.Namespace, precision: str) -> str:
    words = ["robollm", "export", args.kind, "--checkpoint", str(args.checkpoint)]
    words += ["--out", str(args.out), *(word for size in args.size for word in ("--size", size))]
    words += ["--precision", precision]
    for option in ("calibration", "data"):
        if (named := getattr(args, option)) is not None:
            words += [f"--{option}", str(named)]
    return shlex.join(words)


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
