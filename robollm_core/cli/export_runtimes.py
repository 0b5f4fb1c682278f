# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Bring artifacts to every runtime that is installed here, and print the parity table.

Each precision is derived, compared with the fp32 network on real frames and crops,
measured on a small data set and written only when it keeps within its limits.
TensorRT-RTX engines are built for GPUs that need not be here; they are not run.
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from robollm_core.cli.export_stage import PRECISIONS, add_gate_arguments

if TYPE_CHECKING:
    from robollm_core.export.gate import Verdict

_DERIVED = PRECISIONS[1:]
_STAGES = ("segmentation", "identification", "defects")
_RUNTIMES = ("onnx", "openvino", "torch", "tensorrt_rtx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm export runtimes`."""
    add = parser.add_argument
    add("--models", type=Path, default=Path("models/tiny"), metavar="DIR",
        help="folder with the fp32 artifacts (default models/tiny)")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for what passes")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(_DERIVED),
        help="which to derive; fp32 is what is there (default: all)")  # fmt: skip
    add("--runtime", nargs="+", choices=_RUNTIMES, default=[],
        help="for which (default: all that are installed)")  # fmt: skip
    add("--stage", nargs="+", choices=_STAGES, default=[], help="which stages (default: all)")
    add("--target", type=lambda text: text.split(","), default=["sm86", "sm89", "sm120"],
        metavar="SM,...", help="GPUs of the engines (default sm86,sm89,sm120)")  # fmt: skip
    add_gate_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Export, print the table, write it.

    Returns:
        0, or 1 when anything was refused.

    Raises:
        RobollmError: If artifacts, data, tools or output are not as they should be.
    """
    from robollm_core.export.runtimes import (
        Plan,
        export_runtimes,
        runtimes_here,
        sets_of,
        stages_in,
    )
    from robollm_core.export.verdicts import refused, table, write_report
    from robollm_core.runtime.artifact import locate

    models = args.models if args.models.exists() else locate(str(args.models))
    plan = Plan(
        models=models,
        out=args.out,
        precisions=[one for one in _DERIVED if one in args.precision],
        runtimes=runtimes_here(args.runtime),
        data=args.data,
        calibration=args.calibration,
        targets=args.target,
        rebuild=_again(args),
        stages=args.stage or stages_in(models),
    )
    verdicts = export_runtimes(plan, _tell)
    print(table(verdicts))
    report = args.report or args.out / "parity.md"
    write_report(verdicts, sets_of(plan), report, args.json or report.with_suffix(".json"))
    return 1 if refused(verdicts) else 0


def _tell(verdict: "Verdict") -> None:
    said = verdict.reason or verdict.note or "passed"
    kept = f", fp32 kept: {verdict.islands}" if verdict.islands else ""
    what = f"{verdict.stage} {verdict.precision} on {verdict.runtime}{kept}"
    print(f"{what}: {said}", flush=True)


def _again(args: argparse.Namespace) -> str:
    words = ["robollm", "export", "runtimes", "--models", str(args.models), "--out", str(args.out)]
    for option in ("calibration", "data"):
        if (named := getattr(args, option)) is not None:
            words += [f"--{option}", str(named)]
    return shlex.join(words)
