# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Habits that hold in every source file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPDX = (
    "# SPDX-FileCopyrightText: 2026 The robollm authors",
    "# SPDX-License-Identifier: Apache-2.0",
)
TEXTS = {".py", ".md", ".rst", ".yaml", ".yml", ".json", ".xml", ".toml", ".cfg", ".html", ".j2"}
SKIPPED = {"build", "out", "dist", "install", "log", "models", "fixtures", "__pycache__"}
# folders of one person's machine; a container's /opt/ros is everybody's
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w+")
FORBIDDEN_NAME = re.compile(r"(^|_)(wrapper|manager|helper|utils?)s?(_|$)", re.IGNORECASE)


def files(suffixes: set[str]) -> list[Path]:
    found = []
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") or part.endswith(".egg-info") for part in parts)
        if path.suffix in suffixes and not hidden and not SKIPPED & set(parts):
            found.append(path)
    return sorted(found)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def defined_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name)


@pytest.mark.parametrize("path", files({".py"}), ids=named)
def test_begins_with_the_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    start = 1 if lines and lines[0].startswith("#!") else 0
    assert tuple(lines[start : start + 2]) == SPDX


@pytest.mark.parametrize("path", files(TEXTS), ids=named)
def test_names_no_folder_of_one_machine(path: Path) -> None:
    if path == Path(__file__):
        return
    assert MACHINE_PATH.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", files({".py"}), ids=named)
def test_names_say_what_a_thing_is(path: Path) -> None:
    names = [path.stem, *defined_names(ast.parse(path.read_text(encoding="utf-8")))]
    assert [name for name in names if FORBIDDEN_NAME.search(name)] == []


def test_the_habits_are_noticed() -> None:
    assert MACHINE_PATH.findall("see /home/ann/x and /opt/ros/jazzy") == ["/home/ann"]
    names = list(defined_names(ast.parse("class ModelManager: ...\ndef utilise(): ...")))
    assert [name for name in names if FORBIDDEN_NAME.search(name)] == ["Model_Manager"]
