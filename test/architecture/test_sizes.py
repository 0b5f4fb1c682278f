# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Ceilings of the house: nothing grows past what one reader can hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("robollm_core", "robollm_ros", "launch", "test", "docs")
FUNCTION_LINES = 50
FILE_LINES = 400
NODE_LINES = 150
LAUNCH_LINES = 80
PARAMETERS = 6
Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = [path for path in found if "build" not in path.relative_to(ROOT).parts]
    assert len(found) > 50, "the folders have moved"
    return sorted(found)


def file_limit(path: Path) -> int:
    if path.name.endswith("_node.py") and path.parent.name == "robollm_ros":
        return NODE_LINES
    if path.name.endswith(".launch.py"):
        return LAUNCH_LINES
    return FILE_LINES


def faults(source: str, limit: int) -> Iterator[str]:
    lines = len(source.splitlines())
    if lines > limit:
        yield f"{lines} lines in the file, at most {limit}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            yield from function_faults(node)


def function_faults(node: Function) -> Iterator[str]:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > FUNCTION_LINES:
        yield f"line {node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    count = len([name for name in names if name not in ("self", "cls")])
    if count > PARAMETERS:
        yield f"line {node.lineno}: {node.name} takes {count} parameters, at most {PARAMETERS}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_to_the_ceilings(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"), file_limit(path))) == []


def test_the_ceilings_are_noticed() -> None:
    long_function = "def f():\n" + "    pass\n" * FUNCTION_LINES
    wide_function = "def g(a, b, /, c, *, d, e, f, g): ...\n"
    assert [fault.split(":")[0] for fault in faults(long_function, 40)] == [
        f"{FUNCTION_LINES + 1} lines in the file, at most 40",
        "line 1",
    ]
    assert list(faults(wide_function, 40)) == ["line 1: g takes 7 parameters, at most 6"]
    assert list(faults("class A:\n    def g(self, a, b, c, d, e, f): ...\n", 40)) == []
    assert file_limit(ROOT / "robollm_ros/perception_node.py") == NODE_LINES
    assert file_limit(ROOT / "launch/perception.launch.py") == LAUNCH_LINES
