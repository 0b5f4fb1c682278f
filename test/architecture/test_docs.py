# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents say exists: links, commands, flags, files; and the tables are fresh."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from robollm_core.cli.main import VERBS
from robollm_core.config import Config, load, to_yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/**/*.md")],
)
COMMAND = re.compile(r"(?:^|`)((?:robollm|make) [^`\n]+)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(document: Path, program: str) -> list[list[str]]:
    found = []
    for text in COMMAND.findall(document.read_text(encoding="utf-8")):
        words = shlex.split(text.partition(" #")[0])
        if words[0] == program:
            found.append(words[1:])
    return found


def parser_of(verb: str, kind: str = "") -> argparse.ArgumentParser:
    module = importlib.import_module(f"robollm_core.cli.{VERBS[verb].module}")
    if kind in getattr(module, "SUBVERBS", {}):
        module = importlib.import_module(f"robollm_core.cli.{module.SUBVERBS[kind]}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    return parser


def options_of(words: list[str]) -> set[str]:
    """The options of a verb, and of its kind where it has kinds of its own."""
    parser = parser_of(*words[:2])
    kinds = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    known = set(parser._option_string_actions)
    for kind in kinds:
        chosen = kind.choices.get(words[1], parser)
        known |= set(chosen._option_string_actions)
    return known


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    broken = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_robollm_commands_parse(document: Path) -> None:
    for words in commands(document, "robollm"):
        assert words[0] in VERBS, words
        options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
        if len(words) > 1 and options:
            assert set(options) <= options_of(words), words


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_targets_exist(document: Path) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    for words in commands(document, "make"):
        wanted = {word for word in words if re.fullmatch(r"[a-z]+", word)}
        assert wanted <= targets, words


def test_readme_shows_whole_commands_that_parse() -> None:
    complete = [words for words in commands(ROOT / "README.md", "robollm") if len(words) > 2]
    assert len(complete) >= 6
    for words in complete:
        parser_of(words[0]).parse_args(words[1:])


def test_readme_code_names_what_exists() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for module, names in re.findall(r"^from (\S+) import (.+)$", code, re.MULTILINE):
        imported = importlib.import_module(module)
        assert all(hasattr(imported, name.strip()) for name in names.split(","))
    compile(code, "README.md", "exec")


def test_settings_named_in_the_documents_exist() -> None:
    tree = load(None)
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for branch, leaf in re.findall(
            r"`(runtime|segmentation|identification|defects|input|output|picks|health)\.(\w+)[`:]",
            text,
        ):
            if leaf not in ("py", "onnx", "md", "yaml", "csv"):
                assert hasattr(getattr(tree, branch), leaf), f"{named(document)}: {branch}.{leaf}"


def check_table(name: str) -> None:
    answer = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check", name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_table_of_settings_is_fresh() -> None:
    check_table("parameters")


def test_table_of_diagnostics_is_fresh() -> None:
    check_table("diagnostics")


@pytest.mark.ros
def test_table_of_topics_is_fresh() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    check_table("topics")


def test_shipped_parameters_are_the_defaults() -> None:
    text = (ROOT / "config/robollm.yaml").read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert body.strip() == to_yaml(Config()).strip()
