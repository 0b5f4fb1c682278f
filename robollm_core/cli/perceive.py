# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Find, name and inspect what is on image files; prints one JSON line an image."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from robollm_core.cell import build_stages
from robollm_core.cli.arguments import add_config_arguments, read_config
from robollm_core.data.folder import image_files, read_frame
from robollm_core.data.rle import encode_instance
from robollm_core.files import write_file
from robollm_core.identification.stage import prepare_whole
from robollm_core.images import encode_jpeg
from robollm_core.manifests import read_manifest
from robollm_core.overlay import draw_overlay
from robollm_core.pipeline import perceive
from robollm_core.types import ItemReport, PerceptionResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm perceive`."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files or folders")
    parser.add_argument(
        "--manifest",
        type=Path,
        help="what the container holds; its reference paths start from the manifest's folder, or "
        "from identification.reference_root when that is set. Without one nothing is named",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write there, not to stdout")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="draw what was found as JPEG")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer each image; bad input ends the run before anything is written."""
    files = list(image_files(args.images))
    manifest = read_manifest(args.manifest) if args.manifest else None
    config = read_config(args, args.manifest or Path("manifest.json"))
    stages = build_stages(config)
    if manifest is not None:
        prepare_whole(stages.identification, manifest)
    lines: list[str] = []
    drawn: dict[str, bytes] = {}
    for file in files:
        frame = read_frame(file)
        result = perceive(frame, manifest, stages)
        lines.append(json.dumps(describe_result(str(file), result)))
        if args.overlay:
            overlay = encode_jpeg(draw_overlay(frame.image_rgb, result))
            drawn[_free_name(file, drawn)] = overlay
    for name, data in drawn.items():
        write_file(args.overlay / name, data)
    text = "".join(line + "\n" for line in lines)
    if args.json:
        write_file(args.json, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def describe_result(file: str, result: PerceptionResult) -> dict[str, Any]:
    """A result as the JSON object of one line."""
    instances = [_describe(report, result.image_size_px) for report in result.items]
    return {"file": file, "instances": instances}


def _describe(report: ItemReport, image_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "box_xyxy_px": list(report.instance.box_xyxy_px),
        "score": report.instance.score,
        "label": report.instance.label,
        "rle": encode_instance(report.instance, image_hw),
        "candidates": [list(candidate) for candidate in report.identification.candidates],
        "item_id": report.identification.item_id,
        "defect": report.defect.label,
    }


def _free_name(file: Path, taken: dict[str, bytes]) -> str:
    """The file's stem as a JPEG; images of one name from two folders get numbers."""
    name, number = f"{file.stem}.jpg", 2
    while name in taken:
        name, number = f"{file.stem}-{number}.jpg", number + 1
    return name
