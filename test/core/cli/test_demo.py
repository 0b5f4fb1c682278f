# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The demo with real ROS processes on stand-in networks, and what it refuses."""

import importlib.util
import json
import resource

import pytest
from broken_bag import cut_a_jpeg
from colour_cell import write_bag

from robollm_core.cli import demo
from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.answers import TOPICS, write_answer
from robollm_core.data.bag import BagReader
from robollm_core.data.bagwriter import BagWriter
from robollm_core.data.recorded import STAGES, TIMING, Answer, read_answers
from robollm_core.evaluation.cell import read_scenes
from robollm_core.images import read_image
from robollm_core.types import PerceptionResult

NEEDS = ("rclpy", "vision_msgs", "imgviz")
MISSING = [name for name in NEEDS if importlib.util.find_spec(name) is None]
ros = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
imgviz = pytest.mark.skipif("imgviz" in MISSING, reason="imgviz is not installed")
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
    arguments = ["--bag", str(tmp_path / "cell.mcap"), "--out", str(tmp_path / "o")]
    assert main(["demo", *arguments, *words]) == 2
    assert "the demo needs rclpy" in capsys.readouterr().err


@ros
@pytest.mark.ros
@pytest.mark.slow
def test_a_frame_that_the_real_node_does_not_answer_is_a_failure(
    tmp_path, words, capsys, monkeypatch
):
    monkeypatch.setattr(demo, "ANSWER_S", 5.0)
    floor = {"found": 0.5, "recall_at_1": 0.9}
    bag = write_bag(tmp_path / "whole.mcap", frames=3, floor=floor)
    broken = cut_a_jpeg(bag, tmp_path / "cell.mcap", frame=1)
    out = tmp_path / "o"
    assert main(["demo", "--bag", str(broken), "--out", str(out), *words]) == 1
    said = capsys.readouterr().out
    assert "FAILED: 1 of 3 frames were not answered: [3000000001]\n" in said
    assert "passed" not in said
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == [*COUNTS, "latency_ms"]
    assert [summary[name] for name in COUNTS] == [3, 3, 2, 0, 9, 6, 1.0]
    assert "3000000001" in (out / "log" / "bag_player.txt").read_text()


@pytest.fixture
def pretend(monkeypatch):
    """Let a run get these answers, without starting any process."""
    monkeypatch.setattr(demo, "_check_machine", lambda: None)

    def answer(sent, *results):
        def perform(bag, out, config, *, realtime):
            write_answers(out / "answers.mcap", results)
            return sent

        monkeypatch.setattr(demo, "_perform", perform)

    return answer


def write_answers(path, results):
    with BagWriter(path, [*TOPICS, TIMING]) as bag:
        for number, result in enumerate(results, 1):
            write_answer(bag, result)
            counts = {"received": number, "processed": number, "dropped": 0, "errors": 0}
            timing = {"stamp_ns": result.stamp_ns, "manifest": ["T-1", 1], **counts,
                      "ms": dict.fromkeys(STAGES, 1.0)}  # fmt: skip
            message = rostypes.make(rostypes.STRING, data=json.dumps(timing))
            bag.write(TIMING.name, result.stamp_ns, message)


def empty(stamp, camera="tote_camera"):
    return PerceptionResult(stamp, camera, (96, 128), ())


STAMPS = (2_000_000_000, 3_000_000_001)
NO_FLOOR = {"found": 0.0, "recall_at_1": 0.0}


@imgviz
def test_a_stray_answer_is_reported_with_everything_written(tmp_path, words, capsys, pretend):
    bag = write_bag(tmp_path / "cell.mcap", frames=2, floor=NO_FLOOR)
    pretend(STAMPS, empty(STAMPS[0]), empty(STAMPS[1]), empty(77))
    out = tmp_path / "o"
    assert main(["demo", "--bag", str(bag), "--out", str(out), *words]) == 1
    assert "FAILED: answers with a header that was never sent: [77]\n" in capsys.readouterr().out
    assert (out / "summary.json").exists()
    drawn = sorted(path.name for path in (out / "overlays").iterdir())
    assert drawn == ["000.jpg", "001.jpg", "real_tote.jpg"]


@imgviz
def test_frames_without_an_answer_count_as_not_found(tmp_path, words, capsys, pretend):
    bag = write_bag(tmp_path / "cell.mcap", frames=2, floor={"found": 0.1, "recall_at_1": 0.0})
    pretend(STAMPS, empty(STAMPS[1]))
    out = tmp_path / "o"
    arguments = ["demo", "--bag", str(bag), "--out", str(out), *words]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert f"FAILED: 1 of 2 frames were not answered: [{STAMPS[0]}]\n" in said
    assert "FAILED: found is 0.000" in said
    assert json.loads((out / "summary.json").read_text())["instances_truth"] == 6
    # at the recorded pace a frame may be dropped, and counts all the same
    assert main([*arguments, "--realtime"]) == 1
    said = capsys.readouterr().out
    assert "not answered" not in said
    assert "FAILED: found is 0.000" in said
    assert json.loads((out / "summary.json").read_text())["instances_truth"] == 6


def leftovers(out):
    """What an earlier run left, and two files of the user."""
    names = ["summary.json", "index.html", "answers.mcap", "parameters.yaml", "log/sent.json",
             "overlays/000.jpg", "overlays/1000.jpg", "overlays/real_tote.jpg"]  # fmt: skip
    users = ["notes.txt", "overlays/mine.jpg"]
    for name in (*names, *users):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("old")
    return set(users)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("failure", ["no sidecar", "no model", "no answer"])
def test_a_run_that_fails_leaves_nothing_of_an_earlier_one(tmp_path, words, pretend, failure):
    out = tmp_path / "o"
    kept = leftovers(out)
    bag = write_bag(tmp_path / "cell.mcap")
    pretend(STAMPS)
    if failure == "no sidecar":
        bag.with_suffix(".json").unlink()
    if failure == "no model":
        words = ["--set", f"segmentation.artifact={tmp_path / 'none.onnx'}"]
    assert main(["demo", "--bag", str(bag), "--out", str(out), *words]) == 2
    written = {"answers.mcap"} if failure == "no answer" else set()
    assert files(out) == kept | written
    if written:
        assert (out / "answers.mcap").read_bytes() != b"old"


def test_old_results_that_cannot_be_removed_end_the_run(tmp_path, words, capsys, pretend):
    (tmp_path / "o" / "summary.json").mkdir(parents=True)
    bag = write_bag(tmp_path / "cell.mcap")
    assert main(["demo", "--bag", str(bag), "--out", str(tmp_path / "o"), *words]) == 2
    assert "Choose another --out" in capsys.readouterr().err


def test_a_result_is_not_played_over_itself(tmp_path, words, capsys, pretend):
    bag = write_bag(tmp_path / "answers.mcap")
    assert main(["demo", "--bag", str(bag), "--out", str(tmp_path), *words]) == 2
    assert "is a result of the demo" in capsys.readouterr().err
    assert bag.exists()


@imgviz
def test_a_full_disk_leaves_no_result_half_written(tmp_path, words, capsys, pretend):
    bag = write_bag(tmp_path / "cell.mcap", frames=2, floor=NO_FLOOR)
    pretend(STAMPS, *map(empty, STAMPS))
    out = tmp_path / "o"
    kept = leftovers(out)
    draw = demo.draw_overlay

    def draw_and_fill(image, result):
        # no file may grow beyond 1 kB from now on: a write fails as it would on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        return draw(image, result)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo, "draw_overlay", draw_and_fill)
            code = main(["demo", "--bag", str(bag), "--out", str(out), *words])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    error = capsys.readouterr().err
    assert "000.jpg" in error
    assert "File too large" in error
    assert files(out) == kept | {"answers.mcap"}


def test_an_answer_to_a_frame_that_was_never_sent_is_a_fault(tmp_path):
    with BagReader(write_bag(tmp_path / "cell.mcap", frames=2)) as bag:
        images, _ = read_scenes(bag)
    stamps = tuple(images)

    def faults(stamp, camera):
        outcome = demo.Outcome(stamps[:1], [Answer(empty(stamp, camera))], images, {})
        return demo._faults(outcome, NO_FLOOR)

    assert faults(stamps[0], "tote_camera") == []
    assert "never sent" in faults(stamps[1], "tote_camera")[0]
    assert "never sent" in faults(stamps[0] + 1, "tote_camera")[0]
    assert "never sent" in faults(stamps[0], "other_camera")[0]
