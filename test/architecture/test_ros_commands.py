# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of the documents that are not ours alone: they name what exists, or what they need.

`robollm` and `make` commands are held by test_docs; those of the quickstart are run by
test/system/test_quickstart.py, the launch files by test/system/test_launch.py.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
OURS = re.compile(r"(\.venv/bin/)?(robollm|make)\b|export \w+=|\. ")
NEEDS = re.compile(r"# .*\b(needs?|not in rosdep|simulator|GPU)\b")
# workshop pages: their commands run on the machine that trains
WORKSHOP = {"training.md", "site.md"}


def lines(document: Path) -> list[str]:
    text = "\n".join(BLOCK.findall(document.read_text(encoding="utf-8")))
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def declared(launch_file: Path) -> set[str]:
    """The arguments a launch file declares: its tables of names, and those it includes."""
    tree = ast.parse(launch_file.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
        called = isinstance(node, ast.Call) and getattr(node.func, "id", "")
        if called == "DeclareLaunchArgument" and isinstance(node.args[0], ast.Constant):
            names.add(node.args[0].value)
    if launch_file.name != "perception.launch.py":
        names |= declared(launch_file.with_name("perception.launch.py"))
    return names


def programs() -> set[str]:
    return set(re.findall(r'"(\w+) = robollm_ros\.', (ROOT / "setup.py").read_text()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_launch_commands_name_what_is_declared(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for file, rest in re.findall(r"ros2 launch robollm (\w+\.launch\.py)([^\n`#]*)", text):
        assert (ROOT / "launch" / file).is_file(), file
        given = {word.partition(":=")[0] for word in shlex.split(rest) if ":=" in word}
        assert given <= declared(ROOT / "launch" / file), (file, given)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_programs_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"ros2 run robollm (\w+)", text):
        assert name in programs(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_foreign_command_needs_is_said(document: Path) -> None:
    if document.name in WORKSHOP:
        pytest.skip("a page of the workshop")
    blocks = BLOCK.findall(document.read_text(encoding="utf-8"))
    for block in blocks:
        foreign = [line for line in block.splitlines() if line.strip() and not OURS.match(line)]
        foreign = [line for line in foreign if not line.startswith((" ", "#"))]
        # one word of it in a block is enough: a block is run on one machine
        assert not foreign or NEEDS.search(block) or "ros2_ws" in block, foreign
