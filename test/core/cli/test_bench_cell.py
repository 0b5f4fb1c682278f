# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm bench pipeline`, `startup` and `memory` from their words to their files."""

import json

import pytest

pytest.importorskip("onnx")
import colour_cell

from robollm_core.bench import memory, pipeline, startup
from robollm_core.bench.first_answer import PHASES
from robollm_core.cli import main as command


@pytest.fixture
def words(cell_settings, tmp_path):
    bag = colour_cell.write_bag(tmp_path / "cell.mcap")
    own = {name: value for name, value in cell_settings.items() if "artifact" not in name}
    files = ["--json", str(tmp_path / "f.json"), "--plot", str(tmp_path / "f.png")]
    models = cell_settings["defects.artifact"].rpartition("/")[0]
    sets = [word for name, value in own.items() for word in ("--set", f"{name}={value}")]
    return [*files, "--bag", str(bag), "--models", models, *sets]


def facts(tmp_path):
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((tmp_path / "f.json").read_text())


def test_pipeline_prints_writes_and_draws(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARE", 1.0)
    sizes = ["--size", "64x48", "--instances", "1", "3", "--rounds", "1"]
    assert command.main(["bench", "pipeline", *sizes, *words]) == 0
    told = capsys.readouterr().out
    assert "letterbox" in told and "kept" in told
    found = facts(tmp_path)
    assert [one["instances"] for one in found["rows"]] == [0, 1, 3]
    keys = {"size", "total_ms", "engines_ms", "outside_ms", "outside_share", "decode_ms"}
    assert keys | {"letterbox_ms", "paste_ms", "crop_ms", "score_ms"} <= found["rows"][0].keys()
    assert found["kind"] == "pipeline" and found["machine"]


def test_pipeline_ends_with_1_when_a_target_is_not_kept(words, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARE", 0.0)
    sizes = ["--size", "64x48", "--instances", "1", "--rounds", "1"]
    assert command.main(["bench", "pipeline", *sizes, *words]) == 1
    assert "not kept" in capsys.readouterr().out


def test_startup_prints_writes_and_draws(words, tmp_path, capsys, monkeypatch):
    phases = dict.fromkeys(PHASES, 0.25)
    answer = {**phases, "total": 1.5, "cpu": 1.0, "instances": 3, "modules": 9}
    monkeypatch.setattr(startup, "start", lambda config, task: answer)
    assert command.main(["bench", "startup", "--no-node", "--runs", "2", *words]) == 0
    assert "warm start, limit 2 s: kept" in capsys.readouterr().out
    assert [one["kind"] for one in facts(tmp_path)["rows"]] == ["cold", "warm"]
    monkeypatch.setattr(startup, "LIMIT_SECS", 1.0)
    assert command.main(["bench", "startup", "--no-node", "--runs", "1", *words]) == 1


def test_memory_prints_writes_and_draws(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "SIZES", ((48, 64),))
    monkeypatch.setattr(memory, "LIMIT_KIB", 1e9)
    assert command.main(["bench", "memory", "--frames", "20", "--every", "1", *words]) == 0
    assert "growth" in capsys.readouterr().out
    assert len(facts(tmp_path)["looks"]) == 21


@pytest.mark.parametrize(
    "kind, wrong, told",
    [
        ("pipeline", ["--size", "huge"], "WIDTHxHEIGHT"),
        ("pipeline", ["--instances", "9"], "1 to 3 instances"),
        ("startup", ["--runs", "0"], "from 1 run"),
        ("memory", ["--frames", "10"], "at least 20 looks"),
    ],
)
def test_wrong_words_are_refused(words, kind, wrong, told, capsys):
    assert command.main(["bench", kind, *words, *wrong]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_node_is_started_and_answers(words, tmp_path):
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    command.main(["bench", "startup", "--runs", "1", *words])
    rows = {one["kind"]: one for one in facts(tmp_path)["rows"]}
    assert 0 < rows["node"]["total_secs"] < 100
