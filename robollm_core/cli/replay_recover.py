# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Save what is whole of an .mcap file that was cut off, as a recorder leaves it when killed."""

import argparse
import json
from pathlib import Path

from robollm_core.data.salvage import as_json, salvage
from robollm_core.errors import ConfigError
from robollm_core.files import write_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm replay recover`."""
    add = parser.add_argument
    add("broken", type=Path, metavar="BROKEN", help="an .mcap, or FILE.mcap.....part of a recorder")
    add("--out", type=Path, required=True, help="the .mcap file to write")
    add("--json", type=Path, metavar="FILE", help="write what was saved to this file")


def run(args: argparse.Namespace) -> int:
    """Save; 0 when anything was."""
    if args.out.resolve() == args.broken.resolve():
        raise ConfigError(f"--out {args.out} is the damaged file itself. Choose another file.")
    saved = salvage(args.broken, args.out)
    seconds = (saved.last_ns - saved.first_ns) / 1e9
    print(
        f"{args.out}: {saved.messages} messages over {seconds:.1f} s saved, {saved.lost_bytes} "
        "bytes at the end left out (an index counts among them)"
    )
    if args.json:
        write_file(args.json, (json.dumps(as_json(saved), indent=1) + "\n").encode())
    return 0
