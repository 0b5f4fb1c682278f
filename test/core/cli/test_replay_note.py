# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a replayed bag came from stands in it and beside it, and tells unlike runs apart."""

import hashlib
import json
from pathlib import Path

import pytest
from colour_cell import write_bag

from robollm_core.cli.main import main
from robollm_core.data.provenance import KEY, note_path


@pytest.fixture
def words(cell_settings):
    return [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]


def test_the_choice_of_auto_is_fixed_between_runs(tmp_path, words, monkeypatch):
    monkeypatch.setenv("ROBOLLM_CACHE", str(tmp_path / "cache"))
    bag = write_bag(tmp_path / "a.mcap")
    for name in ("one", "two"):
        auto = ["--set", "runtime.name=auto"]
        assert (
            main(["replay", str(bag), "--out", str(tmp_path / f"{name}.mcap"), *words, *auto]) == 0
        )
    one, two = ((tmp_path / f"{name}.mcap").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_note_says_what_the_answers_came_from(tmp_path, words, cell_settings):
    bag, out = write_bag(tmp_path / "a.mcap"), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    note = json.loads(note_path(out).read_text())
    facts, run = note["facts"], note["run"]
    assert facts["bag"]["sha256"] == hashlib.sha256(bag.read_bytes()).hexdigest()
    assert run["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    for stage in ("segmentation", "identification", "defects"):
        network = Path(cell_settings[f"{stage}.artifact"]).read_bytes()
        assert facts["networks"][stage]["sha256"] == hashlib.sha256(network).hexdigest()
        assert facts["networks"][stage]["runtime"].startswith("onnx ")
    assert "finished" in run
    assert "finished" not in facts
    assert str(tmp_path) not in json.dumps(facts)


def test_the_facts_stand_in_the_bag_itself(tmp_path, words):
    from rosbags.rosbag2 import Reader

    bag, out = write_bag(tmp_path / "a.mcap"), tmp_path / "o.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    mcap = pytest.importorskip("mcap.reader")
    with out.open("rb") as file:
        (record,) = [m for m in mcap.make_reader(file).iter_metadata() if m.name == "rosbag2"]
    assert KEY in record.metadata["serialized_metadata"]
    assert json.loads(note_path(out).read_text())["facts"]["bag"]["sha256"] in str(record.metadata)
    with Reader(out) as reader:
        assert reader.message_count


@pytest.mark.parametrize(
    "change", [["--set", "defects.threshold=0.3"], ["--emulate-realtime", "--service-time-ms", "1"]]
)
def test_facts_tell_runs_apart_that_may_differ(tmp_path, words, change):
    bag, found = write_bag(tmp_path / "a.mcap"), []
    for more in ([], change):
        out = tmp_path / f"{len(more)}.mcap"
        assert main(["replay", str(bag), "--out", str(out), *words, *more]) == 0
        found.append(json.loads(note_path(out).read_text())["facts_sha256"])
    assert found[0] != found[1]
