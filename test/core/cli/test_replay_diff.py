# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm replay diff`: its exit codes, its one line, and its file."""

import json
from pathlib import Path

import pytest
from colour_cell import write_bag

from robollm_core.cli.main import main


@pytest.fixture
def words(cell_settings):
    return [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]


def replayed(tmp_path, words, name, *more):
    out = tmp_path / name
    bag = write_bag(tmp_path / "in.mcap", frames=3)
    assert main(["replay", str(bag), "--out", str(out), *words, *more]) == 0
    return str(out)


def test_diff_of_equal_bags(tmp_path, words, capsys):
    a = replayed(tmp_path, words, "a.mcap")
    b = replayed(tmp_path, words, "b.mcap")
    capsys.readouterr()
    assert main(["replay", "diff", a, b, "--json", str(tmp_path / "d.json")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("equal within the tolerances: 3 frames, 0 ties")
    assert json.loads((tmp_path / "d.json").read_text())["equal"] is True


def test_diff_of_other_thresholds(tmp_path, words, capsys):
    a = replayed(tmp_path, words, "a.mcap")
    b = replayed(tmp_path, words, "b.mcap", "--set", "segmentation.score_threshold=0.85")
    capsys.readouterr()
    assert main(["replay", "diff", a, b, "--show", "2", "--json", str(tmp_path / "d.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "tote_camera at" in lines[0]
    assert "missing instance" in lines[0]
    assert lines[2] == "... and 4 more; --json FILE has them all"
    assert lines[-1].startswith("different: 3 frames")
    tree = json.loads((tmp_path / "d.json").read_text())
    assert tree["counts"] == {"missing instance": 6}
    assert len(tree["changes"]) == 6


@pytest.mark.parametrize("spoil", ["missing", "truncated", "no answers", "empty"])
def test_diff_of_something_else_is_refused(tmp_path, words, capsys, spoil):
    a = replayed(tmp_path, words, "a.mcap")
    b = tmp_path / "b.mcap"
    if spoil == "truncated":
        b.write_bytes(Path(a).read_bytes()[:-50])
    elif spoil == "no answers":
        write_bag(b)
    elif spoil == "empty":
        b.write_bytes(b"")
    capsys.readouterr()
    assert main(["replay", "diff", a, str(b)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("robollm: ")
    assert "b.mcap" in line


@pytest.mark.parametrize("flag", [["--box-px", "-1"], ["--mask-iou", "1.5"], ["--score", "nan"]])
def test_tolerances_that_make_no_sense_are_refused(tmp_path, capsys, flag):
    assert main(["replay", "diff", "a.mcap", "b.mcap", *flag]) == 2
    assert "tolerances" in capsys.readouterr().err
