# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A private ROS domain for each test, stand-in networks, and the node under test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

from hand_clock import HandClock
from ros_domain import lend_domain


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def domain():
    """A ROS domain that no other test on this machine uses while this one runs."""
    with lend_domain() as number:
        yield number


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """Configuration values that select networks written by hand."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from colour_cell import write_cell

    settings = write_cell(tmp_path_factory.mktemp("stand_ins"))
    return {**settings, "runtime.threads": int(settings["runtime.threads"]), "health.period_s": 0.1}


@pytest.fixture
def make_cell(domain, stand_ins):
    """Makes a spinning perception node with stand-in networks; settings lie on top."""
    from ros_probe import Cell

    from robollm_ros.perception_node import PerceptionNode

    made = []

    def make(listen=("detections", "defects", "timing"), **settings):
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        made.append(Cell(PerceptionNode, domain, {**stand_ins, **dotted}, listen))
        return made[-1]

    yield make
    for cell in made:
        cell.close()


@pytest.fixture
def logged(monkeypatch):
    """What nodes of this process log, as (severity, text)."""
    from rclpy.impl.rcutils_logger import RcutilsLogger

    lines = []
    log = RcutilsLogger.log

    def keep(self, message, severity, **options):
        lines.append((severity.name, message))
        return log(self, message, severity, **options)

    monkeypatch.setattr(RcutilsLogger, "log", keep)
    return lines
