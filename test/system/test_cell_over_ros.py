# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Player, node and recorder as processes: every frame comes back answered, every end is clean."""

import json
import resource
import signal

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from broken_bag import cut_a_jpeg
from ros_programs import ROOT
from rosbags.rosbag2 import Reader

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic

pytestmark = [pytest.mark.ros, pytest.mark.slow]

FRAMES = 6
ITEMS = ["apple", "lime", "plum"]
PLAYER, RECORDER = ("-m", "robollm_ros.bag_player"), ("-m", "robollm_ros.recorder")


def read(path):
    """Messages of a bag by topic, in order."""
    found = {}
    with Reader(path) as reader:
        for connection in reader.connections:
            found[connection.topic] = []
        for connection, log_ns, data in reader.messages():
            if connection.msgtype in rostypes.typestore().types:
                data = rostypes.typestore().deserialize_cdr(data, connection.msgtype)
            found[connection.topic].append((log_ns, data))
    return found


def stamps(messages):
    return [rostypes.stamp_ns(message) for _, message in messages]


def answers(messages):
    return [
        [(d.id, [r.hypothesis.class_id for r in d.results]) for d in message.detections]
        for _, message in messages
    ]


def play_and_record(programs, cell, tmp_path, bag, *player_arguments):
    """Returns the recording and what player and recorder report."""
    folder, settings = cell
    transport = "raw" if bag == "raw" else "compressed"
    recorder = programs.start(
        *RECORDER, tmp_path / "out.mcap", "--answers", FRAMES, "--overlay", "--timeout", 60,
        "--json", tmp_path / "recorded.json",
    )  # fmt: skip
    node = programs.perception({**settings, "input.transport": transport})
    recorder.wait_for("ready: recording")
    player = programs.start(
        *PLAYER, folder / f"{bag}.mcap", "--json", tmp_path / "played.json", *player_arguments
    )
    assert player.end() == 0, player.errors
    assert recorder.end() == 0, recorder.errors
    assert node.end(signal.SIGINT) == 0
    for program in (player, recorder, node):
        assert program.errors == []
    reports = [
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("played", "recorded")
    ]
    return read(tmp_path / "out.mcap"), *reports


@pytest.mark.parametrize("bag", ["jpeg", "raw"])
def test_every_frame_of_a_bag_is_answered_in_lockstep(programs, cell, tmp_path, bag):
    recorded, played, report = play_and_record(programs, cell, tmp_path, bag, "--lockstep")
    sent = [(index + 2) * 10**9 + index for index in range(FRAMES)]
    assert played["stamps_ns"] == sent
    assert (played["frames_sent"], played["answers"], played["manifests_sent"]) == (6, 6, 1)
    assert report["answers"] == FRAMES
    # overlays are drawn when there is time; the others come with every answer
    drawn = stamps(recorded["/perception/overlay"])
    assert drawn
    assert set(drawn) <= set(sent)
    for name in ("detections", "defects", "masks"):
        messages = recorded[f"/perception/{name}"]
        assert stamps(messages) == sent
        assert [log_ns for log_ns, _ in messages] == sent
        assert {message.header.frame_id for _, message in messages} == {"tote_camera"}
    for stamp, found in zip(sent, answers(recorded["/perception/detections"]), strict=True):
        assert [classes[0] for _, classes in found] == ITEMS
        assert [name for name, _ in found] == [f"tote_camera/{stamp}/{i}" for i in range(3)]
    timing = [json.loads(message.data) for _, message in recorded["/perception/timing"]]
    assert [entry["stamp_ns"] for entry in timing] == sent
    assert (timing[-1]["received"], timing[-1]["dropped"], timing[-1]["errors"]) == (6, 0, 0)
    assert "/diagnostics" in recorded


def test_the_live_cell_answers_as_the_replay_without_ros_does(programs, cell, tmp_path):
    folder, settings = cell
    recorded, _, _ = play_and_record(programs, cell, tmp_path, "raw", "--lockstep")
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    replay = programs.start(
        "-m", "robollm_core.cli.main", "replay", folder / "raw.mcap",
        "--out", tmp_path / "replayed.mcap", *sets,
    )  # fmt: skip
    assert replay.end() == 0, replay.errors
    replayed = read(tmp_path / "replayed.mcap")
    store = rostypes.typestore()
    for name, kind in (("detections", rostypes.DETECTIONS), ("defects", rostypes.DETECTIONS),
                       ("masks", rostypes.IMAGE)):  # fmt: skip
        topic = f"/perception/{name}"
        live = [(t, bytes(store.serialize_cdr(message, kind))) for t, message in recorded[topic]]
        still = [(t, bytes(store.serialize_cdr(message, kind))) for t, message in replayed[topic]]
        assert live == still


def test_the_recorded_pace_is_kept_and_can_be_hurried(programs, cell, tmp_path):
    _, played, _ = play_and_record(programs, cell, tmp_path, "jpeg", "--rate", "10", "--linger", 0)
    # the recording lasts five seconds
    assert played["seconds"] >= 0.5
    assert played["answers"] is None


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_every_program_ends_cleanly_when_asked(programs, cell, tmp_path, ask):
    folder, settings = cell
    recorder = programs.start(*RECORDER, tmp_path / "out.mcap")
    node = programs.perception({**settings, "input.transport": "compressed"})
    recorder.wait_for("ready: recording")
    player = programs.start(*PLAYER, folder / "jpeg.mcap", "--rate", "0.001")
    player.wait_for("ready: matched")
    for program in (player, recorder, node):
        program.ask(ask)
        # Ctrl-C under ros2 launch comes twice
        assert program.end(ask) == 0
        assert program.errors == []
    assert "/perception/detections" in read(tmp_path / "out.mcap")


def test_a_node_that_was_never_configured_ends_cleanly_too(programs):
    node = programs.start("-m", "robollm_ros.perception_node")
    programs.start("-c", "import time; time.sleep(0)").end()
    # without autostart it says nothing; its first diagnostics prove that it spins
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=programs.domain)
    listener = rclpy.create_node("listener", context=context)
    heard = []
    listener.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    for _ in range(300):
        executor.spin_once(timeout_sec=0.1)
        if heard:
            break
    listener.destroy_node()
    executor.shutdown()
    rclpy.shutdown(context=context)
    assert heard
    assert node.end(signal.SIGINT) == 0
    assert node.errors == []


def one_line(program):
    (line,) = program.errors
    assert line.startswith("robollm: ")
    return line


def test_a_bag_that_cannot_be_played_is_refused_in_one_line(programs, tmp_path):
    (tmp_path / "empty.mcap").write_bytes(b"")
    (tmp_path / "garbage.mcap").write_bytes(b"no bag" * 100)
    strings = Topic("/chatter", rostypes.STRING)
    camera = Topic("/camera/image", rostypes.IMAGE)
    with BagWriter(tmp_path / "no_camera.mcap", [strings]) as bag:
        bag.write("/chatter", 1, rostypes.make(rostypes.STRING, data="x"))
    with BagWriter(tmp_path / "no_message.mcap", [strings, camera]) as bag:
        bag.write("/chatter", 1, rostypes.make(rostypes.STRING, data="x"))
    for name, words in {
        "missing.mcap": ["missing.mcap"],
        "empty.mcap": ["empty.mcap"],
        "garbage.mcap": ["garbage.mcap"],
        "no_camera.mcap": ["no_camera.mcap", "image topic", "/chatter"],
        "no_message.mcap": ["no_message.mcap", "/camera/image"],
    }.items():
        player = programs.start(*PLAYER, tmp_path / name)
        assert player.end() == 2
        line = one_line(player)
        assert all(word in line for word in words)
        assert player.lines == []


def test_a_player_that_nobody_hears_says_so(programs, cell):
    player = programs.start(*PLAYER, cell[0] / "jpeg.mcap", "--timeout", "0.5")
    assert player.end() == 2
    line = one_line(player)
    assert "nobody listens" in line
    assert "image/compressed" in line


def test_a_player_whose_renamed_topic_nobody_hears_says_its_full_name(programs, cell):
    remap = ("--ros-args", "-r", "image/compressed:=/cam/picture", "-r", "__ns:=/cell")
    player = programs.start(*PLAYER, cell[0] / "jpeg.mcap", "--timeout", "0.5", *remap)
    assert player.end() == 2
    assert "nobody listens to /cam/picture within" in one_line(player)


def test_a_frame_that_is_not_answered_in_lockstep_is_named(programs, cell, tmp_path):
    folder, settings = cell
    bag = cut_a_jpeg(folder / "jpeg.mcap", tmp_path / "broken.mcap", frame=1)
    node = programs.perception({**settings, "input.transport": "compressed"})
    player = programs.start(
        *PLAYER, bag, "--lockstep", "--timeout", 5, "--json", tmp_path / "played.json"
    )
    assert player.end() == 3
    line = one_line(player)
    assert "1 of 6 frames were not answered within 5.0 s" in line
    assert "(ns): 3000000001." in line
    played = json.loads((tmp_path / "played.json").read_text())
    assert played["unanswered_ns"] == [3000000001]
    assert (played["frames_sent"], played["answers"]) == (6, 5)
    assert node.end(signal.SIGINT) == 0


def test_a_player_that_is_stopped_while_it_waits_misses_no_answer(programs, cell, tmp_path):
    folder, settings = cell
    bag = cut_a_jpeg(folder / "jpeg.mcap", tmp_path / "broken.mcap", frame=0)
    programs.perception({**settings, "input.transport": "compressed"})
    player = programs.start(*PLAYER, bag, "--lockstep", "--json", tmp_path / "played.json")
    player.wait_for("ready: matched")
    assert player.end(signal.SIGINT) == 0
    assert player.errors == []


def test_a_recorder_that_runs_out_of_time_keeps_what_came(programs, tmp_path):
    recorder = programs.start(*RECORDER, tmp_path / "out.mcap", "--answers", 3, "--timeout", "0.5")
    assert recorder.end() == 2
    assert "0 of 3 answers" in one_line(recorder)
    assert all(messages == [] for messages in read(tmp_path / "out.mcap").values())


def test_a_full_disk_ends_the_recording_without_a_half_written_file(programs, cell, tmp_path):
    folder, settings = cell
    target = tmp_path / "results"
    target.mkdir()
    recorder = programs.start(*RECORDER, target / "out.mcap")
    node = programs.perception({**settings, "input.transport": "compressed"})
    recorder.wait_for("ready: recording")
    # no file may grow beyond 20 kB: the write fails as it would on a full disk
    resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (20480, 20480))
    player = programs.start(*PLAYER, folder / "jpeg.mcap", "--lockstep")
    assert player.end() == 0
    recorder.ask(signal.SIGINT)
    assert recorder.end() == 2
    line = one_line(recorder)
    assert "out.mcap" in line
    assert list(target.iterdir()) == []
    # the node does not care who listens
    assert node.end(signal.SIGINT) == 0


def test_the_simulated_cell_is_answered(programs, cell, tmp_path):
    pytest.importorskip("mujoco", reason="the simulated cell needs robollm[sim]")
    _, settings = cell
    folder = tmp_path / "sim"
    settings = {**settings, "identification.reference_root": str(folder)}
    recorder = programs.start(*RECORDER, tmp_path / "out.mcap", "--answers", 8, "--no-masks")
    node = programs.perception({**settings, "input.transport": "compressed"})
    recorder.wait_for("ready: recording")
    words = (f"cell_folder:={folder}", "frames:=10", "seed:=4", "states:=2", "wait_s:=60.0")
    parameters = [word for given in words for word in ("-p", given)]
    simulator = programs.start("-m", "robollm_ros.sim_cell_node", "--ros-args", *parameters)
    assert recorder.end(timeout=300) == 0, recorder.errors
    assert simulator.end(timeout=300) == 0, simulator.errors
    assert node.end(signal.SIGINT) == 0
    for program in (recorder, simulator, node):
        assert program.errors == []
    recorded = read(tmp_path / "out.mcap")
    timing = [json.loads(message.data) for _, message in recorded["/perception/timing"]]
    assert timing[0]["camera"] == "tote_camera"
    # the first frames may come before the references of the manifest are embedded
    assert timing[-1]["manifest"][0].startswith("T-")
    assert all(
        message.header.frame_id == "tote_camera"
        for _, message in recorded["/perception/detections"]
    )


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("seed:=abc", ["seed must be int", "abc"]),
        ("transport:=pigeon", ["one of raw, compressed", "pigeon"]),
        ("rate_hz:=0.0", ["rate_hz must lie in [0.001, 1000.0]"]),
        ("seed:=-1", ["parameter seed must lie in [0, 524287], got -1"]),
        ("frames:=-1", ["frames must lie in [0, ", "got -1"]),
        ("frame:=3", ["unknown parameter 'frame'", "Did you mean frames?"]),
    ],
)
def test_a_wrong_parameter_of_the_simulated_cell_is_refused(programs, tmp_path, parameter, words):
    simulator = programs.start(
        "-m", "robollm_ros.sim_cell_node", "--ros-args", "-p", parameter,
        "-p", f"cell_folder:={tmp_path / 'sim'}",
    )  # fmt: skip
    assert simulator.end() == 2
    line = one_line(simulator)
    assert all(word in line for word in words)
    assert not (tmp_path / "sim").exists()


def test_a_full_disk_ends_the_simulated_cell_without_a_half_written_reference(programs, tmp_path):
    pytest.importorskip("mujoco", reason="the simulated cell needs robollm[sim]")
    # when the node stands, no file may grow beyond 1 kB: a write fails as it would on a full disk
    script = (
        "import resource, sys; from robollm_ros import sim_cell_node as node;"
        "whole = node.states_of;"
        "node.states_of = lambda *given:"
        " (resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)), whole(*given))[1];"
        f"sys.argv = ['sim', '--ros-args', '-p', 'cell_folder:={tmp_path / 'sim'}'];"
        "sys.exit(node.main())"
    )
    simulator = programs.start("-c", script, PYTHONPATH=str(ROOT))
    assert simulator.end() == 2
    line = one_line(simulator)
    assert "sim" in line
    assert "File too large" in line
    assert not [path for path in (tmp_path / "sim").rglob("*") if path.is_file()]


def test_without_the_simulator_the_node_names_what_to_install(programs, tmp_path):
    (tmp_path / "mujoco.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'mujoco'\", name='mujoco')\n"
    )
    given = f"cell_folder:={tmp_path / 'sim'}"
    simulator = programs.start(
        "-m", "robollm_ros.sim_cell_node", "--ros-args", "-p", given, PYTHONPATH=str(tmp_path)
    )
    assert simulator.end() == 2
    line = one_line(simulator)
    assert "mujoco" in line
    assert "pip install" in line
