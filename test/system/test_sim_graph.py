# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The graph of sim_cell.launch.py without launch: the installed programs, started as they are."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("onnx", reason="the hand-drawn cell needs onnx")

import small_sim
from installed_package import environment, install_wheel
from ros_ear import Ear

from robollm_core.synthetic.states import HELD_CAMERAS

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.name for path in (ROOT / "resource" / "lib").iterdir())
NAMES = ("tote_top", *HELD_CAMERAS)
# from the folder of the installation: in the checkout, Python would take the checkout's code
BECOME = "import os, sys; os.chdir({0!r}); os.execv({1!r}, [{1!r}, *sys.argv[1:]])"


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Where the package is installed."""
    return install_wheel(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def start(programs, installed):
    """Starts an installed program, as `ros2 run` does."""

    def begin(name, *words, **parameters):
        path = str(installed / "lib" / "robollm" / name)
        given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        words = [*words, "--ros-args", *given] if given else words
        found = environment(installed)
        return programs.start("-c", BECOME.format(str(installed), path), *words, **found)

    return begin


@pytest.fixture
def ear(domain):
    made = Ear(domain, texts=["pick/status", "cell/pick/status", "cell/pick/event"])
    yield made
    made.close()


@pytest.fixture
def sim_folder(tmp_path):
    small_sim.write_cell_states(tmp_path / "cell")
    return tmp_path / "cell"


@pytest.fixture
def node(start, cell, sim_folder):
    """The perception node on four cameras, active."""
    _, settings = cell
    node = start(
        "perception_node",
        **{**settings, "autostart": "true", "camera_names": f"[{','.join(NAMES)}]",
           "input.transport": "compressed", "identification.reference_root": sim_folder},
    )  # fmt: skip
    node.wait_for("ready: active")
    return node


def simulate(start, sim_folder, **parameters):
    given = {"cell_folder": sim_folder, "states": 0, "cameras": "all", "wait_s": 60.0}
    return start("sim_cell_node", **given, **parameters)


def test_every_pick_of_four_cameras_is_answered_once(start, node, sim_folder, ear):
    cell = simulate(start, sim_folder, rate_hz=10.0, picks_per_s=1.0, frames=80)
    ear.listen(lambda: any(line.startswith("sent: ") for line in cell.lines), 120)
    assert cell.end() == 0
    assert node.end(signal.SIGINT) == 0
    assert cell.errors == [] == node.errors
    picks = {pick["event_id"]: pick for pick in ear.trees("ground_truth/picks")}
    assert len(picks) == 16
    answers = ear.finals()
    # the newest may be asked when the test stops to listen
    asked = list(picks)[:-2]
    assert {event: answers[event] for event in asked} == {event: ["done"] for event in asked}
    assert all(pick["listeners"] >= 1 for pick in picks.values())


def test_with_all_faults_at_once_still_every_event_has_one_answer(start, node, sim_folder, ear):
    cell = simulate(
        start, sim_folder, rate_hz=10.0, picks_per_s=1.0, frames=150, faults="random=120", seed=2
    )
    ear.listen(lambda: any(line.startswith("sent: ") for line in cell.lines), 120)
    assert cell.end() == 0
    end = time.monotonic() + 3.0
    ear.listen(lambda: time.monotonic() > end)
    assert node.end(signal.SIGINT) == 0
    picks = ear.trees("ground_truth/picks")
    asked = {pick["event_id"]: 0 for pick in picks if "event_id" in pick}
    for pick in picks:
        if "event_id" in pick:
            asked[pick["event_id"]] += 1
    answers = ear.finals()
    assert set(answers) == set(asked)
    # a repeated event gets its answer again
    assert {event: len(states) for event, states in answers.items()} == asked
    rejected = [s for s in ear.trees("pick/status") if not s["event_id"]]
    assert len(rejected) == sum("event_id" not in pick for pick in picks)
    report = json.loads(cell.lines[-1].removeprefix("sent: "))
    assert sum(report["events"].values()) == len(picks)


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_every_program_of_a_running_cell_ends_within_two_seconds(
    start, node, sim_folder, tmp_path, cell, ask
):
    bag = cell[0] / "jpeg.mcap"
    running = [
        (simulate(start, sim_folder, rate_hz=10.0, picks_per_s=2.0), "ready: showing"),
        (start("recorder", tmp_path / "answers.mcap"), "ready: recording"),
        (start("bag_player", bag, "--node", "nobody", "--timeout", 600), ""),
        (node, "ready: active"),
    ]
    for program, line in running:
        if line:
            program.wait_for(line)
    time.sleep(1.0)
    for program, _ in running:
        asked = time.monotonic()
        assert program.end(ask) == 0
        assert time.monotonic() - asked < 2.0
        assert program.errors == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_installed_program_says_how_it_is_called(start, name):
    program = start(name, "--help")
    began = time.monotonic()
    assert program.end() == 0
    assert time.monotonic() - began < 20.0
    assert program.lines[0].startswith(f"usage: {name}")
    assert program.errors == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_installed_program_refuses_a_word_it_does_not_know(start, name):
    program = start(name, "--colour", "green")
    assert program.end() == 2
    assert "--colour" in "\n".join(program.errors)
    assert "Traceback" not in "\n".join(program.errors)


def test_the_starters_can_be_executed(installed):
    for name in PROGRAMS:
        assert os.access(installed / "lib" / "robollm" / name, os.X_OK)
