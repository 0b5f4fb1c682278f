# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the machine must bring is looked for, and each missing thing has its command."""

import os
from pathlib import Path

import pytest

from robollm_core.cli import prerequisites
from robollm_core.cli.prerequisites import Need, main, missing, sourced_ros


def ros_prefix(folder: Path) -> Path:
    marker = folder / "share/ament_index/resource_index/packages/rclpy"
    marker.parent.mkdir(parents=True)
    marker.touch()
    return folder


def test_a_sourced_ros_is_seen(tmp_path: Path) -> None:
    prefix = ros_prefix(tmp_path / "ros")
    path = os.pathsep.join([str(tmp_path / "workspace"), str(prefix)])
    assert sourced_ros({"AMENT_PREFIX_PATH": path}) == str(prefix)


def test_wheels_in_an_environment_are_no_sourced_ros(tmp_path: Path) -> None:
    prefix = ros_prefix(tmp_path)
    (prefix / "pyvenv.cfg").touch()
    assert sourced_ros({"AMENT_PREFIX_PATH": str(prefix)}) == ""


@pytest.mark.parametrize("environ", [{}, {"AMENT_PREFIX_PATH": ""}, {"ROS_DISTRO": "jazzy"}])
def test_no_ros(environ: dict[str, str]) -> None:
    assert sourced_ros(environ) == ""


def test_an_empty_machine_lacks_the_compilers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    lacked = {need.package: need.mend for need in missing("demo")}
    assert {"gcc", "g++"} <= set(lacked)
    assert lacked["gcc"] == "sudo apt install gcc"
    assert "libosmesa6" not in lacked  # the demo plays a bag, it renders nothing


@pytest.mark.parametrize(
    ("gpu", "installed", "package"),
    [
        (True, "OSMesa", "libegl1"),  # a GPU makes MuJoCo draw through EGL, whatever else is there
        (True, "EGL", ""),
        (False, "EGL", "libosmesa6"),
        (False, "OSMesa", ""),
    ],
)
def test_the_tests_need_the_library_that_the_simulator_would_draw_with(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, installed: str, package: str
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    gpus = [Path("/dev/dri/renderD128")] if gpu else []
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda p: there(p) and "nvidia" not in p.name)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter(gpus))
    monkeypatch.setattr(
        prerequisites.ctypes.util, "find_library", lambda name: name if name == installed else None
    )
    libraries = {"libegl1", "libosmesa6"}
    assert libraries & {need.package for need in missing("test")} == {package} - {""}
    assert libraries & {need.package for need in missing("sim")} == {package} - {""}
    assert not libraries & {need.package for need in missing("demo")}


def test_a_renderer_of_ones_own_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr(prerequisites.ctypes.util, "find_library", lambda name: None)
    assert not {"libegl1", "libosmesa6"} & {need.package for need in missing("test")}


def test_a_sourced_ros_needs_no_compiler_but_a_python_that_sees_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(ros_prefix(tmp_path)))
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prerequisites.importlib.util, "find_spec", lambda name: None)
    needs = missing("demo")
    assert [need.package for need in needs] == ["python3-venv", "", "ros-jazzy-vision-msgs"]
    assert "cannot import its rclpy" in needs[1].what


def test_an_old_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prerequisites.sys, "version_info", (3, 9, 2))
    assert main(["demo"]) == 1
    assert "Python 3.10, 3.11 or 3.12 is needed" in capsys.readouterr().err


def test_what_is_missing_is_said_once_with_one_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert main(["demo"]) == 1
    told = capsys.readouterr().err
    assert "the compiler gcc is missing" in told
    assert "sudo apt install gcc g++" in told


def test_as_root_debian_packages_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # an apt-get of ours: it "installs" compilers by putting them on PATH
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/log\n: > {tmp_path}/gcc\n: > {tmp_path}/g++\n'
    (tmp_path / "apt-get").write_text(f"{script}/bin/chmod 755 {tmp_path}/g*\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 0)
    monkeypatch.setattr(prerequisites, "_python_headers", lambda: None)
    assert main(["demo"]) == 0
    log = (tmp_path / "log").read_text()
    assert log.endswith("install -y --no-install-recommends gcc g++\n")


def fake_apt_get(folder: Path, *refused: str) -> None:
    """An apt-get of ours: it puts what is asked for on PATH, unless one name is refused."""
    lines = [f'echo "$@" >> {folder}/log']
    lines += [f'case "$*" in *{name}*) exit 100;; esac' for name in refused]
    lines += ['case "$*" in *install*) ;; *) exit 0;; esac']
    programs = {"chromium": "chromium", "chromium-driver": "chromedriver", "gcc": "gcc"}
    for package, program in programs.items():
        made = f": > {folder}/{program}; /bin/chmod 755 {folder}/{program}"
        lines += [f'case " $* " in *" {package} "*) {made};; esac']
    (folder / "apt-get").write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    (folder / "apt-get").chmod(0o755)


@pytest.fixture
def without_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where nothing but the browser is missing; the folder that is its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prerequisites, "missing", lambda purpose: ())
    return tmp_path


def test_a_browser_is_recommended_to_a_user_and_the_tests_go_on_without(
    monkeypatch: pytest.MonkeyPatch, without_browser: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_apt_get(without_browser)
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 1000)
    assert main(["test"]) == 0
    told = capsys.readouterr().err
    assert "sudo apt install chromium\n" in told
    assert "sudo apt install chromium-driver\n" in told
    assert "skipped" in told
    assert not (without_browser / "log").exists()


def test_a_browser_is_no_matter_of_the_demo(
    without_browser: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == ""


def test_as_root_the_browser_is_installed(
    monkeypatch: pytest.MonkeyPatch, without_browser: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_apt_get(without_browser)
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 0)
    assert main(["test"]) == 0
    log = (without_browser / "log").read_text()
    assert log.endswith("install -y --no-install-recommends chromium chromium-driver\n")
    assert capsys.readouterr().err == ""


def test_a_distribution_without_that_browser_still_gets_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, without_browser: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_apt_get(without_browser, "chromium-driver")
    there = Need("gcc is missing", "sudo apt install gcc", "gcc")
    monkeypatch.setattr(
        prerequisites,
        "missing",
        lambda purpose: () if (without_browser / "gcc").exists() else (there,),
    )
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 0)
    assert main(["test"]) == 0
    assert "those tests are skipped" in capsys.readouterr().err
