# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the reference embeddings of a cell in one file: make it, change it, look at it, check it."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robollm_core.cli.arguments import add_config_arguments, config_in_force

if TYPE_CHECKING:
    from robollm_core.cli.gallery_source import Source
    from robollm_core.config import Config
    from robollm_core.identification.gallery_edit import Collected
    from robollm_core.identification.gallery_file import GalleryFile

_TOLD = 10
"""Things that are wrong and printed; --json has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb, one thing to do a word."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, does in _KINDS.items():
        options = kinds.add_parser(name, help=_first_line(does), description=does.__doc__)
        options.add_argument("file", type=Path, metavar="FILE", help="the gallery file")
        options.add_argument("--json", type=Path, metavar="OUT", help="write the findings here")
        options.set_defaults(do=does)
        if name in ("build", "add"):
            options.add_argument(
                "source", type=Path, metavar="SOURCE", nargs="?" if name == "build" else None,
                help="a folder of ITEM_ID/IMAGE.jpg, or a manifest; paths in the file start from "
                "it, or from identification.reference_root where that is set",
            )  # fmt: skip
    remove, info, verify = (kinds.choices[name] for name in ("remove", "info", "verify"))
    remove.add_argument("items", nargs="*", metavar="ITEM_ID", help="item to take out")
    remove.add_argument(
        "--unused", action="store_true", help="drop embeddings of images that are of no item"
    )
    info.add_argument("--items", action="store_true", help="list the items")
    verify.add_argument(
        "--root", type=Path, metavar="DIR", help="where paths start (default: as when it was built)"
    )
    for options in (kinds.choices["build"], kinds.choices["add"], verify):
        add_config_arguments(options)


def run(args: argparse.Namespace) -> int:
    """Do it; 1 when something about the gallery is wrong.

    Raises:
        RobollmError: If it cannot be done at all; the file is then as it was.
    """
    return int(args.do(args))


def _build(args: argparse.Namespace) -> int:
    """Make a gallery of a folder or a manifest, or an empty one that a cell fills.

    Items that a file has already are replaced by what SOURCE has, in one step at the end. A run
    that was interrupted goes on where it was.
    """
    from robollm_core.identification.gallery_edit import fill
    from robollm_core.identification.gallery_file import GalleryFile

    source = _source(args)
    if args.file.exists():
        file = GalleryFile.of_any(args.file, source.network)
    else:
        file = GalleryFile.create(args.file, source.network, str(source.root))
    done = source.collect(file)
    file = fill(file, done.items, source.network, str(source.root))
    return _report(args, file, done)


def _add(args: argparse.Namespace) -> int:
    """Put the items of a folder or a manifest in; one that is there already is replaced."""
    from robollm_core.errors import GalleryError
    from robollm_core.identification.gallery_edit import add
    from robollm_core.identification.gallery_file import GalleryFile

    source = _source(args)
    file = GalleryFile(args.file, source.network)
    if file.meta.get("root") != str(source.root):
        raise GalleryError(
            f"the paths in {args.file} start from {file.meta.get('root')}, those of {args.source} "
            f"from {source.root}. Name the one root of both: --set identification.reference_root="
            f"{file.meta.get('root')}."
        )
    done = source.collect(file)
    add(file, done.items)
    return _report(args, GalleryFile(args.file, source.network), done)


def _remove(args: argparse.Namespace) -> int:
    """Take items out, with the embeddings that no other item needs."""
    from robollm_core.errors import ConfigError
    from robollm_core.identification.gallery_edit import drop_unused, remove
    from robollm_core.identification.gallery_file import GalleryFile

    if not args.items and not args.unused:
        raise ConfigError("name an item to take out, or --unused.")
    file = GalleryFile(args.file)
    remove(file, args.items)
    dropped = drop_unused(file) if args.unused else 0
    told = _facts(GalleryFile(args.file))
    print(f"{_summary(told)}; {len(args.items)} items removed, {dropped} unused embeddings dropped")
    _write(args.json, {**told, "removed": args.items, "dropped": dropped})
    return 0


def _info(args: argparse.Namespace) -> int:
    """Show what a gallery has."""
    from robollm_core.identification.gallery_file import GalleryFile

    file = GalleryFile(args.file)
    told, items = _facts(file), file.list_items()
    print(_summary(told))
    print(
        f"  paths start from {told['root'] or 'the reference root'}; content {told['sha256'][:12]}"
    )
    print(f"  {told['unused']} embeddings of images that are of no item, as a cell has met them")
    if args.items:
        for item in items:
            print(f"  {item.item_id}  {len(item.images)} images  {json.dumps(item.text)}")
    listed = {item.item_id: dict(item.images) for item in items}
    _write(args.json, {**told, "images": listed})
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Read every reference image again and hold it against the gallery; 1 when they differ."""
    from tqdm import tqdm

    from robollm_core.errors import ArtifactError
    from robollm_core.identification.embedder import network_of
    from robollm_core.identification.gallery_check import KINDS, verify
    from robollm_core.identification.gallery_file import GalleryFile
    from robollm_core.identification.references import ReferenceRoot
    from robollm_core.runtime.artifact import load_artifact

    file = GalleryFile(args.file)
    told = _facts(file)
    config = config_in_force(args.config, args.assignments)
    try:
        network = network_of(load_artifact(config.identification.artifact)[1])
    except ArtifactError as error:  # the file can be held against its images all the same
        print(f"robollm: the network is not compared: {error}", file=sys.stderr)
        network = None
    root = args.root or Path(told["root"] or config.identification.reference_root)
    with tqdm(total=told["references"], desc="verify", unit="image", mininterval=1.0) as bar:
        findings = verify(file, ReferenceRoot(root), network, bar.update)
    counts = {kind: count for kind, count in findings.counts().items() if count}
    for kind, place, what in findings.found[:_TOLD]:
        print(f"  {kind}: {place}: {what}")
    if len(findings.found) > _TOLD:
        print(f"  and {len(findings.found) - _TOLD} more; --json has all of them")
    wrong = ", ".join(f"{count} {KINDS[kind]}" for kind, count in counts.items())
    print(f"{_summary(told)}; {wrong or 'all of it is true'}")
    found = [{"kind": kind, "place": place, "what": what} for kind, place, what in findings.found]
    _write(args.json, {**told, "ok": not found, "counts": findings.counts(), "findings": found})
    return 1 if found else 0


_KINDS = {"build": _build, "add": _add, "remove": _remove, "info": _info, "verify": _verify}


def _first_line(does: Any) -> str:
    return str(does.__doc__).partition("\n")[0].rstrip(".").lower()


def _source(args: argparse.Namespace) -> "Source":
    from robollm_core.cli.gallery_source import Source

    config: Config = config_in_force(args.config, args.assignments)
    return Source(args.source, config)


def _report(args: argparse.Namespace, file: "GalleryFile", done: "Collected") -> int:
    for item_id, reason in done.unreadable[:_TOLD]:
        print(f"  {item_id}: {reason}", file=sys.stderr)
    if len(done.unreadable) > _TOLD:
        print(f"  and {len(done.unreadable) - _TOLD} more; --json has all of them", file=sys.stderr)
    told = _facts(file)
    unreadable = [{"item_id": item_id, "reason": reason} for item_id, reason in done.unreadable]
    print(f"{_summary(told)}; {len(done.items)} items put in, {len(unreadable)} images unreadable")
    _write(args.json, {**told, "bare": done.bare, "unreadable": unreadable})
    return 1 if unreadable or done.bare else 0


def _facts(file: "GalleryFile") -> dict[str, Any]:
    from robollm_core.identification.gallery_check import facts

    return facts(file)


def _summary(told: dict[str, Any]) -> str:
    return (
        f"{told['path']}: {told['items']} items ({told['bare_items']} without an image), "
        f"{told['references']} reference images, {told['bytes'] / 1e6:.1f} MB, network "
        f"{told['model'][:12]}"
    )


def _write(path: Path | None, tree: dict[str, Any]) -> None:
    from robollm_core.files import write_file

    if path is not None:
        write_file(path, (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode())
