# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`--help` of a program whose only arguments are ROS parameters."""

import sys
import textwrap
from collections.abc import Iterable, Sequence

from rclpy.utilities import remove_ros_args

from robollm_core.config import Leaf
from robollm_ros.program import EXIT_REFUSED

_WIDTH = 100


def answered(
    program: str, doc: str, leaves: Iterable[Leaf], arguments: Sequence[str] | None = None
) -> int | None:
    """Answer a call for help, or refuse words that nobody reads.

    Args:
        program: its name.
        doc: what it does.
        leaves: its parameters.
        arguments: of the process, its own name first; None for sys.argv.

    Returns:
        The exit code; None when the program is to run.
    """
    words = remove_ros_args(sys.argv if arguments is None else list(arguments))[1:]
    if {"-h", "--help"} & set(words):
        print(usage(program, doc, leaves), flush=True)
        return 0
    if words:
        print(
            f"robollm: {program} takes parameters alone, as in `{program} --ros-args -p "
            f"NAME:=VALUE`, got {' '.join(words)}. `{program} --help` lists them.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return EXIT_REFUSED
    return None


def usage(program: str, doc: str, leaves: Iterable[Leaf]) -> str:
    """The page: what it does, how it is called, and each parameter with its default."""
    lines = [
        f"usage: {program} [--help] [--ros-args [-p NAME:=VALUE ...] [--params-file FILE] ...]",
        "",
        doc.strip(),
        "",
        "parameters:",
    ]
    for leaf in leaves:
        lines.append(f"  {leaf.name} (default {_shown(leaf)})")
        lines += textwrap.wrap(
            leaf.doc + _limits(leaf), _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _shown(leaf: Leaf) -> str:
    if isinstance(leaf.default, bool):
        return str(leaf.default).lower()
    return '""' if leaf.default == "" else str(leaf.default)


def _limits(leaf: Leaf) -> str:
    if leaf.choices:
        return f" One of {', '.join(leaf.choices)}."
    if leaf.low is None or leaf.high is None:
        return ""
    return f" {leaf.low} to {leaf.high}."
