# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The words that start a simulated cell, and what is said when it cannot start."""

import argparse
from pathlib import Path

import pytest
import yaml

from robollm_core.cli import sim
from robollm_core.errors import ConfigError, DependencyError, RobollmError
from robollm_core.synthetic.states import HELD_CAMERAS


def arguments(*words):
    parser = argparse.ArgumentParser()
    sim.add_arguments(parser)
    return parser.parse_args(words)


def parameters(words):
    """As ROS reads them: name, and value as YAML."""
    pairs = [words[i + 1].partition(":=") for i, word in enumerate(words) if word == "-p"]
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def test_both_programs_speak_of_the_same_cell(tmp_path):
    args = arguments("--out", str(tmp_path), "--rate", "3", "--faults", "blur=1", "--seed", "7")
    cell, node = parameters(sim.sim_cell_words(args)), parameters(sim.perception_words(args))
    assert cell["cell_folder"] == node["identification.reference_root"] == str(tmp_path / "cell")
    assert cell["transport"] == node["input.transport"]
    assert (cell["rate_hz"], cell["seed"], cell["faults"]) == (3.0, 7, "blur=1")
    assert cell["cameras"] == "all"


def test_the_node_hears_every_camera_of_the_cell():
    words = sim.perception_words(arguments())
    file = Path(words[words.index("--params-file") + 1])
    told = yaml.safe_load(file.read_text())["/**"]["ros__parameters"]
    assert told["camera_names"] == ["tote_top", *HELD_CAMERAS]


def test_a_folder_that_looks_like_a_number_stays_a_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = parameters(sim.sim_cell_words(arguments("--out", "7", "--faults", "1e3")))
    assert told["faults"] == "1e3"
    assert isinstance(told["cell_folder"], str)


def test_a_namespace_holds_for_both():
    args = arguments("--namespace", "/cell/")
    for words in (sim.sim_cell_words(args), sim.perception_words(args)):
        assert words[:3] == ["--ros-args", "-r", "__ns:=/cell"]


def test_settings_of_the_node_are_passed_on():
    args = arguments("--set", "runtime.name=onnx", "--set", "health.budget_ms=100.0")
    told = parameters(sim.perception_words(args))
    assert (told["runtime.name"], told["health.budget_ms"]) == ("onnx", 100.0)
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        sim.perception_words(arguments("--set", "runtime.name"))


def test_what_is_missing_is_named_with_its_install(monkeypatch):
    monkeypatch.setattr(sim.importlib.util, "find_spec", lambda name: name != "mujoco" or None)
    with pytest.raises(DependencyError, match="mujoco: run: pip install"):
        sim.run(arguments())


@pytest.mark.ros
@pytest.mark.slow
def test_a_program_that_ends_ends_the_cell(tmp_path):
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
    args = arguments("--out", str(tmp_path), "--set", "no.such_setting=1", "--states", "1")
    with pytest.raises(RobollmError, match="perception_node ended with code"):
        sim.run(args)
