# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Make, check or look at a model bundle: networks, thresholds and licences in one file."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robollm_core.cli.arguments import add_config_arguments

if TYPE_CHECKING:
    from robollm_core.runtime.bundle_description import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb, one thing to do a word."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    make = kinds.add_parser("make", help="pack a folder of networks", description=_make.__doc__)
    _add_make(make)
    check = kinds.add_parser("check", help="verify every byte", description=_check.__doc__)
    info = kinds.add_parser("info", help="show what it says of itself", description=_info.__doc__)
    for options, what in ((check, _check), (info, _info)):
        options.add_argument("path", type=Path, metavar="PATH", help="folder, .tar or .tar.gz")
        options.set_defaults(do=what)
    for options in (make, check, info):
        options.add_argument("--json", type=Path, metavar="FILE", help="write the findings here")


def _add_make(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--models", type=Path, required=True, help="folder with the three networks, sidecars, cards"
    )
    add("--out", type=Path, required=True, metavar="PLACE", help="x.tar, or a folder to make")
    add("--name", help="of the bundle (default: that of the folder)")
    add("--version", default="1", help="of the bundle (default 1)")
    add("--date", default="", metavar="YYYY-MM-DD", help="of the bundle (default: none)")
    add("--precision", action="append", default=[], metavar="P", dest="precisions",
        help="bring X.P.onnx of each stage too, such as fp16; may be repeated")  # fmt: skip
    add("--size", action="append", default=[], metavar="HxW", dest="sizes",
        help="bring segmentation_HxW.onnx too; may be repeated")  # fmt: skip
    add("--engines", type=Path, metavar="DIR",
        help="bring the networks' engines in this folder too, X.GPU.RUNTIME.engine")  # fmt: skip
    add("--licence", type=Path, action="append", default=[], metavar="FILE", dest="licences",
        help="bring this licence text too; may be repeated")  # fmt: skip
    add_config_arguments(parser)
    parser.set_defaults(do=_make)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when the bundle is sound.

    Raises:
        RobollmError: If it is not, or cannot be made.
    """
    return int(args.do(args))


def _make(args: argparse.Namespace) -> int:
    """Write a bundle of a folder of networks: the same input gives the same bytes."""
    from robollm_core.config import given
    from robollm_core.export.bundle import Contents, make_bundle

    contents = Contents(
        models=args.models,
        name=args.name or args.models.resolve().name,
        version=args.version,
        date=args.date,
        values=given(args.config, args.assignments),
        precisions=tuple(dict.fromkeys(args.precisions)),
        sizes=tuple(dict.fromkeys(args.sizes)),
        engines=args.engines,
        licences=tuple(args.licences),
    )
    bundle = make_bundle(contents, args.out)
    print(f"{args.out}: {_summary(bundle)}")
    _write(args.json, {**_facts(bundle), "ok": True})
    return 0


def _check(args: argparse.Namespace) -> int:
    """Verify every size, sha256 and sidecar of a bundle; nothing is unpacked."""
    from robollm_core.errors import RobollmError
    from robollm_core.runtime.bundle import check_bundle

    try:
        bundle = check_bundle(args.path)
    except RobollmError as error:
        _write(args.json, {"path": str(args.path), "ok": False, "fault": str(error)})
        raise
    print(f"{args.path}: sound; {_summary(bundle)}")
    _write(args.json, {**_facts(bundle), "ok": True})
    return 0


def _info(args: argparse.Namespace) -> int:
    """Show what bundle.json says; `robollm bundle check` says whether it is true."""
    from robollm_core.runtime.bundle import read_description
    from robollm_core.runtime.bundle_description import parse_description

    bundle = parse_description(read_description(args.path), args.path)
    tree = bundle.tree
    print(f"{args.path}: {_summary(bundle)}")
    said = {key: tree[key] for key in ("date", "license", "made_with", "needs")}
    print("".join(f"\n{key.replace('_', ' '):12}{value or 'none'}" for key, value in said.items()))
    for stage in tree["stages"]:
        print(f"\n{stage}\n{_stage_lines(bundle, stage)}")
    print("\nthresholds")
    for name, value in tree["values"].items():
        print(f"  {name:34}{value}")
    print("\nfiles")
    for name, listed in bundle.files.items():
        print(f"  {listed.sha256[:12]}  {listed.bytes:>12,}  {name}")
    _write(args.json, {**_facts(bundle), "description": tree})
    return 0


def _stage_lines(bundle: "Bundle", stage: str) -> str:
    facts = bundle.tree["stages"][stage]
    shown = {
        "artifact": facts["artifact"],
        "precision": facts["precision"],
        "others": ", ".join(bundle.artifacts(stage)[1:]),
        # as JSON, which escapes what a terminal would obey
        **{key: json.dumps(facts[key]) for key in ("labels", "preprocessing", "gallery")
           if key in facts},
    }  # fmt: skip
    return "\n".join(f"  {key:15}{value}" for key, value in shown.items() if value)


def _summary(bundle: "Bundle") -> str:
    total = sum(listed.bytes for listed in bundle.files.values())
    return f"bundle {bundle.title}, {len(bundle.files)} files, {total / 1e6:.1f} MB"


def _facts(bundle: "Bundle") -> dict[str, Any]:
    return {
        "path": str(bundle.source),
        "name": bundle.tree["name"],
        "version": bundle.tree["version"],
        "sha256": bundle.sha256,
        "files": len(bundle.files),
        "bytes": sum(listed.bytes for listed in bundle.files.values()),
    }


def _write(path: Path | None, tree: dict[str, Any]) -> None:
    from robollm_core.files import write_file

    if path is not None:
        write_file(path, (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode())
