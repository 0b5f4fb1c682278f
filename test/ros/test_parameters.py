# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters are the configuration tree: names, types, limits, sentences."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from robollm_core.config import Config, flatten, leaves, to_yaml, update
from robollm_core.errors import ConfigError
from robollm_ros.inputs import qos_leaves
from robollm_ros.parameters import Parameters

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "config/robollm.yaml"


@pytest.fixture
def make(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    nodes = []

    def build(*arguments, **overrides):
        nodes.append(
            Node(
                "perception",
                context=context,
                cli_args=["--ros-args", *arguments] if arguments else None,
                parameter_overrides=[
                    Parameter(name.replace("__", "."), value=value)
                    for name, value in overrides.items()
                ],
                automatically_declare_parameters_from_overrides=True,
            )
        )
        heard = []
        return nodes[-1], Parameters(nodes[-1], heard.append, qos_leaves(nodes[-1])), heard

    yield build
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_every_leaf_is_declared_with_its_sentence_type_and_limits(make):
    node, parameters, _ = make()
    assert parameters.config() == Config()
    for leaf in leaves():
        parameter, descriptor = node.get_parameter(leaf.name), node.describe_parameter(leaf.name)
        assert type(parameter.value) is type(leaf.default)
        assert leaf.doc in descriptor.description
        assert ("any time" in descriptor.description) == leaf.live
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        limits = [(limit.from_value, limit.to_value) for limit in ranges]
        assert limits == ([(leaf.low, leaf.high)] if leaf.low is not None else [])
        assert all(choice in descriptor.additional_constraints for choice in leaf.choices)


@pytest.mark.parametrize("value", [False, True])
def test_autostart_counts_at_the_start_and_cannot_change_later(make, value):
    node, parameters, _ = make(autostart=value)
    assert parameters.autostart is value
    descriptor = node.describe_parameter("autostart")
    assert descriptor.read_only
    assert "at the start of the node" in descriptor.description
    (result,) = node.set_parameters([Parameter("autostart", value=not value)])
    assert not result.successful
    assert node.get_parameter("autostart").value is value


def test_overrides_reach_the_tree_and_an_integer_serves_for_a_float(make):
    settings = {"segmentation.score_threshold": 1, "runtime.threads": 3, "output.masks": False,
                "identification.reference_root": "/srv/items"}  # fmt: skip
    _, parameters, _ = make(**{k.replace(".", "__"): v for k, v in settings.items()})
    expected = update(Config(), settings)
    assert parameters.config() == expected
    assert isinstance(parameters.config().segmentation.score_threshold, float)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("segmentation.score_threshold", "high", ["segmentation.score_threshold", "float", "high"]),
        ("segmentation.score_threshold", 1.5, ["1.5", "[0.0, 1.0]"]),
        ("segmentation.score_threshold", float("nan"), ["nan"]),
        ("segmentation.max_instances", 5.0, ["int"]),
        ("runtime.name", "caffe", ["onnx", "caffe"]),
        ("output.masks", "yes", ["bool"]),
        ("runtime.threads", [1, 2], ["int"]),
        ("segmentation.score_treshold", 0.5, ["unknown", "segmentation.score_threshold"]),
        ("speed", 9, ["unknown", "speed"]),
        ("autostart", 1, ["autostart", "bool"]),
        ("qos_overrides./image.subscription.reliability", "maybe", ["best_effort", "maybe"]),
        ("qos_overrides./image.subscription.depth", 0, ["depth", "[1, 1000]"]),
        ("qos_overrides./image.subscription.depth", "5", ["depth", "int"]),
        ("qos_overrides./image.subscription.dept", 5, ["unknown", "subscription.depth?"]),
        ("qos_overrides./camera/image.subscription.depth", 5, ["unknown", "/image.subscription"]),
        ("qos_overrides./image.publisher.depth", 5, ["unknown"]),
    ],
)
def test_a_wrong_override_fails_with_one_message_and_not_before_configure(make, name, value, words):
    _, parameters, _ = make(**{name.replace(".", "__"): value, "health__budget_ms": 50.0})
    with pytest.raises(ConfigError) as failure:
        parameters.config()
    assert all(word in str(failure.value) for word in words)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "topics"),
    [
        ((), ["/image", "/image/compressed", "/container/manifest"]),
        (("-r", "__ns:=/left", "-r", "image:=/top/image_raw"),
         ["/top/image_raw", "/left/image/compressed", "/left/container/manifest"]),
    ],
    ids=["plain", "namespace and remapping"],
)  # fmt: skip
def test_the_qos_of_each_input_is_a_parameter_named_as_ros_names_it(make, arguments, topics):
    chosen = f"qos_overrides.{topics[0]}.subscription.depth"
    node, parameters, _ = make(*arguments, "-p", f"{chosen}:=7")
    assert parameters.config() == Config()
    found = {name: p.value for name, p in node.get_parameters_by_prefix("qos_overrides").items()}
    assert found == {
        f"{topic}.subscription.{policy}": value
        for topic, depth, reliability in zip(
            topics, (7, 5, 1), ("best_effort", "best_effort", "reliable"), strict=True
        )
        for policy, value in
        (("history", "keep_last"), ("depth", depth), ("reliability", reliability))
    }  # fmt: skip
    parameters.locked = True
    (result,) = node.set_parameters([Parameter(chosen, value=8)])
    assert not result.successful
    parameters.locked = False
    (result,) = node.set_parameters([Parameter(chosen, value=8)])
    assert result.successful


def test_all_faults_are_told_at_once(make):
    _, parameters, _ = make(runtime__name="caffe", nonsense=1, output__masks=3)
    with pytest.raises(ConfigError, match=r"caffe.*output.masks|output.masks.*caffe") as failure:
        parameters.config()
    assert "nonsense" in str(failure.value)


def test_a_fault_can_be_mended_at_run_time(make):
    node, parameters, _ = make(runtime__name="caffe")
    (result,) = node.set_parameters([Parameter("runtime.name", value="auto")])
    assert result.successful
    assert parameters.config() == Config()


def test_live_leaves_may_change_while_configured_the_others_may_not(make):
    node, parameters, heard = make()
    parameters.locked = True
    for leaf in leaves():
        (result,) = node.set_parameters([Parameter(leaf.name, value=leaf.default)])
        assert result.successful == leaf.live
        assert leaf.live or "clean up" in result.reason
    heard.clear()
    (result,) = node.set_parameters([Parameter("defects.threshold", value=0.25)])
    assert result.successful
    assert [config.defects.threshold for config in heard] == [0.25]
    parameters.locked = False
    (result,) = node.set_parameters([Parameter("runtime.threads", value=2)])
    assert result.successful
    assert parameters.config().runtime.threads == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("defects.threshold", 1.01), ("runtime.name", "caffe"), ("defects.threshold", "low")],
)
def test_a_wrong_change_is_refused_and_changes_nothing(make, name, value):
    node, parameters, heard = make()
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert result.reason
    assert parameters.config() == Config()
    assert heard == []


def test_the_shipped_file_is_the_tree(make):
    comment, _, text = SHIPPED.read_text().partition("/**:")
    assert "/**:" + text == to_yaml(Config())
    assert all(line.startswith("#") for line in comment.splitlines())
    tree = yaml.safe_load(SHIPPED.read_text())["/**"]["ros__parameters"]
    assert {f"{a}.{b}": v for a, leaf in tree.items() for b, v in leaf.items()} == flatten(Config())
    _, parameters, _ = make("--params-file", str(SHIPPED), "-p", "defects.threshold:=0.75")
    assert parameters.config() == update(Config(), {"defects.threshold": 0.75})


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("segmentation.score_threshold:=high", ["score_threshold", "float", "'high'"]),
        ("segmentation.scores:=0.5", ["unknown parameter 'segmentation.scores'"]),
    ],
)
def test_the_program_ends_with_one_line_on_a_wrong_parameter(domain, argument, words):
    done = subprocess.run(
        [sys.executable, "-m", "robollm_ros.perception_node", "--ros-args", "-p", "autostart:=true",
         "-p", argument],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "cannot configure" in line
    assert all(word in line for word in words)
