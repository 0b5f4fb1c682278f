# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What runs on the robot starts quickly and without the workshop's packages."""

import json
import subprocess
import sys

import pytest

# what a robot cell may not have
WORKSHOP = ("torch", "torchvision", "mmcv", "mmdet", "mmengine", "matplotlib", "scipy", "mujoco")
ROS = ("rclpy", "sensor_msgs", "std_msgs", "vision_msgs", "launch", "launch_ros")
# a machine under load must not fail the test: seconds of CPU, not of the clock
BUDGET_SECS = 2.0

CODE = """
import importlib, json, sys, time
blocked, module = json.loads(sys.argv[1]), sys.argv[2]
sys.modules.update(dict.fromkeys(blocked))
start = time.process_time()
importlib.import_module(module)
print(json.dumps({
    "secs": time.process_time() - start,
    "loaded": sorted(name for name, module in sys.modules.items() if module is not None),
}))
"""


def load(module: str, blocked: tuple[str, ...]) -> tuple[float, set[str]]:
    """Import a module in a new Python that cannot import `blocked`."""
    answer = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(blocked), module],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    return told["secs"], set(told["loaded"])


@pytest.mark.parametrize("module", ["errors", "types", "config", "pipeline", "cli.main"])
def test_the_basement_is_quick_and_brings_no_runtime(module: str) -> None:
    secs, loaded = load(f"robollm_core.{module}", (*WORKSHOP, *ROS))
    assert secs < BUDGET_SECS
    assert not loaded & {"cv2", "onnxruntime", "jsonschema", "rosbags"}


@pytest.mark.parametrize(
    "module",
    [
        "geometry",
        "images",
        "overlay",
        "manifests",
        "runtime.engine",
        "runtime.artifact",
        "runtime.bundle",
        "runtime.factory",
        "runtime.onnx",
        "runtime.openvino",
        "runtime.trial",
        "segmentation.stage",
        "identification.gallery",
        "identification.stage",
        "defects.stage",
        "data.folder",
        "data.bag",
        "evaluation.cell",
        "evaluation.latency",
        "evaluation.report",
        "export.bundle",
        "cell",
        "cli.bundle",
        "cli.perceive",
        "cli.replay",
        "cli.demo",
        "cli.doctor",
    ],
)
def test_the_robot_cell_needs_neither_workshop_nor_ros(module: str) -> None:
    _, loaded = load(f"robollm_core.{module}", (*WORKSHOP, *ROS))
    assert f"robollm_core.{module}" in loaded


def test_prerequisites_need_the_standard_library_alone() -> None:
    _, loaded = load("robollm_core.cli.prerequisites", (*WORKSHOP, *ROS, "numpy", "yaml", "cv2"))
    assert not loaded & {"numpy", "yaml", "cv2"}


def test_a_blocked_package_is_noticed() -> None:
    with pytest.raises(AssertionError, match="numpy"):
        load("robollm_core.types", ("numpy",))
