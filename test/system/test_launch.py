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

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.rosbag2 import Reader

try:
    get_package_share_directory("robollm")
except (PackageNotFoundError, OSError) as error:
    pytest.skip(f"robollm is not installed: {error}", allow_module_level=True)

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROS2 = ("-c", "import sys; from ros2cli.cli import main; sys.exit(main())")


@pytest.fixture
def params_file(cell, tmp_path):
    _, settings = cell
    path = tmp_path / "params.yaml"
    lines = [f"    {name}: {value}" for name, value in settings.items()]
    path.write_text("\n".join(["/**:", "  ros__parameters:", *lines, ""]))
    return path


@pytest.fixture
def launch(programs, params_file):
    def start(name, **arguments):
        words = [f"{key}:={value}" for key, value in arguments.items()]
        return programs.start(
            *ROS2, "launch", "robollm", f"{name}.launch.py", f"params_file:={params_file}", *words
        )

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


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs robollm[sim]")
def test_the_simulated_cell_shows_frames_and_ends(launch, tmp_path):
    run = launch("sim_cell", frames=2, rate_hz=5.0, cell_folder=tmp_path / "cell")
    assert run.end(timeout=300) == 0, run.errors
    said = "\n".join(run.lines + run.errors)
    assert "ready: showing" in said
    assert "process has died" not in said
    assert list((tmp_path / "cell").rglob("*.jpg"))
