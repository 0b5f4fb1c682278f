# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the machine itself must bring before anything of robollm is installed.

Imports the standard library alone, and rooms of ours that do so too, because `make`
runs it with the system's Python: `python3 -m robollm_core.cli.prerequisites demo`.
"""

import argparse
import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robollm_core.synthetic.backend import chosen_backend, debian_package

PYTHON_VERSIONS = ((3, 10), (3, 11), (3, 12))
"""Oldest to newest; the ROS wheels and mmcv decide."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that is missing.

    Attributes:
        what: what is missing and what for.
        mend: the command that mends it.
        package: Debian package that brings it, "" when no package does.
    """

    what: str
    mend: str
    package: str = ""


def sourced_ros(environ: Mapping[str, str] | None = None) -> str:
    """The prefix of the ROS installation that is sourced, "" when none is.

    A virtual environment with ROS wheels is not an installation of its own.

    Args:
        environ: environment to look at; None for that of the process.
    """
    environ = os.environ if environ is None else environ
    for entry in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        marker = Path(entry) / "share/ament_index/resource_index/packages/rclpy"
        if entry and marker.exists() and not (Path(entry) / "pyvenv.cfg").exists():
            return entry
    return ""


def missing(purpose: str) -> tuple[Need, ...]:
    """What `make PURPOSE` needs and this machine lacks.

    Args:
        purpose: "demo", "sim" or "test".

    Returns:
        One entry a missing thing; empty when all is there.
    """
    ros = sourced_ros()
    needs = [_python(), _venv()]
    needs += [_ros_python(ros), _vision_msgs(ros)] if ros else []
    if not ros or purpose == "test":
        needs += [_program("gcc"), _program("g++"), _python_headers()]
    if purpose in ("sim", "test"):
        needs.append(_offscreen_renderer())
    return tuple(need for need in needs if need)


def recommended(purpose: str) -> tuple[Need, ...]:
    """What `make PURPOSE` can do without, at the price of skipped tests.

    Args:
        purpose: "demo", "sim" or "test".

    Returns:
        One entry a missing thing.
    """
    if purpose != "test":
        return ()
    programs = {"chromium": "chromium", "chromedriver": "chromium-driver"}
    return tuple(
        _debian(package, f"{program}, with which pages are tested,")
        for program, package in programs.items()
        if not shutil.which(program)
    )


def _python() -> Need | None:
    if sys.version_info[:2] in PYTHON_VERSIONS:
        return None
    here = ".".join(map(str, sys.version_info[:2]))
    return Need(
        f"Python 3.10, 3.11 or 3.12 is needed and {sys.executable} is {here}",
        "make PYTHON=/path/to/python3.12 ...",
    )


def _venv() -> Need | None:
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return None
    return _debian("python3-venv", "the venv module of Python")


def _ros_python(prefix: str) -> Need | None:
    if importlib.util.find_spec("rclpy"):
        return None
    return Need(
        f"the ROS at {prefix} is sourced, but {sys.executable} cannot import its rclpy",
        "make PYTHON=/usr/bin/python3 ... (the Python of that ROS), or use a shell without ROS",
    )


def _vision_msgs(prefix: str) -> Need | None:
    if importlib.util.find_spec("vision_msgs"):
        return None
    distro = os.environ.get("ROS_DISTRO", "jazzy")
    return _debian(f"ros-{distro}-vision-msgs", f"vision_msgs beside the ROS at {prefix}")


def _program(name: str) -> Need | None:
    return None if shutil.which(name) else _debian(name, f"the compiler {name}")


def _python_headers() -> Need | None:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.exists() else _debian("python3-dev", f"Python's header file {header}")


def _offscreen_renderer() -> Need | None:
    backend = chosen_backend().lower()
    library = {"egl": "EGL", "osmesa": "OSMesa"}.get(backend)
    # another MUJOCO_GL was somebody's own choice
    if library is None or ctypes.util.find_library(library):
        return None
    return _debian(debian_package(backend), f"{library}, with which the simulator draws,")


def _debian(package: str, what: str) -> Need:
    return Need(f"{what} is missing", f"sudo apt install {package}", package)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, and as root on Debian install what is missing.

    Returns:
        0 when all that is needed is there (now), 1 otherwise.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("purpose", choices=("demo", "sim", "test"))
    purpose = parser.parse_args(arguments).purpose
    needs = missing(purpose)
    if needs and all(need.package for need in needs) and _may_install():
        _install([need.package for need in needs])
        needs = missing(purpose)
    _recommend(purpose)
    for need in needs:
        print(f"make: {need.what}.\n      {need.mend}", file=sys.stderr)
    packages = [need.package for need in needs if need.package]
    if len(packages) > 1:
        print(f"make: all at once: sudo apt install {' '.join(packages)}", file=sys.stderr)
    return 1 if needs else 0


def _recommend(purpose: str) -> None:
    """As root install what is only recommended; whoever cannot is told, and goes on."""
    # apart from what is needed: a distribution without such a package must not end that
    if (wanted := recommended(purpose)) and _may_install():
        _install([want.package for want in wanted])
        wanted = recommended(purpose)
    for want in wanted:
        print(f"make: {want.what}; those tests are skipped.\n      {want.mend}", file=sys.stderr)


def _may_install() -> bool:
    return os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(packages: Sequence[str]) -> None:
    print(f"make: installing {' '.join(packages)} with apt-get", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-qq", *words], env=quiet, check=False)


if __name__ == "__main__":
    sys.exit(main())
