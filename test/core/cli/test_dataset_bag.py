# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm dataset to-bag`: a recording that is replayed, and made into data again."""

import shlex

import pytest
import small_sets
from small_disk import run_on_small_disk

from robollm_core.cli.main import main
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.recorded import read_answers


@pytest.fixture
def source(tmp_path):
    return small_sets.write_picks(tmp_path / "armbench")


def test_it_says_what_it_wrote_and_how_to_go_on(tmp_path, source, capsys):
    out = tmp_path / "x.mcap"
    (source / "Picks/test-13-0/PickRGB.jpg").write_bytes(b"\xff\xd8")
    assert main(["dataset", "to-bag", str(source), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "11 picks, 33 images, 1 manifests, 11 with their outline"
    assert said[1] == "left off the manifests, without a reference image: P16"
    assert said[2].startswith(f"broken: {source}/Picks/test-13-0: ")
    assert f"--set identification.reference_root={source}" in said[4]
    assert f"from-bag {out} --references {source}" in said[5]


def test_split_limit_and_period_are_heard(tmp_path, source, capsys):
    words = ["dataset", "to-bag", str(source), "--out", str(tmp_path / "x.mcap")]
    assert main([*words, "--split", "train", "--limit", "3", "--period", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("3 picks, 9 images")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("to-bag", ["--val-share", "0.3"]),
        ("to-bag", ["--labels", "l.json"]),
        ("to-bag", ["second"]),
        ("from-bag", ["--limit", "3"]),
        ("from-bag", ["--period", "1"]),
        ("draft-labels", ["--split", "val"]),
    ],
)
def test_an_option_of_another_kind_is_refused(tmp_path, kind, words, capsys):
    assert main(["dataset", kind, "first", *words, "--out", str(tmp_path / "o")]) == 2
    assert f"expected: robollm dataset {kind}" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(tmp_path, source):
    disk = tmp_path / "disk"
    code = f"""
from robollm_core.cli.main import main
print("CODE", main(["dataset", "to-bag", {str(source)!r}, "--out", {str(disk / "x.mcap")!r}]))
"""
    out, left = run_on_small_disk(disk, 100, code)
    assert "CODE 2" in out
    assert left == "[]"


@pytest.mark.slow
def test_what_it_says_can_be_run(tmp_path, source, capsys, cell_settings, monkeypatch):
    """The printed commands work as they are: replay with the cell, then back to a data set."""
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", "to-bag", str(source), "--out", "x.mcap"]) == 0
    replay, back = capsys.readouterr().out.splitlines()[-2:]
    settings = [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]
    assert main([*shlex.split(replay)[1:], *settings]) == 0
    assert "12 frames answered, 0 messages refused" in capsys.readouterr().out
    answers = read_answers(tmp_path / "answers.mcap")
    assert len(answers) == 12
    assert {name for a in answers for r in a.result.items
            for name, _ in r.identification.candidates} <= {"P12", "P13", "P14", "P15"}  # fmt: skip
    assert all(a.result.items for a in answers)
    words = [*shlex.split(back)[1:-1], "site", "--val-share", "0", "--test-share", "1"]
    assert main(words) == 0
    there = read_identification(source, "test").picks
    again = read_identification(tmp_path / "site/picks", "test").picks
    assert [pick.pick_id for pick in again] == [pick.pick_id for pick in there]
