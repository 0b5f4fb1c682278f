# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the vision_msgs interface into a wheel, with gcc and the ROS wheels alone."""

import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # pip does not put the project's folder on the path


def refuse_sourced_ros() -> None:
    """Stop when a ROS installation is sourced: it brings its own vision_msgs.

    Raises:
        SystemExit: If AMENT_PREFIX_PATH names a ROS outside this Python environment.
    """
    own = Path(sys.prefix).resolve()
    for entry in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        marker = Path(entry) / "share/ament_index/resource_index/packages/rclpy"
        if marker.exists() and Path(entry).resolve() != own:
            raise SystemExit(
                f"A ROS installation is sourced ({entry}); its own vision_msgs must be used. "
                "Install it with: sudo apt install ros-$ROS_DISTRO-vision-msgs"
            )


class BuildInterfaces(build_py):
    """Generates, compiles and places the package instead of copying Python files."""

    def run(self) -> None:
        """Build into the folder that setuptools packs into the wheel."""
        from interface_build.compile import compile_all
        from interface_build.generate import generate
        from interface_build.layout import data_files
        from interface_build.source import read_source

        source = read_source(HERE)
        out = Path(self.build_lib).resolve().parent / "rosidl"
        generate(source, out)
        extensions = compile_all(source, out, int(os.environ.get("JOBS", os.cpu_count() or 1)))
        package = out / "rosidl_generator_py" / source.package
        for path in [*package.rglob("*.py"), *extensions]:
            target = Path(self.build_lib) / source.package / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        # read by bdist_wheel after the build: lib/, share/ and include/ of the prefix
        self.distribution.data_files = data_files(source, out)


class PlatformDistribution(Distribution):
    """A wheel of this platform, whose build step always runs."""

    def has_ext_modules(self) -> bool:
        """Say yes: the wheel holds compiled code."""
        return True

    def has_pure_modules(self) -> bool:
        """Say yes: otherwise setuptools would skip build_py, as `packages` is empty."""
        return True


refuse_sourced_ros()
description = ElementTree.parse(HERE / "package.xml").getroot()
setup(
    name=description.findtext("name"),
    version=description.findtext("version"),
    description=description.findtext("description"),
    license="Apache-2.0",
    packages=[],
    py_modules=[],
    data_files=[("share", [])],
    cmdclass={"build_py": BuildInterfaces},
    distclass=PlatformDistribution,
    python_requires=">=3.10",
    install_requires=["ros-jazzy-rclpy[fastrtps]", "ros-jazzy-sensor-msgs"],
)
