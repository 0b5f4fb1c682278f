# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One tree, three views: every leaf can stand in YAML, on the command line and as a parameter."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.config import Config, check_leaf, leaves, load, to_yaml, update
from robollm_core.config import given as given_values
from robollm_core.errors import ConfigError

LEAVES = {leaf.name: leaf for leaf in leaves()}


def values_of(leaf):
    """Values that the declaration of a leaf allows."""
    if leaf.choices:
        return st.sampled_from(leaf.choices)
    kind = type(leaf.default)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(int(leaf.low), int(leaf.high))
    if kind is float:
        return st.floats(leaf.low, leaf.high)
    return st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


TREES = st.fixed_dictionaries({}, optional={n: values_of(leaf) for n, leaf in LEAVES.items()})


def value_of(config, name):
    branch, leaf = name.split(".")
    return getattr(getattr(config, branch), leaf)


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_is_something_a_ros_parameter_can_hold(name):
    leaf = LEAVES[name]
    assert type(leaf.default) in (bool, int, float, str)
    assert leaf.default is not None
    assert leaf.default != "" or "mpty means" in leaf.doc
    assert leaf.doc.endswith(".")
    assert check_leaf(leaf, leaf.default) == leaf.default
    assert value_of(Config(), name) == leaf.default


def test_names_are_unique_and_have_one_dot():
    names = [leaf.name for leaf in leaves()]
    assert len(set(names)) == len(names) == len(LEAVES)
    assert all(name.count(".") == 1 for name in names)


@settings(max_examples=40)
@given(TREES)
def test_yaml_round_trip(tmp_path_factory, tree):
    config = update(Config(), tree)
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load(path) == config
    for name, value in tree.items():
        assert value_of(config, name) == value


@given(TREES)
def test_assignments_say_the_same_as_a_file(tree):
    assignments = [f"{name}={yaml.safe_dump(value)}" for name, value in tree.items()]
    assert load(None, assignments) == update(Config(), tree)


def test_yaml_is_what_ros_loads_and_documents_every_leaf():
    text = to_yaml(Config())
    tree = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert {f"{b}.{leaf}" for b, found in tree.items() for leaf in found} == set(LEAVES)
    for leaf in LEAVES.values():
        assert f"# {leaf.doc}" in text


@pytest.mark.parametrize(
    "text",
    [
        "segmentation: {score_threshold: 0.25}",
        "segmentation.score_threshold: 0.25",
        "/**: {ros__parameters: {segmentation: {score_threshold: 0.25}}}",
        "/cell/perception: {ros__parameters: {segmentation.score_threshold: 0.25}}",
    ],
)
def test_nested_dotted_and_ros_files_are_one(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert load(path).segmentation.score_threshold == 0.25


def test_assignments_win_over_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("defects: {threshold: 0.1}")
    assert load(path, ["defects.threshold=0.9"]).defects.threshold == 0.9


def test_what_was_given_is_told_from_the_defaults_also_when_it_says_the_same(tmp_path):
    path = tmp_path / "c.yaml"
    default = Config().segmentation.score_threshold
    path.write_text(f"segmentation: {{score_threshold: {default}}}\ndefects: {{threshold: 0.1}}")
    assert given_values(path, ["defects.threshold=0.9"]) == {
        "segmentation.score_threshold": default, "defects.threshold": 0.9
    }  # fmt: skip
    assert given_values() == {}
    for wrong in ("defects.threshold=1.5", "defects.treshold=0.5"):
        with pytest.raises(ConfigError):
            given_values(path, [wrong, "defects.threshold=0.9"])


def test_an_empty_file_is_the_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("# nothing yet\n")
    assert load(path) == Config()


@pytest.mark.parametrize(
    "text, told",
    [
        ("segmentation: {score_treshold: 0.2}", "Did you mean segmentation.score_threshold"),
        ("segmentaton: {score_threshold: 0.2}", "Known keys: runtime.name"),
        ("colour: red", "unknown configuration key 'colour'"),
        ("segmentation: 5", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not YAML"),
        ("segmentation: {score_threshold: high}", "must be float"),
        ("segmentation: {score_threshold: null}", "must be float"),
        ("segmentation: {max_instances: 3.5}", "must be int"),
        ("segmentation: {max_instances: true}", "must be int"),
        ("output: {masks: 1}", "must be bool"),
        ("runtime: {name: tensorflow}", "must be one of auto, onnx"),
        ("segmentation: {score_threshold: 1.5}", r"must lie in \[0.0, 1.0\]"),
        ("segmentation: {score_threshold: .nan}", "must lie in"),
        ("segmentation: {artifact: [a]}", "must be str"),
    ],
)
def test_wrong_files_are_refused_and_say_what_is_meant(tmp_path, text, told):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.yaml")
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("text", ["defects.threshold", "defects.threshold=[", "=3", "defects=3"])
def test_wrong_assignments_are_refused(text):
    with pytest.raises(ConfigError):
        load(None, [text])


@pytest.mark.parametrize("name", [n for n, leaf in LEAVES.items() if leaf.low is not None])
def test_limits_are_inclusive(name):
    leaf = LEAVES[name]
    kind = type(leaf.default)
    for limit in (leaf.low, leaf.high):
        assert check_leaf(leaf, kind(limit)) == limit
    for beyond in (leaf.low - 1, leaf.high + 1, math.inf if kind is float else leaf.high + 1):
        with pytest.raises(ConfigError, match="must lie in"):
            check_leaf(leaf, kind(beyond))


def test_a_whole_number_is_a_float_where_a_float_is_wanted():
    got = update(Config(), {"health.budget_ms": 50})
    assert type(got.health.budget_ms) is float
