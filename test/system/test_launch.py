# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 launch robollm ...` starts, works and ends, on the installed package."""

import importlib.util
import json
import os
import re
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("launch_ros", reason="launch_ros is not installed; PyPI has none, ROS 2 does")
pytest.importorskip("ros2launch", reason="ros2launch is not installed; PyPI has none, ROS 2 does")
pytest.importorskip("rosbags", reason="rosbags is not installed")

import small_sim
from colour_cell import draw_tote, image_message
from installed_package import environment, install_wheel
from ros_ear import Ear
from rosbags.rosbag2 import Reader

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic

pytestmark = [pytest.mark.ros, pytest.mark.slow]
# from the folder of the installation: in the checkout, Python would take the checkout's code
ROS2 = "import os, sys; os.chdir({!r}); from ros2cli.cli import main; sys.exit(main())"


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Where the package is installed: ament does not find a checkout's editable install."""
    return install_wheel(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def params_file(cell, tmp_path):
    _, settings = cell
    path = tmp_path / "params.yaml"
    lines = [f"    {name}: {value}" for name, value in settings.items()]
    path.write_text("\n".join(["/**:", "  ros__parameters:", *lines, ""]))
    return path


@pytest.fixture
def launch(programs, params_file, installed):
    def start(name, **arguments):
        words = [f"{key}:={value}" for key, value in arguments.items()]
        return programs.start(
            "-c", ROS2.format(str(installed)), "launch", "robollm", f"{name}.launch.py",
            f"params_file:={params_file}", *words, **environment(installed),
        )  # fmt: skip

    return start


def counts(path):
    with Reader(path) as reader:
        return {connection.topic: connection.msgcount for connection in reader.connections}


def test_perception_starts_in_a_namespace_and_ends_cleanly(launch):
    run = launch("perception", namespace="cell")
    run.wait_for("[perception_node-1] ready: active")
    assert run.end(signal.SIGINT) == 0
    said = "\n".join(run.lines + run.errors)
    assert "process has finished cleanly" in said
    assert "process has died" not in said
    assert "Traceback" not in said


def test_a_node_that_was_killed_is_started_again_and_configured(launch):
    run = launch("perception", use_respawn="true", respawn_delay=0.5)
    run.wait_for("[perception_node-1] ready: active")
    (pid,) = re.findall(r"perception_node-1\]: process started with pid \[(\d+)\]", said_by(run))
    os.kill(int(pid), signal.SIGKILL)
    end = time.monotonic() + 60.0
    while said_by(run).count("[perception_node-1] ready: active") < 2:
        assert time.monotonic() < end, said_by(run)
        time.sleep(0.1)
    assert run.end(signal.SIGINT) == 0
    assert said_by(run).count("process has finished cleanly") == 1


def said_by(run):
    return "\n".join([*run.lines, *run.errors])


def test_a_wrong_argument_ends_in_one_clear_message(launch):
    run = launch("perception", transport="pigeon")
    run.end()
    said = "\n".join(run.lines + run.errors)
    assert "input.transport must be one of raw, compressed, got 'pigeon'" in said
    assert "exit code 2" in said
    assert "Traceback" not in said


def test_a_bag_is_replayed_answered_and_recorded(launch, cell, tmp_path):
    folder, _ = cell
    recorded = tmp_path / "answers.mcap"
    run = launch(
        "replay", bag=folder / "jpeg.mcap", transport="compressed", reference_root=folder,
        lockstep="true", record=recorded,
    )  # fmt: skip
    assert run.end() == 0, run.errors
    found = counts(recorded)
    answers = [found[f"/perception/{n}"] for n in ("detections", "defects", "masks", "timing")]
    assert answers == [6, 6, 6, 6]
    assert "process has died" not in "\n".join(run.lines + run.errors)


def test_renamed_topics_hold_for_the_player_too(launch, cell, tmp_path):
    folder, _ = cell
    recorded = tmp_path / "answers.mcap"
    run = launch(
        "replay", bag=folder / "jpeg.mcap", transport="compressed", reference_root=folder,
        lockstep="true", record=recorded, image_topic="/cam/picture", manifest_topic="/wms/list",
    )  # fmt: skip
    assert run.end() == 0, run.errors
    assert counts(recorded)["/perception/detections"] == 6
    assert "process has died" not in "\n".join(run.lines + run.errors)


@pytest.fixture
def sim_folder(tmp_path):
    """A cell that needs no simulator."""
    small_sim.write_cell_states(tmp_path / "cell")
    return tmp_path / "cell"


@pytest.fixture
def ear(domain):
    made = Ear(domain, texts=["pick/status"])
    yield made
    made.close()


def ended_well(run):
    said = "\n".join(run.lines + run.errors)
    assert "process has died" not in said
    assert "Traceback" not in said
    assert "Caught exception" not in said
    return said


def test_four_cameras_are_simulated_and_every_pick_is_answered_once(launch, sim_folder, ear):
    run = launch(
        "sim_cell", cell_folder=sim_folder, states=0, rate_hz=10.0, picks_per_s=1.0, frames=60
    )
    ear.listen(lambda: any("sent: {" in line for line in run.lines), 120)
    assert run.end() == 0, run.errors
    said = ended_well(run)
    assert "ready: active" in said and "ready: showing" in said
    events = [json.loads(text)["event_id"] for text in ear.heard["pick/event"]]
    answers = ear.finals()
    assert len(events) == 12
    # the last may be asked when the cell is just closing
    assert set(answers) >= set(events[:-1])
    assert all(len(states) == 1 for states in answers.values())
    assert {states[0] for event, states in answers.items() if event in events[:-1]} == {"done"}


def test_a_simulated_cell_with_faults_ends_cleanly_when_it_is_interrupted(launch, sim_folder, ear):
    run = launch(
        "sim_cell", cell_folder=sim_folder, states=0, rate_hz=20.0, picks_per_s=2.0,
        faults="random=120", namespace="cell",
    )  # fmt: skip
    run.wait_for("[sim_cell_node-2] ready: showing")
    ear.listen(lambda: True)
    time.sleep(4.0)
    assert run.end(signal.SIGINT) == 0
    assert "process has finished cleanly" in ended_well(run)


def test_files_of_cameras_and_qos_reach_the_node(launch, programs, tmp_path):
    (tmp_path / "cameras.yaml").write_text(
        "/**:\n  ros__parameters:\n    camera_names: [left, right]\n"
        "    cameras.left.topic: /gantry/left\n"
    )
    (tmp_path / "qos.yaml").write_text(
        "/**:\n  ros__parameters:\n    qos_overrides./right/image.subscription.depth: 0\n"
    )
    run = launch("perception", cameras_file=tmp_path / "cameras.yaml")
    run.wait_for("[perception_node-1] ready: active")
    assert run.end(signal.SIGINT) == 0
    # a depth that is out of range shows that the file is read, and for the camera that was named
    files = {"cameras_file": tmp_path / "cameras.yaml", "qos_overrides_file": tmp_path / "qos.yaml"}
    run = launch("perception", **files)
    run.end()
    said = "\n".join(run.lines + run.errors)
    assert "qos_overrides./right/image.subscription.depth must lie in [1, 1000], got 0" in said


def test_a_bag_of_two_cameras_is_replayed_on_its_own_clock(launch, cell, tmp_path):
    folder, _ = cell
    names = ("left", "right")
    topics = {name: Topic(f"/{name}/image/compressed", rostypes.COMPRESSED) for name in names}
    with BagWriter(tmp_path / "two.mcap", list(topics.values())) as bag:
        for number in range(5):
            for shift, name in enumerate(names):
                stamp = (number + 2) * 10**9 + shift
                bag.write(topics[name].name, stamp, image_message(draw_tote(number), stamp))
    recorded = tmp_path / "answers.mcap"
    run = launch(
        "replay", bag=tmp_path / "two.mcap", transport="compressed", reference_root=folder,
        camera_names="left,right", use_sim_time="true", lockstep="true", record=recorded,
    )  # fmt: skip
    assert run.end() == 0, run.errors
    ended_well(run)
    assert counts(recorded)["/perception/detections"] == 10


def test_a_bag_can_be_played_for_ever_until_it_is_interrupted(launch, cell):
    folder, _ = cell
    run = launch(
        "replay", bag=folder / "jpeg.mcap", transport="compressed", reference_root=folder,
        rate=20.0, loop="true",
    )  # fmt: skip
    run.wait_for("[bag_player-2] ready: matched")
    time.sleep(3.0)
    assert run.end(signal.SIGINT) == 0
    ended_well(run)


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs robollm[sim]")
def test_renamed_topics_and_the_transport_hold_for_the_simulator_too(launch, programs, tmp_path):
    recorder = programs.start(
        "-m", "robollm_ros.recorder", tmp_path / "answers.mcap", "--answers", 1, "--timeout", 200
    )
    run = launch(
        "sim_cell", frames=4, rate_hz=1.0, cell_folder=tmp_path / "cell", transport="raw",
        image_topic="/cam/picture", manifest_topic="/wms/list", cameras="tote", states=2,
    )  # fmt: skip
    assert recorder.end(timeout=300) == 0, recorder.errors
    assert run.end(timeout=300) == 0, run.errors
    ended_well(run)
    assert counts(tmp_path / "answers.mcap")["/perception/detections"] >= 1


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs robollm[sim]")
def test_the_simulated_cell_is_rendered_shown_and_ends(launch, tmp_path):
    run = launch("sim_cell", frames=10, rate_hz=5.0, cell_folder=tmp_path / "cell", states=2)
    assert run.end(timeout=300) == 0, run.errors
    said = ended_well(run)
    assert "rendered 2 of 2 states" in said
    assert "ready: showing" in said
    assert list((tmp_path / "cell").rglob("*.jpg"))
