# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 launch robollm ...` starts, works and ends, on the installed package."""

import importlib.util
import signal

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("launch_ros", reason="launch_ros is not installed; PyPI has none, ROS 2 does")
pytest.importorskip("ros2launch", reason="ros2launch is not installed; PyPI has none, ROS 2 does")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from installed_package import environment, install_wheel
from rosbags.rosbag2 import Reader

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


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs robollm[sim]")
def test_renamed_topics_and_the_transport_hold_for_the_simulator_too(launch, programs, tmp_path):
    recorder = programs.start(
        "-m", "robollm_ros.recorder", tmp_path / "answers.mcap", "--answers", 1, "--timeout", 200
    )
    run = launch(
        "sim_cell", frames=4, rate_hz=1.0, cell_folder=tmp_path / "cell", transport="raw",
        image_topic="/cam/picture", manifest_topic="/wms/list",
    )  # fmt: skip
    assert recorder.end(timeout=300) == 0, recorder.errors
    assert run.end(timeout=300) == 0, run.errors
    assert counts(tmp_path / "answers.mcap")["/perception/detections"] >= 1


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs robollm[sim]")
def test_the_simulated_cell_shows_frames_and_ends(launch, tmp_path):
    run = launch("sim_cell", frames=2, rate_hz=5.0, cell_folder=tmp_path / "cell")
    assert run.end(timeout=300) == 0, run.errors
    said = "\n".join(run.lines + run.errors)
    assert "ready: showing" in said
    assert "process has died" not in said
    assert list((tmp_path / "cell").rglob("*.jpg"))
