# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench engines` from its words to its files."""

import json

import pytest

from robollm_core.bench import networks, targets
from robollm_core.cli import bench_engines
from robollm_core.cli import main as command

WORDS = ["bench", "engines", "--stage", "classifier", "--batch", "1", "--threads", "1"]
SHORT = ["--rounds", "1", "--seconds", "1", "--peak-size", "16"]


def test_the_shipped_network_is_timed_printed_written_and_drawn(tmp_path, capsys):
    files = {kind: tmp_path / f"f.{kind}" for kind in ("json", "png", "md")}
    words = ["--json", str(files["json"]), "--plot", str(files["png"])]
    words += ["--markdown", str(files["md"]), "--runtime", "onnx", "--precision", "fp32"]
    assert command.main([*WORDS, *SHORT, *words]) == 0
    told = capsys.readouterr().out
    assert "GFLOP/s" in told and "not measured" in told and "peak fp32" in told
    facts = json.loads(files["json"].read_text())
    assert facts["kind"] == "engines" and {"command", "version", "peaks"} <= facts.keys()
    assert facts["machine"]["threads"] == 1  # a dict, not the one line of other kinds
    (row,) = facts["rows"]
    assert row["stage"] == "classifier" and row["runtime"] == "onnx" and row["weights"] == "trained"
    # 128 x 128 pixels, 65 tokens, 6 blocks: counted by hand from the design
    width, tokens, patches = 256, 65, 64
    block = tokens * width * (4 * width + 2 * 1024) + 2 * tokens**2 * width
    macs = 6 * block + patches * 3 * 16**2 * width + 3 * width
    assert row["gflop"] == pytest.approx(2e-9 * macs, rel=0.01)
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert files["md"].read_text().startswith("| size | stage |")


def test_a_binding_target_that_is_missed_ends_with_1(monkeypatch, capsys):
    missed = {"name": "speed", "limit": 3.0, "sense": "at least", "value": 2.0, "by": "onnx fp32"}
    told = [{**missed, "kept": False, "binding": True}]
    monkeypatch.setattr("robollm_core.bench.engines.judge", lambda *_: told)
    words = ["--runtime", "onnx", "--precision", "fp32"]
    assert command.main([*WORDS, *SHORT, *words]) == 1
    assert "speed: at least 3, 2 by onnx fp32: not kept" in capsys.readouterr().out
    assert targets.all_kept([])


@pytest.mark.parametrize("wrong", [["--image", "640"], ["--image", "0x8"], ["--runtime", "magic"]])
def test_words_that_mean_nothing_are_refused(wrong):
    with pytest.raises(SystemExit) as ended:
        command.main([*WORDS, *wrong])
    assert ended.value.code == 2


def test_sizes_and_a_folder_are_one_choice(tmp_path):
    with pytest.raises(SystemExit) as ended:
        command.main([*WORDS, "--size", "tiny", "--models", str(tmp_path)])
    assert ended.value.code == 2


def test_a_batch_of_none_is_refused(capsys):
    assert command.main(["bench", "engines", "--batch", "0"]) == 2
    assert "1 or more" in capsys.readouterr().err


def test_the_words_are_those_of_the_room():
    from robollm_core.bench.engines import RUNTIMES
    from robollm_core.bench.peak import PRECISIONS

    assert bench_engines._NAMES == networks.STAGES
    assert bench_engines._RUNTIMES == RUNTIMES
    assert set(bench_engines._PRECISIONS) == set(PRECISIONS)
