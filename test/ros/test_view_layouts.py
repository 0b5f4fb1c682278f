# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped layouts of Foxglove and RViz name what the perception node really has."""

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")
pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_domain import lend_domain

pytestmark = pytest.mark.ros

CONFIG = Path(__file__).parents[2] / "config"
CAMERAS = ["tote_top", "tote_wall", "on_arm_low", "far_tray"]
IMAGES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
STEP = re.compile(r"\.(\w+)(?:\[[^\]]*\])?")
# of every panel that the layout uses: the keys of its configuration that hold a topic or a path
WHERE = {
    "Image": (), "DiagnosticSummary": ("topicToRender",), "RosOut": (), "Tab": (),
    "DiagnosticStatusPanel": ("topicToRender",), "RawMessages": ("topicPath",), "Plot": (),
    "StateTransitions": (),
}  # fmt: skip


def layout():
    return json.loads((CONFIG / "foxglove/cell.json").read_text(encoding="utf-8"))


def panels_in(tree):
    """The names of the panels in a layout, those inside tabs not among them."""
    if isinstance(tree, str):
        return [tree]
    assert set(tree) <= {"direction", "first", "second", "splitPercentage"}
    assert tree["direction"] in ("row", "column")
    return panels_in(tree["first"]) + panels_in(tree["second"])


def paths_in(panel, settings):
    """The message paths a panel shows."""
    kind = panel.partition("!")[0]
    found = [settings[key] for key in WHERE[kind]]
    found += [path["value"] for path in settings.get("paths", [])]
    if kind == "Image":
        found.append(settings["imageMode"]["imageTopic"])
    return found


def field_type(kind, name):
    """The type of a field of a message type, of its elements where it is a sequence."""
    package, _, message = kind.rpartition("/")
    module = importlib.import_module(f"{package.partition('/')[0]}.msg")
    found = getattr(module, message).get_fields_and_field_types()[name]
    return found.removeprefix("sequence<").removesuffix(">")


def topic_of(path):
    return path.partition(".")[0]


@pytest.fixture
def graph(stand_ins):
    """Type by topic of the perception node, with one camera or those of the simulated cell."""
    forms = [
        {**stand_ins, "input.transport": transport, **cameras}
        for transport in ("raw", "compressed")
        for cameras in ({}, {"camera_names": CAMERAS})
    ]
    found = {}
    for form in forms:
        found |= topics_of_node(form)
    return found


def topics_of_node(settings):
    """Type by topic of an active perception node, on a domain of its own."""
    from robollm_ros.perception_node import PerceptionNode

    context = rclpy.Context()
    found = {}
    with lend_domain() as domain:
        rclpy.init(context=context, domain_id=domain)
        overrides = [Parameter(name, value=value) for name, value in settings.items()]
        node = PerceptionNode(context=context, parameter_overrides=overrides)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        for ask in ("publisher", "subscriber"):
            listed = getattr(node, f"get_{ask}_names_and_types_by_node")("perception", "/")
            found |= {topic: kinds[0] for topic, kinds in listed}
        node.trigger_shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    return found


def test_the_layout_holds_every_panel_once_and_configures_each():
    tree = layout()
    assert set(tree) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    shown = panels_in(tree["layout"])
    for panel in shown:
        for tab in tree["configById"][panel].get("tabs", ()):
            shown += panels_in(tab["layout"])
    assert len(shown) == len(set(shown))
    assert set(shown) == set(tree["configById"])
    assert {panel.partition("!")[0] for panel in shown} <= set(WHERE)


def test_every_topic_of_the_layout_is_the_nodes(graph):
    named = [
        (panel, path)
        for panel, settings in layout()["configById"].items()
        for path in paths_in(panel, settings)
    ]
    assert len(named) > 10
    assert [path for _, path in named if topic_of(path) not in graph] == []
    for panel, path in named:
        assert (graph[topic_of(path)] in IMAGES) == panel.startswith("Image!"), panel


def test_every_path_of_the_layout_leads_to_a_field(graph):
    for panel, settings in layout()["configById"].items():
        for path in paths_in(panel, settings):
            kind = graph[topic_of(path)]
            for name in STEP.findall(path):
                if name == "length":
                    break
                kind = field_type(kind, name)


def test_rviz_shows_images_of_the_node(graph):
    tree = yaml.safe_load((CONFIG / "rviz/cell.rviz").read_text(encoding="utf-8"))
    displays = tree["Visualization Manager"]["Displays"]
    assert {one["Class"] for one in displays} == {"rviz_default_plugins/Image"}
    assert len(displays) == len({one["Name"] for one in displays}) == 3
    for one in displays:
        assert graph[one["Topic"]["Value"]] == "sensor_msgs/msg/Image"
    # a reliable display never matches a best-effort camera
    asked = {one["Topic"]["Value"]: one["Topic"]["Reliability Policy"] for one in displays}
    assert asked["/image"] == "Best Effort"
    assert {panel["Class"] for panel in tree["Panels"]} == {
        "rviz_common/Displays",
        "rviz_common/Time",
    }
