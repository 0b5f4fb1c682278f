# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files give to both ends of a topic, read with stand-ins for ROS's launch.

`test_launch.py` runs them for real, where ROS 2 is installed.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from robollm_core.synthetic.states import HELD_CAMERAS

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TOPICS = [
    ("image", "$image_topic"),
    ("image/compressed", ["$image_topic", "/compressed"]),
    ("container/manifest", "$manifest_topic"),
]
HEARD = [("image", "image"), ("image/compressed", "image/compressed"),
         ("container/manifest", "container/manifest")]  # fmt: skip


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
        ending = function.__name__ == "end_all"  # called when a program has ended
        return function if ending else list(function({**defaults, **said}) or ())

    names = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": declare, "OpaqueFunction": call,
            "Shutdown": lambda: "shutdown", "IncludeLaunchDescription": include,
        },
        "launch.substitutions": {
            "LaunchConfiguration": Configuration, "PathJoinSubstitution": Joined,
            "EqualsSubstitution": lambda left, right: f"{left} == {right}",
            "IfElseSubstitution": lambda condition, value: f"{value} if {condition}",
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
    assert nodes["perception_node"]["remappings"] == HEARD
    _, nodes, _ = read("perception", image_topic="/cam/a", manifest_topic="/wms")
    assert nodes["perception_node"]["remappings"] == [
        ("image", "/cam/a"), ("image/compressed", "/cam/a/compressed"), HEARD[2][:1] + ("/wms",),
    ]  # fmt: skip


def parameters_of(nodes):
    """The files of parameters that the perception node gets, and the values on top of them."""
    *files, values = nodes["perception_node"]["parameters"]
    return files, values


def test_the_shipped_parameters_are_the_default_and_set_no_bundle(read):
    _, nodes, _ = read("perception")
    files, values = parameters_of(nodes)
    assert files == ["robollm/config/robollm.yaml"]
    assert "runtime.bundle" not in values


def test_with_a_bundle_the_shipped_defaults_do_not_win_over_it(read):
    _, nodes, _ = read("perception", bundle="cell.tar")
    files, values = parameters_of(nodes)
    assert files == []
    assert values["runtime.bundle"] == "cell.tar"


def test_with_a_bundle_a_file_of_ones_own_counts(read):
    _, nodes, _ = read("perception", bundle="cell.tar", params_file="mine.yaml")
    files, values = parameters_of(nodes)
    assert files == ["mine.yaml"]
    assert values["runtime.bundle"] == "cell.tar"


def test_files_of_cameras_and_qos_lie_on_top_of_the_parameters(read):
    _, nodes, _ = read("perception", cameras_file="cams.yaml", qos_overrides_file="qos.yaml")
    files, values = parameters_of(nodes)
    assert files == ["robollm/config/robollm.yaml", "cams.yaml", "qos.yaml"]
    assert "camera_names" not in values


def test_names_of_cameras_become_a_list(read):
    _, nodes, _ = read("perception", camera_names="tote_top, far_tray")
    assert parameters_of(nodes)[1]["camera_names"] == ["tote_top", "far_tray"]


def test_what_is_not_said_overrides_nothing(read):
    _, nodes, _ = read("perception")
    assert parameters_of(nodes)[1] == {"use_sim_time": False, "autostart": True}


def test_the_node_hears_the_cameras_that_are_simulated(read):
    defaults, _, included = read("sim_cell")
    assert defaults["cameras"] == "all"
    path = "robollm/config/sim_cell_cameras.yaml"
    assert included["cameras_file"] == f"{path} if $cameras == all"
    tree = yaml.safe_load((LAUNCH.parent / path.removeprefix("robollm/")).read_text())
    values = tree["/**"]["ros__parameters"]
    assert values["camera_names"] == ["tote_top", *HELD_CAMERAS]
    # between two picks they are silent
    assert {name for name in values if name.endswith(".stale_after_s")} == {
        f"cameras.{name}.stale_after_s" for name in HELD_CAMERAS
    }


@pytest.mark.parametrize(("said", "flag"), [
    ({}, ""), ({"lockstep": "true"}, "--lockstep"), ({"loop": "True"}, "--loop"),
    ({"use_sim_time": "true"}, "--clock"),
])  # fmt: skip
def test_the_player_is_told_how_to_play(read, said, flag):
    _, nodes, _ = read("replay", use_sim_time=said.pop("use_sim_time", "false"), **said)
    words = nodes["bag_player"]["arguments"]
    assert words[0] == "x.mcap"
    assert [word for word in ("--lockstep", "--loop", "--clock") if word in words] == (
        [flag] if flag else []
    )


def test_the_simulator_speaks_on_the_topics_that_were_named(read):
    defaults, nodes, included = read("sim_cell")
    simulator = nodes["sim_cell_node"]
    assert simulator["remappings"] == TOPICS
    (parameters,) = simulator["parameters"]
    assert parameters["transport"] == included["transport"] == "$transport"
    assert defaults["transport"] == "compressed"
    assert parameters["cell_folder"] == included["reference_root"] == "$cell_folder"


@pytest.mark.parametrize("name", ["sim_cell", "replay"])
def test_when_the_player_ends_so_does_the_rest_but_only_once(read, name):
    _, nodes, _ = read(name, use_sim_time="false")
    end = nodes["sim_cell_node" if name == "sim_cell" else "bag_player"]["on_exit"]
    assert end(SimpleNamespace(is_shutdown=False)) == ["shutdown"]
    assert end(SimpleNamespace(is_shutdown=True)) == []


def test_the_simulator_gets_every_parameter_it_has_and_no_other(read):
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
    from robollm_ros.sim_cell_node import PARAMETERS

    _, nodes, _ = read("sim_cell")
    # the name of the perception node is fixed here, and is the default
    names = {leaf.name for leaf in PARAMETERS} - {"listener"}
    assert set(nodes["sim_cell_node"]["parameters"][0]) == names
    assert {leaf.name: leaf.default for leaf in PARAMETERS}["listener"] == "perception"


def test_the_player_speaks_on_the_topics_that_were_named(read):
    _, nodes, _ = read("replay", use_sim_time="false")
    assert nodes["bag_player"]["remappings"] == TOPICS
