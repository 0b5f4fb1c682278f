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


class Joined(str):
    """`PathJoinSubstitution(parts)`."""

    __slots__ = ()

    def __new__(cls, parts):
        return super().__new__(cls, "/".join(parts))

    def perform(self, context):
        return str(self)


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

    said = {"bag": "x.mcap"}

    def call(function):
        list(function({**defaults, **said}) or ())

    names = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": declare, "OpaqueFunction": call, "Shutdown": lambda: None,
            "IncludeLaunchDescription": include,
        },
        "launch.substitutions": {
            "LaunchConfiguration": Configuration, "PathJoinSubstitution": Joined,
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

    def run(name, **arguments):
        said.update(arguments)
        for part in (defaults, nodes, included):
            part.clear()
        runpy.run_path(str(LAUNCH / f"{name}.launch.py"))["generate_launch_description"]()
        return defaults, nodes, included

    return run


def test_the_perception_node_hears_the_topics_that_were_named(read):
    _, nodes, _ = read("perception")
    assert nodes["perception_node"]["remappings"] == TOPICS


def parameters_of(nodes):
    """The files of parameters that the perception node gets, and the values on top of them."""
    *files, values = nodes["perception_node"]["parameters"]
    return files, values


def test_the_shipped_parameters_are_the_default_and_set_no_bundle(read):
    _, nodes, _ = read("perception")
    files, values = parameters_of(nodes)
    assert files == ["$params_file"]
    assert "runtime.bundle" not in values


def test_with_a_bundle_the_shipped_defaults_do_not_win_over_it(read):
    _, nodes, _ = read("perception", bundle="cell.tar")
    files, values = parameters_of(nodes)
    assert files == []
    assert values["runtime.bundle"] == "cell.tar"


def test_with_a_bundle_a_file_of_ones_own_counts(read):
    _, nodes, _ = read("perception", bundle="cell.tar", params_file="mine.yaml")
    files, values = parameters_of(nodes)
    assert files == ["$params_file"]
    assert values["runtime.bundle"] == "cell.tar"


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
