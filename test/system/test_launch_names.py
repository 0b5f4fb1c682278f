# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files give to both ends of a topic, read with stand-ins for ROS's launch.

`test_launch.py` runs them for real, where ROS 2 is installed.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TOPICS = [
    ("image", "$image_topic"),
    ("image/compressed", ["$image_topic", "/compressed"]),
    ("container/manifest", "$manifest_topic"),
]


class Configuration(str):
    """`LaunchConfiguration("x")`, written $x."""

    __slots__ = ()

    def __new__(cls, name):
        return super().__new__(cls, f"${name}")

    def perform(self, context):
        return context[self[1:]]


@pytest.fixture
def read(monkeypatch):
    """Read a launch file; returns its arguments' defaults, its nodes and what it includes."""
    defaults, nodes, included = {}, {}, {}

    def declare(name, *, description, default_value=""):
        assert description
        defaults[name] = default_value

    def start(*, executable, **given):
        nodes[executable] = given

    def include(file, launch_arguments=()):
        included.update(launch_arguments)

    def call(function):
        list(function({"bag": "x.mcap", **defaults}) or ())

    names = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": declare, "OpaqueFunction": call, "Shutdown": lambda: None,
            "IncludeLaunchDescription": include,
        },
        "launch.substitutions": {
            "LaunchConfiguration": Configuration, "PathJoinSubstitution": "/".join,
        },
        "launch_ros": {},
        "launch_ros.actions": {"Node": start, "LifecycleNode": start},
        "launch_ros.parameter_descriptions": {"ParameterValue": lambda text, value_type: text},
        "launch_ros.substitutions": {"FindPackageShare": str},
    }  # fmt: skip
    for name, members in names.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    def run(name):
        for part in (defaults, nodes, included):
            part.clear()
        runpy.run_path(str(LAUNCH / f"{name}.launch.py"))["generate_launch_description"]()
        return defaults, nodes, included

    return run


def test_the_perception_node_hears_the_topics_that_were_named(read):
    _, nodes, _ = read("perception")
    assert nodes["perception_node"]["remappings"] == TOPICS


def test_the_simulator_speaks_on_the_topics_that_were_named(read):
    defaults, nodes, included = read("sim_cell")
    simulator = nodes["sim_cell_node"]
    assert simulator["remappings"] == TOPICS
    (parameters,) = simulator["parameters"]
    assert parameters["transport"] == included["transport"] == "$transport"
    assert defaults["transport"] == "compressed"
    assert parameters["cell_folder"] == included["reference_root"] == "$cell_folder"


def test_the_simulator_gets_every_parameter_it_has_and_no_other(read):
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
    from robollm_ros.sim_cell_node import PARAMETERS

    _, nodes, _ = read("sim_cell")
    assert set(nodes["sim_cell_node"]["parameters"][0]) == {leaf.name for leaf in PARAMETERS}


def test_the_player_speaks_on_the_topics_that_were_named(read):
    _, nodes, _ = read("replay")
    assert nodes["bag_player"]["remappings"] == TOPICS
