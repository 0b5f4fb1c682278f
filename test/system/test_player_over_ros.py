# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A whole cell is played and recorded: cameras, picks, rounds, the clock, and kills."""

import json
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from cell_recording import ALL, MS, START, event, view, write_cell_bag

from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.recorded import read_answers
from robollm_core.data.seen import read_seen

pytestmark = [pytest.mark.ros, pytest.mark.slow]

PLAYER, RECORDER = ("-m", "robollm_ros.bag_player"), ("-m", "robollm_ros.recorder")
NAMES = ("tote_top", "on_arm_low")


@pytest.fixture
def recording(cell, tmp_path):
    """Two cameras and two events, one of which waits for a view that comes later."""
    first = event("e-1", view("tote_top", START + 100 * MS, role="pick"), deadline_ms=20_000)
    later = event("e-2", view("on_arm_low", START + 300 * MS, role="post"), phase="post_pick",
                  deadline_ms=20_000)  # fmt: skip
    messages = [
        (100, "tote_top", ALL), (100, "on_arm_low", ALL[:1]), (150, "event", first),
        (200, "tote_top", ALL[1:]), (250, "event", later), (300, "on_arm_low", ALL),
        (350, "tote_top", ALL),
    ]  # fmt: skip
    return write_cell_bag(tmp_path / "in.mcap", messages)


def start_node(programs, settings, folder, *more):
    words = {**settings, "camera_names": f"[{', '.join(NAMES)}]",
             "identification.reference_root": str(folder)}  # fmt: skip
    return programs.perception(words, *more)


def diff(capsys, *words):
    code = main(["replay", "diff", *map(str, words)])
    return code, capsys.readouterr().out


def test_the_live_cell_with_cameras_and_picks_answers_as_the_replay(
    programs, cell, recording, tmp_path, capsys
):
    live, still = tmp_path / "live.mcap", tmp_path / "still.mcap"
    recorder = programs.start(*RECORDER, live, "--json", tmp_path / "recorded.json")
    node = start_node(programs, cell[1], tmp_path)
    recorder.wait_for("ready: recording")
    report = tmp_path / "played.json"
    player = programs.start(*PLAYER, recording, "--lockstep", "--json", report)
    assert player.end() == 0, player.errors
    for program in (recorder, node):
        assert program.end(signal.SIGTERM) == 0, program.errors
    played = json.loads(report.read_text())
    assert played["cameras"] == {"tote_top": 3, "on_arm_low": 2}
    assert (played["answers"], played["unanswered_ns"]) == (5, [])
    assert (played["pick_events_sent"], played["pick_events_unanswered"]) == (2, [])
    sets = [word for name, value in cell[1].items() for word in ("--set", f"{name}={value}")]
    sets += ["--set", f"identification.reference_root={tmp_path}"]
    assert main(["replay", str(recording), "--out", str(still), *sets]) == 0
    code, told = diff(capsys, still, live, "--score", 0, "--box-px", 0, "--mask-iou", 1)
    assert code == 0, told
    assert "5 frames" in told
    # and what the cell says of itself is there too
    kinds = {f"/perception/{name}_info": f"vision_msgs/msg/{kind}"
             for name, kind in (("label", "LabelInfo"), ("vision", "VisionInfo"))}  # fmt: skip
    for path in (live, still):
        said = [topic for topic, _, _ in read_topics(path, kinds)]
        assert set(said) == set(kinds)


def test_rounds_are_played_again_and_answered_again(programs, cell, recording, tmp_path):
    node = start_node(programs, cell[1], tmp_path)
    report = tmp_path / "played.json"
    player = programs.start(
        *PLAYER, recording, "--lockstep", "--loop", 3, "--linger", 0, "--json", report
    )
    assert player.end() == 0, player.errors
    played = json.loads(report.read_text())
    assert (played["rounds"], played["frames_sent"], played["answers"]) == (3, 15, 15)
    assert node.end(signal.SIGINT) == 0


def test_one_camera_of_several_can_be_played_alone(programs, cell, recording, tmp_path):
    start_node(programs, cell[1], tmp_path)
    report = tmp_path / "played.json"
    player = programs.start(
        *PLAYER, recording, "--image-topic", "/cell/tote_top/image", "--no-picks", "--lockstep",
        "--json", report, "--ros-args", "-r", "image:=tote_top/image",
    )  # fmt: skip
    assert player.end() == 0, player.errors
    assert json.loads(report.read_text())["cameras"] == {"tote_top": 3}


def test_a_camera_that_the_bag_does_not_have_is_refused(programs, recording):
    player = programs.start(*PLAYER, recording, "--camera", "far_tray")
    assert player.end() == 2
    (line,) = player.errors
    assert "has no camera far_tray; it has on_arm_low, tote_top" in line


def test_the_player_waits_until_the_node_is_active(programs, cell, recording, tmp_path):
    player = programs.start(*PLAYER, recording, "--lockstep", "--linger", 0)
    time.sleep(1.0)
    assert player.lines == []
    node = start_node(programs, cell[1], tmp_path)
    assert player.end() == 0, player.errors
    assert player.lines == ["ready: matched"]
    assert node.end(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--rate", "0"), "--rate must be above 0"),
        (("--rate", "nan"), "--rate must be above 0"),
        (("--loop", "-1"), "--loop must be at least 0"),
        (("--timeout", "-1"), "--timeout must be at least 0"),
    ],
)
def test_flags_that_make_no_sense_are_refused_by_the_player(programs, recording, flags, told):
    player = programs.start(*PLAYER, recording, *flags)
    assert player.end() == 2
    assert told in player.errors[-1]


def test_a_recorder_that_is_killed_leaves_what_can_be_saved(
    programs, cell, recording, tmp_path, capsys
):
    out, saved = tmp_path / "out.mcap", tmp_path / "saved.mcap"
    recorder = programs.start(*RECORDER, out)
    start_node(programs, cell[1], tmp_path)
    recorder.wait_for("ready: recording")
    player = programs.start(*PLAYER, recording, "--lockstep", "--linger", 2.5)
    assert player.end() == 0, player.errors
    recorder.ask(signal.SIGKILL)
    recorder.end()
    assert not out.exists()
    (part,) = tmp_path.glob("out.mcap.*.part")
    assert main(["replay", "recover", str(part), "--out", str(saved)]) == 0
    assert len(read_answers(saved)) == 5


def test_a_recording_in_parts_has_every_answer_once(programs, cell, recording, tmp_path):
    out, report = tmp_path / "out.mcap", tmp_path / "recorded.json"
    recorder = programs.start(*RECORDER, out, "--split-mb", "0.02", "--json", report)
    start_node(programs, cell[1], tmp_path)
    recorder.wait_for("ready: recording")
    player = programs.start(*PLAYER, recording, "--lockstep")
    assert player.end() == 0, player.errors
    assert recorder.end(signal.SIGTERM) == 0, recorder.errors
    files = [Path(name) for name in json.loads(report.read_text())["files"]]
    assert files[0] == tmp_path / "out_0.mcap"
    assert len(files) > 1
    seen = [
        (message.header.frame_id, rostypes.stamp_ns(message))
        for path in files
        for _, _, message in read_topics(path, {"/perception/detections": rostypes.DETECTIONS})
    ]
    assert len(seen) == len(set(seen)) == 5


def test_the_emulation_loses_the_frames_that_the_node_lost(programs, cell, tmp_path):
    pace = [(100 * index, "tote_top", ()) for index in range(40)]
    pace += [(300 * index + 37, "on_arm_low", ()) for index in range(13)]
    bag = write_cell_bag(tmp_path / "in.mcap", sorted(pace))
    live, still = tmp_path / "live.mcap", tmp_path / "still.mcap"
    recorder = programs.start(*RECORDER, live, "--no-picks", "--no-masks")
    node = programs.start(
        "-m", "robollm_ros.bench_cell", "--stage-ms", 237, "--ros-args", "-p", "autostart:=true",
        "-p", f"camera_names:=[{', '.join(NAMES)}]",
    )  # fmt: skip
    node.wait_for("ready: active")
    recorder.wait_for("ready: recording")
    player = programs.start(*PLAYER, bag, "--linger", 2)
    assert player.end() == 0, player.errors
    assert recorder.end(signal.SIGTERM) == 0, recorder.errors
    sets = [word for name, value in cell[1].items() for word in ("--set", f"{name}={value}")]
    words = ["--emulate-realtime", "--service-times", str(live), "--no-picks", *sets]
    assert main(["replay", str(bag), "--out", str(still), *words]) == 0
    lived, emulated = (set(read_seen(path).frames) for path in (live, still))
    # 53 frames in 4 s, 237 ms each: about 18; a busy machine may shift a few
    assert 10 <= len(lived) <= 20
    assert abs(len(lived) - len(emulated)) <= 2
    assert len(lived & emulated) >= 0.6 * len(lived)
