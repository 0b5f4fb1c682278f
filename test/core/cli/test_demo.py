# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The demo with real ROS processes on stand-in networks, and what it refuses."""

import importlib.util
import json

import pytest
from colour_cell import write_bag

from robollm_core.cli import demo
from robollm_core.cli.main import main
from robollm_core.data.recorded import Answer, read_answers
from robollm_core.evaluation.cell import FrameTruth
from robollm_core.images import read_image
from robollm_core.types import PerceptionResult

NEEDS = ("rclpy", "vision_msgs", "imgviz")
MISSING = [name for name in NEEDS if importlib.util.find_spec(name) is None]
ros = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
COUNTS = ["frames_sent", "frames_received", "frames_processed", "frames_dropped",
          "instances_truth", "instances_found", "recall_at_1"]  # fmt: skip


@pytest.fixture
def words(cell_settings):
    return [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]


@ros
@pytest.mark.ros
@pytest.mark.slow
def test_a_bag_through_the_real_node(tmp_path, words, capsys):
    bag = write_bag(tmp_path / "bag" / "cell.mcap", frames=4)
    out = tmp_path / "out"
    assert main(["demo", "--bag", str(bag), "--out", str(out), *words]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == [*COUNTS, "latency_ms"]
    assert [summary[name] for name in COUNTS] == [4, 4, 4, 0, 12, 12, 1.0]
    assert list(summary["latency_ms"]) == ["segment", "identify", "inspect", "total"]
    for values in summary["latency_ms"].values():
        assert list(values) == ["p50", "p90", "p99"]
        assert 0 < values["p50"] <= values["p90"] <= values["p99"]
    answers = read_answers(out / "answers.mcap")
    assert [a.result.stamp_ns for a in answers] == [(i + 2) * 10**9 + i for i in range(4)]
    drawn = sorted(path.name for path in (out / "overlays").iterdir())
    assert drawn == ["000.jpg", "001.jpg", "002.jpg", "003.jpg", "real_tote.jpg"]
    assert read_image(out / "overlays" / "real_tote.jpg").shape == (480, 640, 3)
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    said = capsys.readouterr().out
    for name in summary:
        assert name.removeprefix("latency_") in said
    assert "passed" in said


@ros
@pytest.mark.ros
@pytest.mark.slow
def test_a_floor_that_is_missed_is_a_failure_with_everything_written(tmp_path, words, capsys):
    floor = {"found": 0.9, "recall_at_1": 0.9}
    bag = write_bag(tmp_path / "cell.mcap", frames=2, floor=floor, raw=True)
    more = ["--set", "segmentation.score_threshold=0.75"]  # two of three are found
    assert main(["demo", "--bag", str(bag), "--out", str(tmp_path / "o"), *words, *more]) == 1
    assert "FAILED: found is 0.667, the floor of this bag is 0.900" in capsys.readouterr().out
    assert (tmp_path / "o" / "summary.json").exists()


@ros
@pytest.mark.parametrize("spoil", ["no sidecar", "no floor", "no json"])
def test_a_bag_without_its_sidecar_is_refused_before_anything_starts(
    tmp_path, words, capsys, spoil
):
    bag = write_bag(tmp_path / "cell.mcap")
    sidecar = bag.with_suffix(".json")
    if spoil == "no sidecar":
        sidecar.unlink()
    else:
        sidecar.write_text("{}" if spoil == "no floor" else "{")
    assert main(["demo", "--bag", str(bag), "--out", str(tmp_path / "o"), *words]) == 2
    assert "floor" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_machine_without_ros_is_told_what_to_do(tmp_path, words, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "rclpy" else found(name)
    )
    assert main(["demo", "--bag", str(tmp_path / "cell.mcap"), *words]) == 2
    assert "the demo needs rclpy" in capsys.readouterr().err


def test_an_answer_to_a_frame_that_was_never_sent_is_a_fault(tmp_path):
    from robollm_core.data.bag import BagReader
    from robollm_core.evaluation.cell import read_scenes

    with BagReader(write_bag(tmp_path / "cell.mcap", frames=2)) as bag:
        images, _ = read_scenes(bag)
    stamps = tuple(images)

    def faults(stamp, camera):
        answer = Answer(PerceptionResult(stamp, camera, (96, 128), ()))
        truth = FrameTruth(stamp, camera, (), frozenset())
        outcome = demo.Outcome(stamps[:1], [answer], images, {stamp: truth})
        return demo._faults(outcome, {"found": 0.0, "recall_at_1": 0.0})

    assert faults(stamps[0], "tote_camera") == []
    assert "never sent" in faults(stamps[1], "tote_camera")[0]
    assert "never sent" in faults(stamps[0] + 1, "tote_camera")[0]
    assert "never sent" in faults(stamps[0], "other_camera")[0]
