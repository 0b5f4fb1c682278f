# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The package as ROS finds it: installed elsewhere by pip and as by colcon, looked at there."""

import ast
import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

from installed_package import environment, install_as_colcon, install_wheel
from ros_domain import lend_domain

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "bag_player",
    "graph_doctor",
    "perception_node",
    "recorder",
    "sim_cell_node",
    "view_node",
)


def run(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed a wheel of this checkout."""
    return install_wheel(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where colcon would have installed this checkout."""
    return install_as_colcon(tmp_path_factory.mktemp("colcon"))


def beneath(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("installed", ["prefix", "workspace"])
def test_ament_index_knows_the_package(installed: str, request: pytest.FixtureRequest) -> None:
    prefix: Path = request.getfixturevalue(installed)
    assert (prefix / "share/ament_index/resource_index/packages/robollm").is_file()
    assert (prefix / "share/robollm/package.xml").read_text() == (ROOT / "package.xml").read_text()


@pytest.mark.parametrize("installed", ["prefix", "workspace"])
@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_share_holds_every_file(
    installed: str, folder: str, request: pytest.FixtureRequest
) -> None:
    prefix: Path = request.getfixturevalue(installed)
    wanted = {n for n in beneath(ROOT / folder) if "__pycache__" not in n and "/." not in f"/{n}"}
    assert wanted, f"{folder}/ is empty"
    assert beneath(prefix / "share/robollm" / folder) == wanted


def test_share_holds_the_launch_files_and_the_parameters(prefix: Path) -> None:
    share = beneath(prefix / "share/robollm")
    launch = {f"launch/{name}.launch.py" for name in ("perception", "sim_cell", "replay")}
    schema = "config/schema/container_manifest.schema.json"
    assert launch | {"config/robollm.yaml", "config/fastdds_shm.xml", schema} <= share


@pytest.mark.parametrize("installed", ["prefix", "workspace"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_starter_lies_where_ros2_run_looks(
    installed: str, program: str, request: pytest.FixtureRequest
) -> None:
    prefix: Path = request.getfixturevalue(installed)
    starter = prefix / "lib/robollm" / program
    assert os.access(starter, os.X_OK)


def test_colcon_installs_one_starter_a_program(workspace: Path) -> None:
    starters = workspace / "lib/robollm"
    assert beneath(starters) == {"robollm", *PROGRAMS}
    assert all("console_scripts" in (starters / name).read_text() for name in PROGRAMS)
    # not first the shell starters of a wheel, at the very same paths
    said = (workspace.parent / "build/said.txt").read_text()
    assert "Installing perception_node script" in said
    assert "resource/lib" not in said


@pytest.mark.ros
@pytest.mark.parametrize("installed", ["prefix", "workspace"])
def test_node_starts_from_there(
    installed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
    prefix: Path = request.getfixturevalue(installed)
    wrong = ("-p", "autostart:=true", "-p", "input.transport:=pigeon")
    node = str(prefix / "lib/robollm/perception_node")
    with lend_domain() as domain:
        ros = {**environment(prefix), "ROS_DOMAIN_ID": str(domain)}
        answer = run(node, "--ros-args", *wrong, cwd=tmp_path, **ros)
    assert answer.returncode == 2, answer.stderr
    assert "input.transport must be one of raw, compressed, got 'pigeon'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_launch_files_start_programs_that_are_there() -> None:
    started = [
        name
        for path in (ROOT / "launch").glob("*.launch.py")
        for name in re.findall(r'executable="([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert len(started) >= 3
    assert set(started) <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_is_a_module_with_a_main(program: str) -> None:
    tree = ast.parse((ROOT / f"robollm_ros/{program}.py").read_text(encoding="utf-8"))
    assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_starter_takes_the_python_beside_it(prefix: Path, tmp_path: Path) -> None:
    # moved elsewhere, with a stand-in for bin/python that says what it was asked to run
    place = tmp_path / "moved"
    (place / "lib").mkdir(parents=True)
    (prefix / "lib/robollm").rename(place / "lib/robollm")
    try:
        python = place / "bin/python"
        python.parent.mkdir()
        python.write_text('#!/bin/sh\necho "$@"\n')
        python.chmod(0o755)
        answer = run(str(place / "lib/robollm/perception_node"), "--ros-args", cwd=tmp_path)
        assert answer.stdout.split() == ["-m", "robollm_ros.perception_node", "--ros-args"]
    finally:
        (place / "lib/robollm").rename(prefix / "lib/robollm")


def test_console_scripts(prefix: Path) -> None:
    (listed,) = prefix.rglob("robollm-*.dist-info/entry_points.txt")
    entries = configparser.ConfigParser()
    entries.read(listed)
    assert set(entries["console_scripts"]) == {"robollm", *PROGRAMS}


def test_installed_core_runs_from_there(prefix: Path, tmp_path: Path) -> None:
    (package,) = prefix.rglob("robollm_core/__init__.py")
    code = "import robollm_core.cli.main as m; print(m.__file__); m.main(['config'])"
    answer = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(package.parents[1]))
    assert answer.returncode == 0, answer.stderr
    where, *printed = answer.stdout.splitlines()
    assert Path(where) == package.parent / "cli/main.py"
    assert printed[:2] == ["/**:", "  ros__parameters:"]


def test_wheel_holds_no_test_and_no_foreign_folder(prefix: Path) -> None:
    (site,) = {p.parents[1] for p in prefix.rglob("robollm_core/__init__.py")}
    folders = {p.name for p in site.iterdir() if not p.name.endswith(".dist-info")}
    assert folders == {"robollm_core", "robollm_ros"}


def test_core_brings_its_data_files(prefix: Path) -> None:
    (core,) = {p.parent for p in prefix.rglob("robollm_core/__init__.py")}
    kept = {n for n in beneath(ROOT / "robollm_core") if not n.endswith((".py", ".part"))}
    kept = {n for n in kept if "__pycache__" not in n}  # also what Numba has compiled
    assert "evaluation/report.html.j2" in kept
    assert kept <= beneath(core)


def test_the_live_view_brings_its_page(prefix: Path) -> None:
    (programs,) = {p.parent for p in prefix.rglob("robollm_ros/__init__.py")}
    assert beneath(programs / "view_page") == beneath(ROOT / "robollm_ros/view_page")


@pytest.mark.parametrize(("folder", "megabytes"), [("tiny", 40), ("sample", 25)])
def test_what_ships_stays_small(prefix: Path, folder: str, megabytes: int) -> None:
    shipped = [p for p in (prefix / "share/robollm/models" / folder).rglob("*") if p.is_file()]
    assert shipped
    assert sum(path.stat().st_size for path in shipped) <= megabytes * 1_000_000


def test_wheel_is_a_sound_archive(prefix: Path) -> None:
    (wheel,) = prefix.parent.glob("robollm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
