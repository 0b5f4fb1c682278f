# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What runs on the robot starts quickly and without the workshop's packages."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CELL = ("demo", "openvino", "ros", "view")
"""The extras that `make setup` installs."""


def installed_by_setup() -> set[str]:
    """The distributions of a robot cell: what robollm asks for, and what these ask for."""
    found: set[str] = set()
    asked = [("robollm", extra) for extra in ("", *CELL)]
    done = set()
    while asked:
        name, extra = one = asked.pop()
        if one in done:
            continue
        done.add(one)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or Python
        found.add(canonicalize_name(name))
        for text in wanted:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                asked += [(need.name, more) for more in ("", *need.extras)]
    return found


def beyond(cell: set[str], owners: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The importable names that no distribution of a cell brings."""
    return tuple(
        sorted(
            name
            for name, brought in owners.items()
            if name.isidentifier() and not cell & {canonicalize_name(one) for one in brought}
        )
    )


# what a robot cell may not have: everything here that `make setup` alone does not bring
WORKSHOP = beyond(installed_by_setup(), importlib.metadata.packages_distributions())
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
        "crops",
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


@pytest.mark.parametrize("name", ["torch", "ijson", "mmdet", "onnx", "scipy", "psutil", "mujoco"])
def test_the_workshops_packages_are_kept_from_it(name: str) -> None:
    # looked for, not imported: the first import of MuJoCo decides what it draws with
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    assert name in WORKSHOP


@pytest.mark.parametrize("name", ["numpy", "cv2", "onnxruntime", "openvino", "PIL", "tqdm"])
def test_the_cells_packages_are_not(name: str) -> None:
    assert name not in WORKSHOP


def test_prerequisites_need_the_standard_library_alone() -> None:
    _, loaded = load("robollm_core.cli.prerequisites", (*WORKSHOP, *ROS, "numpy", "yaml", "cv2"))
    assert not loaded & {"numpy", "yaml", "cv2"}


def test_a_blocked_package_is_noticed() -> None:
    with pytest.raises(AssertionError, match="numpy"):
        load("robollm_core.types", ("numpy",))
