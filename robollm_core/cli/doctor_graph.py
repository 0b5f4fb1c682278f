# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm doctor --graph`: what is wrong with a running cell, and what to do.

The looking is done by a program of robollm_ros, as a process: the core itself never imports ROS.
Exit code 0 when all is well, 1 when something is wrong, 2 when there is no graph.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.errors import DependencyError, RobollmError
from robollm_core.files import write_file
from robollm_core.runtime.artifact import own_environment

SECONDS = 5.0
"""How long the graph is listened to."""
EXIT_WELL, EXIT_UNWELL, EXIT_NO_GRAPH = 0, 1, 2
_PROGRAM = "robollm_ros.graph_doctor"
_MARKS = ("--", "! ", "!!")
_WORDS = ("note", "warning", "error")
_PATIENCE_S = 120.0


def look_at_graph(seconds: float, namespace: str, report: Path | None) -> int:
    """Let the program look, print what it found, and write it where asked.

    Args:
        seconds: how long to listen.
        namespace: of the cells to look at; "" for all.
        report: JSON file for the findings; None for none.

    Returns:
        The exit code.

    Raises:
        DependencyError: If ROS is not installed.
        RobollmError: If the program fails.
        OutputError: If the report cannot be written.
    """
    found = _ask(seconds, namespace)
    print(describe(found))
    if report:
        write_file(report, (json.dumps(found, indent=1) + "\n").encode())
    return exit_code(found)


def exit_code(found: Mapping[str, Any]) -> int:
    """The exit code that the findings mean."""
    if not found["nodes"]:
        return EXIT_NO_GRAPH
    return EXIT_WELL if found["well"] else EXIT_UNWELL


def describe(found: Mapping[str, Any]) -> str:
    """The findings as text: the cells, then what is wrong, with the mend below each."""
    lines = [
        f"robollm {__version__}: ROS domain {found['domain']}, {len(found['nodes'])} node(s), "
        f"listened for {found['seconds']:.0f} s",
        "",
    ]
    for cell in found["cells"]:
        lines.append(f"{cell['name']} is {cell['state'] or 'silent'}")
        lines += [f"  {text}" for text in _cameras(cell["statuses"])]
    lines.append("")
    for finding in found["findings"]:
        lead = f"{finding['node']}: " if finding["node"] else ""
        lines.append(f"{_MARKS[finding['level']]} {lead}{finding['what']}")
        lines.append(f"   -> {finding['mend']}")
    return "\n".join([*lines, "", _verdict(found["findings"])])


def _cameras(statuses: Mapping[str, Any]) -> list[str]:
    texts = []
    for name, status in statuses.items():
        if name.startswith("input/"):
            values = status["values"]
            told = [f"{values[key]} {key}" for key in ("hz", "size", "processed") if key in values]
            texts.append(f"{name}: {', '.join(told)}" if told else name)
    return texts


def _verdict(findings: Sequence[Mapping[str, Any]]) -> str:
    counts = [sum(1 for each in findings if each["level"] == level) for level in (2, 1)]
    if not any(counts):
        return "all is well"
    told = [f"{count} {_WORDS[2 - index]}(s)" for index, count in enumerate(counts) if count]
    return f"{' and '.join(told)}, the most serious first; docs/troubleshooting.md tells more"


def _ask(seconds: float, namespace: str) -> Mapping[str, Any]:
    if importlib.util.find_spec("rclpy") is None:
        raise DependencyError(
            "doctor --graph needs ROS 2, which is not installed: run `make setup`, or source a "
            "ROS 2 installation."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.json"
        flags = ["--seconds", str(seconds), "--namespace", namespace, "--json", str(path)]
        command = [sys.executable, "-m", _PROGRAM, *flags]
        try:
            done = subprocess.run(
                command,
                env=own_environment(os.environ),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=seconds + _PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RobollmError(
                f"the look at the graph did not end within {seconds + _PATIENCE_S:.0f} s. Look at "
                "the load of this machine, or at one cell alone with --namespace."
            ) from error
        if not path.exists():
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise RobollmError(f"the look at the graph failed: {said[0]}")
        tree: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return tree
