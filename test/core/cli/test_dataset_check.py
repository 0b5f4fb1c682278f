# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm dataset check`: what it prints, what it writes, how it ends."""

import json
import shutil

import pytest
import small_sets

from robollm_core.cli.main import main


@pytest.fixture
def defects(tmp_path):
    return small_sets.write_defects(tmp_path / "defects", {"train": 20, "test": 20})


def check(root, *words):
    return main(["dataset", "check", str(root), *words])


def test_a_whole_set_can_be_used(defects, capsys):
    assert check(defects) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{defects}: defects",
        "defects train: 20 samples, 0 cannot be used",
        "defects test: 20 samples, 0 cannot be used",
        "can be used",
    ]


def test_findings_are_shown_and_all_are_in_the_json(defects, tmp_path, capsys):
    for number in range(20, 25):
        shutil.rmtree(defects / "data" / f"induct{number:03d}")
    file = tmp_path / "found.json"
    assert check(defects, "--json", str(file)) == 1  # 5 of 40
    said = capsys.readouterr().out
    assert "missing: 5 (listed, and not on disk)" in said and "and 2 more" in said
    assert said.count("data/induct") == 3
    tree = json.loads(file.read_text())
    assert tree["usable"] is False and tree["counts"] == {"missing": 5}
    assert tree["samples"]["defects test"] == {"samples": 20, "broken": 5}
    assert [each["path"] for each in tree["findings"]] == [
        f"data/induct{n:03d}" for n in range(20, 25)
    ]
    assert check(defects, "--split", "train") == 0


def test_one_in_a_hundred_broken_is_listed_and_no_obstacle(defects, tmp_path):
    shutil.rmtree(defects / "data" / "induct000")
    file = tmp_path / "found.json"
    assert check(defects, "--decode", "--json", str(file)) == 0
    tree = json.loads(file.read_text())
    assert tree["decoded"] is True and tree["counts"] == {"missing": 1}


def test_what_cannot_be_checked_is_refused(defects, tmp_path, capsys):
    assert check(tmp_path / "nowhere") == 2
    assert "no layout that is known" in capsys.readouterr().err
    assert check(defects, "--split", "val") == 2
    assert "it has test, train" in capsys.readouterr().err
    for words in (("--out", "x"), ("--seed", "1"), (str(defects),)):
        assert check(defects, *words) == 2
        assert "expected: robollm dataset check DIR" in capsys.readouterr().err
    assert main(["dataset", "from-bag", "x.mcap", "--out", "y", "--decode"]) == 2
    assert main(["dataset", "draft-labels", "x.mcap"]) == 2
    assert "draft-labels ANSWERS --out" in capsys.readouterr().err
