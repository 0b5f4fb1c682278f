# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench engines`: time of each network on each runtime, against the machine's peak."""

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = (
    "Time the networks on the runtimes that are here, beside torch and beside products of square "
    "matrices, all in turns. Tiny networks are the shipped ones; base and large are built with "
    "random weights, once, which needs the workshop's install. Ends with 1 when a target of a CPU "
    "with AMX is missed."
)
_NAMES = {"segmenter": "segmentation", "embedder": "identification", "classifier": "defects"}
_RUNTIMES = ("onnx", "openvino", "torch", "torch-compile", "tensorrt", "tensorrt_rtx")
_PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to measure and for how long."""
    what = parser.add_argument_group("networks")
    source = what.add_mutually_exclusive_group()
    source.add_argument("--size", nargs="+", default=["tiny"], choices=("tiny", "base", "large"))
    source.add_argument(
        "--models", type=Path, metavar="DIR", help="artifacts to measure in place of --size"
    )
    what.add_argument(
        "--stage", nargs="+", default=list(_NAMES), choices=(*_NAMES, *_NAMES.values())
    )
    what.add_argument("--image", type=_image, metavar="HxW", help="pixels; default: the recipe's")
    on = parser.add_argument_group("runtimes")
    on.add_argument("--runtime", nargs="+", default=[], choices=_RUNTIMES, help="default: all here")
    on.add_argument("--precision", nargs="+", default=[], choices=_PRECISIONS)
    on.add_argument("--batch", nargs="+", type=int, default=[1, 8], metavar="N")
    on.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    on.add_argument("--threads", type=int, default=0, metavar="N", help="0: one each core")
    how = parser.add_argument_group("measurement")
    how.add_argument("--rounds", type=int, default=15, help="turns of each row (default 15)")
    how.add_argument(
        "--seconds", type=float, default=90.0, help="about so long a network (default 90)"
    )
    how.add_argument("--seed", type=int, default=0, help="of order, weights and pictures")
    how.add_argument(
        "--peak-size", nargs="+", type=int, default=[], metavar="N", help="edges of the matrices"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write the table here")


def _image(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not (separator and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"an image is HxW, such as 1024x1024, got {text!r}")
    return int(height), int(width)


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Time and print.

    Returns:
        The figures, and whether no binding target was missed.

    Raises:
        RobollmError: If a network or an output is not as it should be.
    """
    from robollm_core.bench.engines import Request, measure
    from robollm_core.bench.plots import draw, markdown, table
    from robollm_core.bench.targets import all_kept
    from robollm_core.bench.timing import Plan
    from robollm_core.files import write_file

    request = Request(
        sizes=tuple(args.size),
        stages=tuple(dict.fromkeys(_NAMES.get(name, name) for name in args.stage)),
        runtimes=tuple(args.runtime),
        precisions=tuple(args.precision),
        batches=tuple(args.batch),
        image_hw=args.image,
        models=args.models,
        device=args.device,
        threads=args.threads,
        peak_sizes=tuple(args.peak_size),
        plan=Plan(args.rounds, args.seconds, args.seed),
    )
    figures = measure(request)
    print(table(figures))
    if args.plot is not None:
        write_file(args.plot, draw(figures))
    if args.markdown is not None:
        write_file(args.markdown, markdown(figures).encode())
    return figures, all_kept(figures["targets"])
