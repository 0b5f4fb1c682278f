# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of a node of its own: declared with sentence and limits, wrong ones refused."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange
from rclpy.node import Node
from rclpy.parameter import Parameter

from robollm_core.errors import ConfigError
from robollm_ros.settings import read_settings
from robollm_ros.sim_cell_node import PARAMETERS, SEEDS

pytestmark = pytest.mark.ros


@pytest.fixture
def make(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    nodes = []

    def build(**overrides):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(
            Node(
                "sim_cell", context=context, parameter_overrides=given,
                automatically_declare_parameters_from_overrides=True,
            )
        )  # fmt: skip
        return nodes[-1]

    yield build
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_each_is_declared_with_its_sentence_and_its_limits(make):
    node = make(use_sim_time=False)
    settings = read_settings(node, PARAMETERS)
    assert settings == {leaf.name: leaf.default for leaf in PARAMETERS}
    described = {leaf.name: node.describe_parameter(leaf.name) for leaf in PARAMETERS}
    for leaf in PARAMETERS:
        assert described[leaf.name].description == leaf.doc
        assert described[leaf.name].read_only
    whole = IntegerRange(from_value=0, to_value=SEEDS - 1, step=1)
    assert list(described["seed"].integer_range) == [whole]
    assert described["frames"].integer_range[0].from_value == 0
    rate = FloatingPointRange(from_value=0.001, to_value=1000.0)
    assert list(described["rate_hz"].floating_point_range) == [rate]
    assert described["transport"].additional_constraints == "one of raw, compressed"


def test_values_come_in_their_type_and_cannot_be_changed(make):
    node = make(rate_hz=5, seed=7)
    settings = read_settings(node, PARAMETERS)
    assert (settings["rate_hz"], settings["seed"]) == (5.0, 7)
    assert isinstance(settings["rate_hz"], float)
    assert node.get_parameter("seed").value == 7
    assert not node.set_parameters([Parameter("seed", value=8)])[0].successful


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", -1, "seed must lie in \\[0, 524287\\], got -1"),
        ("seed", SEEDS, "seed must lie in"),
        ("seed", "abc", "seed must be int, got 'abc'"),
        ("frames", -1, "frames must lie in \\[0, 1000000000\\], got -1"),
        ("rate_hz", 0.0, "rate_hz must lie in \\[0.001, 1000.0\\], got 0.0"),
        ("rate_hz", float("nan"), "rate_hz must lie in"),
        ("transport", "pigeon", "transport must be one of raw, compressed, got 'pigeon'"),
        ("rate", 2.0, "unknown parameter 'rate'. Did you mean rate_hz?"),
        ("xyz", 1, "unknown parameter 'xyz'. There are seed, rate_hz, picks_per_s"),
    ],
)
def test_a_wrong_one_is_refused(make, name, value, words):
    with pytest.raises(ConfigError, match=words):
        read_settings(make(**{name: value}), PARAMETERS)


def test_all_wrong_ones_are_named_together(make):
    with pytest.raises(ConfigError, match=r"'frame'. Did you mean frames.* \| parameter seed"):
        read_settings(make(seed=-1, frame=3), PARAMETERS)


def test_the_node_knows_how_many_cells_the_simulator_has():
    pytest.importorskip("mujoco", reason="the simulator needs robollm[sim]")
    from robollm_core.synthetic.containers import CELL_CATALOGUES

    assert SEEDS == CELL_CATALOGUES
