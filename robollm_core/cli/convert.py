# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a published or trained checkpoint into safetensors, accounting for every entry."""

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from robollm_core.files import write_file

if TYPE_CHECKING:
    from robollm_core.export.convert import Conversion

Row = tuple[str, int, str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm convert`."""
    parser.add_argument(
        "source", type=Path, metavar="IN", help="a .pth, .pt, .bin or .safetensors file"
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT.safetensors",
        help="the weights; what they are is written beside them, to OUT.json",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write what became of every single entry"
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was used, dropped and missing.

    Raises:
        RobollmError: If the file is none of the known ones or cannot be written.
    """
    from robollm_core.export.convert import convert, write

    conversion = convert(args.source)
    sidecar = write(conversion, args.out)
    if args.json is not None:
        write_file(args.json, (json.dumps(conversion.report(), indent=2) + "\n").encode())
    print(table(conversion))
    size = f"{conversion.encoder_parameters / 1e6:.2f} M parameters in the encoder"
    print(
        f"{args.out}: {conversion.title}, size {sidecar.get('size') or 'of its own'}, {size}, "
        f"stage {sidecar['stage']}, scoring {sidecar['scoring']}; sha256 {sidecar['sha256'][:16]}"
    )
    return 0


def table(conversion: "Conversion") -> str:
    """What became of the entries, those of one fate and kind in one line."""
    rows = [
        *_rows("used", {name: f"as {_part(ours)}" for name, ours in conversion.used.items()}),
        *_rows("dropped", conversion.dropped),
        *_rows("missing", conversion.missing),
    ]
    width = max(len(row[3]) for row in rows)
    lines = [
        f"{fate:8}{count:5}  {example:{width}}  {why}".rstrip()
        for fate, count, why, example in rows
    ]
    return "\n".join([f"{'':8}{'count':>5}  {'such as':{width}}  reason", *lines])


def _rows(fate: str, entries: Mapping[str, str]) -> Iterable[Row]:
    found: dict[str, list[str]] = {}
    for name, reason in entries.items():
        found.setdefault(reason, []).append(name)
    return [(fate, len(names), why, names[0]) for why, names in found.items()]


def _part(name: str) -> str:
    """The part of the network a name belongs to: the blocks count as one."""
    return (
        re.sub(r"blocks\.\d+\..*", "blocks.*", name).removesuffix(".weight").removesuffix(".bias")
    )
