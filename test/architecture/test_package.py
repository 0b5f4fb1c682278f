# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The package as ROS finds it: built into a wheel, installed elsewhere, looked at there."""

import ast
import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("bag_player", "perception_node", "recorder", "sim_cell_node")


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
    """Install a wheel of this checkout below a folder of its own, without dependencies."""
    scratch = tmp_path_factory.mktemp("package")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    options = ("--no-build-isolation", "--no-deps", "--no-index")
    # --build-base keeps old build results of the checkout out of the wheel
    (scratch / "setup.cfg").write_text(f"[build]\nbuild_base={scratch / 'build'}\n")
    built = run(
        *pip, "wheel", *options, "-w", str(scratch), str(ROOT),
        cwd=scratch,
        DIST_EXTRA_CONFIG=str(scratch / "setup.cfg"),
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = scratch.glob("robollm-*.whl")
    target = scratch / "prefix"
    installed = run(
        *pip,
        "install",
        *options,
        "--ignore-installed",
        "--no-compile",
        "--prefix",
        str(target),
        str(wheel),
        cwd=scratch,
    )
    assert installed.returncode == 0, installed.stderr
    return target


def beneath(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_ament_index_knows_the_package(prefix: Path) -> None:
    assert (prefix / "share/ament_index/resource_index/packages/robollm").is_file()
    assert (prefix / "share/robollm/package.xml").read_text() == (ROOT / "package.xml").read_text()


@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_share_holds_every_file(prefix: Path, folder: str) -> None:
    wanted = {n for n in beneath(ROOT / folder) if "__pycache__" not in n and "/." not in f"/{n}"}
    assert wanted, f"{folder}/ is empty"
    assert beneath(prefix / "share/robollm" / folder) == wanted


def test_share_holds_the_launch_files_and_the_parameters(prefix: Path) -> None:
    share = beneath(prefix / "share/robollm")
    launch = {f"launch/{name}.launch.py" for name in ("perception", "sim_cell", "replay")}
    schema = "config/schema/container_manifest.schema.json"
    assert launch | {"config/robollm.yaml", "config/fastdds_shm.xml", schema} <= share


@pytest.mark.parametrize("program", PROGRAMS)
def test_starter_lies_where_ros2_run_looks(prefix: Path, program: str) -> None:
    starter = prefix / "lib/robollm" / program
    assert os.access(starter, os.X_OK)


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
    kept = {n for n in beneath(ROOT / "robollm_core") if not n.endswith((".py", ".pyc", ".part"))}
    assert "evaluation/report.html.j2" in kept
    assert kept <= beneath(core)


@pytest.mark.parametrize(("folder", "megabytes"), [("tiny", 40), ("sample", 25)])
def test_what_ships_stays_small(prefix: Path, folder: str, megabytes: int) -> None:
    shipped = [p for p in (prefix / "share/robollm/models" / folder).rglob("*") if p.is_file()]
    assert shipped
    assert sum(path.stat().st_size for path in shipped) <= megabytes * 1_000_000


def test_wheel_is_a_sound_archive(prefix: Path) -> None:
    (wheel,) = prefix.parent.glob("robollm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
