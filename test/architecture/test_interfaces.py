# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The interface package for machines without ROS leaves a sourced ROS alone."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "robollm_ros/interfaces/vision_msgs"


def describe(ament_prefix_path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "--name"],
        cwd=FOLDER,
        env={**os.environ, "AMENT_PREFIX_PATH": ament_prefix_path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_refuses_to_build_while_a_ros_is_sourced(tmp_path: Path) -> None:
    marker = tmp_path / "share/ament_index/resource_index/packages/rclpy"
    marker.parent.mkdir(parents=True)
    marker.touch()
    answer = describe(str(tmp_path))
    assert answer.returncode != 0
    assert "apt install ros-$ROS_DISTRO-vision-msgs" in answer.stderr


def test_takes_the_own_environment_for_no_sourced_ros() -> None:
    answer = describe(sys.prefix)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[-1] == "vision_msgs"


def test_colcon_passes_the_folder_by() -> None:
    assert (FOLDER / "COLCON_IGNORE").is_file()
