# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What `make` would do, asked with -n in a copy whose stamps say that all is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERFACES = Path("robollm_ros/interfaces/vision_msgs")
STAMPS = ("venv", "vision_msgs", "deploy", "venv-sourced", "deploy-sourced")
OLD, INSTALLED, CHANGED = 1_000_000_000, 1_100_000_000, 1_200_000_000

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def date(path: Path, seconds: int) -> None:
    path.touch()
    os.utime(path, (seconds, seconds))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    built = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / INTERFACES, tmp_path / INTERFACES, ignore=built)
    (tmp_path / "stamps-of/.stamps").mkdir(parents=True)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        date(path, OLD)
    for name in STAMPS:
        date(tmp_path / "stamps-of/.stamps" / name, INSTALLED)
    return tmp_path


def would_do(checkout: Path, target: str, ros: str = "") -> str:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    words = ["make", "-n", target, "VENV=stamps-of", f"PYTHON={sys.executable}", f"ROS={ros}"]
    answer = subprocess.run(
        words, cwd=checkout, env=inherited, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("ros", ["", "/opt/ros/jazzy"])
def test_nothing_is_installed_twice(checkout: Path, ros: str) -> None:
    assert "pip" not in would_do(checkout, "setup", ros)


@pytest.mark.parametrize("source", ["msg/Pose2D.msg", "setup.py", "package.xml"])
def test_changed_interfaces_are_built_again(checkout: Path, source: str) -> None:
    date(checkout / INTERFACES / source, CHANGED)
    assert "building vision_msgs" in would_do(checkout, "setup")
    # a sourced ROS brings its own
    assert "pip" not in would_do(checkout, "setup", "/opt/ros/jazzy")


def test_what_building_leaves_behind_is_no_source(checkout: Path) -> None:
    (checkout / INTERFACES / "build").mkdir()
    date(checkout / INTERFACES / "build/Pose2D.msg", CHANGED)
    assert "pip" not in would_do(checkout, "setup")


def test_a_compiled_mmcv_is_kept_for_its_own_version(checkout: Path) -> None:
    text = (checkout / "Makefile").read_text(encoding="utf-8")
    (checkout / "Makefile").write_text(text.replace("onedl-mmcv==2.3.6", "onedl-mmcv==9.8.7"))
    assert "onedl-mmcv-9.8.7-torch-%s-cp%d%d" in would_do(checkout, "mmcv")
