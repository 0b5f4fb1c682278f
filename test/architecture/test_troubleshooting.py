# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What docs/troubleshooting.md quotes is what the code says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?!you see|---)(.*?) \| ", re.MULTILINE)
NAMES = re.compile(r"^(lifecycle|model|gpu|input/<name>|object|OSMesa|EGL|auto)$")
"""In the first column, but no sentence of the node."""
OTHERS = re.compile(r"^(make[: ]|ImportError|RuntimeUnavailableError|ROS_)")
"""Said by others, or by the Makefile."""


def sentences() -> list[str]:
    """All texts of the package; what is filled in is three dots."""
    found = []
    for room in ("robollm_ros", "robollm_core"):
        for path in (ROOT / room).rglob("*.py"):
            if "interfaces" not in path.parts:
                found += texts(ast.parse(path.read_text(encoding="utf-8")))
    return found


def texts(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "..." for p in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def quoted() -> list[str]:
    cells = [cell for cell in ROW.findall(PAGE) if cell.startswith("`")]
    quotes = [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]
    return [q for q in quotes if not NAMES.match(q) and not OTHERS.match(q)]


SENTENCES = " ".join(sentences()).replace(",", "").replace(":", "").replace(";", "")
SAID = frozenset(re.findall(r"[\w./-]+", SENTENCES))


def pieces(words: list[str]) -> list[str]:
    """The words in as few pieces as can be, from the left, that each stand in the code."""
    found, rest = [], words
    while rest:
        fits = [n for n in range(len(rest), 0, -1) if " ".join(rest[:n]) in SENTENCES]
        found.append(" ".join(rest[: fits[0] if fits else 1]))
        rest = rest[fits[0] if fits else 1 :]
    return found


@pytest.mark.parametrize("quote", quoted())
def test_what_is_quoted_is_said(quote: str) -> None:
    """Sentences are put together of several texts; each has at least two words, on average."""
    for part in re.split(r"\.\.\.|\b\d+\b", quote):
        words = [word.strip(":;,.") for word in part.split()]
        words = [word for word in words if word]
        assert [word for word in words if not set(re.findall(r"[\w./-]+", word)) <= SAID] == []
        assert len(pieces(words)) <= max(2, (len(words) + 1) // 2), pieces(words)


def test_there_is_something_to_quote() -> None:
    assert len(quoted()) > 30


def test_the_sections_are_the_fifteen_complaints_in_order() -> None:
    numbers = re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 16)]


def test_what_the_doctor_finds_has_a_section() -> None:
    told = [
        tree
        for path in (ROOT / "robollm_ros").glob("graph_*.py")
        for tree in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(tree, ast.Call) and getattr(tree.func, "id", "") == "Finding"
    ]
    numbers = [call.args[1].value for call in told if isinstance(call.args[1], ast.Constant)]
    assert len(numbers) > 10
    assert set(numbers) <= set(range(1, 16))
