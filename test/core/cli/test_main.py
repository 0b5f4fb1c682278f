# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The command line finds its verbs, imports no more than one, and refuses in one line."""

import subprocess
import sys

import pytest
import yaml

from robollm_core import __version__, config
from robollm_core.cli import main as command
from robollm_core.cli.main import VERBS, main


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"usage: robollm {verb}" in capsys.readouterr().out


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert name in printed
        assert verb.summary in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"robollm {__version__}\n"


@pytest.mark.parametrize("words", [[], ["perceve"], ["--verbose"]])
def test_no_such_verb(words: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2


def test_only_the_room_of_the_verb_is_imported() -> None:
    code = (
        "import sys; from robollm_core.cli.main import main; main(['config']);"
        "print([m for m in sys.modules if m.startswith('robollm_core.')], file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(yaml.safe_load(answer.stderr)) == {
        "robollm_core.cli",
        "robollm_core.cli.arguments",
        "robollm_core.cli.config",
        "robollm_core.cli.main",
        "robollm_core.config",
        "robollm_core.errors",
        "robollm_core.settings",
    }


def test_config_prints_what_a_node_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "segmentation.score_threshold=0.25"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)["/**"]["ros__parameters"]
    assert tree["segmentation"]["score_threshold"] == 0.25
    printed = {f"{branch}.{leaf}" for branch, leaves in tree.items() for leaf in leaves}
    assert printed == {leaf.name for leaf in config.leaves()}


def test_a_refusal_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "segmentation.scor_threshold=0.25"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "Did you mean segmentation.score_threshold?" in told.err


def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_mujoco(name: str) -> None:
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    monkeypatch.setattr(command.importlib, "import_module", without_mujoco)
    assert main(["synth"]) == 2
    assert "needs the Python package 'mujoco'" in (told := capsys.readouterr().err)
    assert "pip install '.[sim]'" in told


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module", name="robollm_core.cli.nothing")

    monkeypatch.setattr(command.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["config"])


def test_a_reader_that_leaves_is_no_traceback() -> None:
    words = f"'{sys.executable}' -m robollm_core.cli.main config | head -n 1"
    answer = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert answer.stdout == "/**:\n"
    assert answer.stderr == ""
