# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench` from its words to its files."""

import json

import pytest

from robollm_core.bench import retrieval
from robollm_core.cli import main as command

WORDS = ["bench", "retrieval", "--queries", "20", "--references", "64", "--items", "16"]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """A new process a size takes seconds; its own tests start them."""
    monkeypatch.setattr(retrieval, "_in_a_new_process", retrieval.rank_share)


def test_the_figures_are_printed_written_and_drawn(tmp_path, monkeypatch, capsys):
    # the peak is that of this process, which other tests have filled
    monkeypatch.setattr(retrieval, "LIMIT_BYTES", 1 << 50)
    files = ["--json", str(tmp_path / "f.json"), "--plot", str(tmp_path / "f.png")]
    assert command.main([*WORDS, "--dim", "8", *files]) == 0
    told = capsys.readouterr().out
    assert "GFLOP/s" in told and "kept" in told
    facts = json.loads((tmp_path / "f.json").read_text())
    assert facts["kind"] == "retrieval" and facts["settings"]["references"] == 64
    assert {"command", "machine", "version", "growth", "memory", "sizes"} <= facts.keys()
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_limit_that_is_not_kept_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr(retrieval, "LIMIT_BYTES", 1)
    assert command.main([*WORDS, "--dim", "8"]) == 1
    assert "not kept" in capsys.readouterr().out


def test_sizes_that_cannot_be_are_refused(capsys):
    assert command.main([*WORDS, "--items", "65"]) == 2
    assert "as many references as items" in capsys.readouterr().err


def test_a_kind_is_asked_for():
    with pytest.raises(SystemExit) as ended:
        command.main(["bench"])
    assert ended.value.code == 2
