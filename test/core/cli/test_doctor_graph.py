# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm doctor --graph` prints what the program found, and its exit code says how it is."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from robollm_core.cli import doctor_graph
from robollm_core.cli.doctor_graph import describe, exit_code
from robollm_core.cli.main import main
from robollm_core.cli.processes import private_domain

CELL = {
    "name": "/cell/perception",
    "state": "active",
    "statuses": {
        "input/tote": {"level": 0, "message": "", "values": {"hz": "9.9", "processed": "41"}},
        "model": {"level": 0, "message": "loaded", "values": {}},
    },
}


def finding(level: int, what: str, node: str = "/cell/perception") -> dict[str, Any]:
    return {"level": level, "complaint": 1, "node": node, "what": what, "mend": f"mend {what}"}


def tree(*findings: dict[str, Any], nodes: tuple[str, ...] = ("/a",)) -> dict[str, Any]:
    well = all(each["level"] == 0 for each in findings)
    return {"domain": "7", "seconds": 5.0, "well": well, "nodes": dict.fromkeys(nodes, 1),
            "cells": [CELL], "findings": list(findings)}  # fmt: skip


def test_each_finding_stands_above_its_mend_in_the_order_given() -> None:
    lines = describe(tree(finding(2, "first"), finding(1, "second"), finding(0, "third", "")))
    told = [line for line in lines.splitlines() if line.startswith(("!", "--", "   ->"))]
    assert told == [
        "!! /cell/perception: first", "   -> mend first",
        "!  /cell/perception: second", "   -> mend second",
        "-- third", "   -> mend third",
    ]  # fmt: skip
    assert lines.splitlines()[-1].startswith("1 error(s) and 1 warning(s), the most serious first")


def test_a_cell_is_told_with_what_its_cameras_do() -> None:
    text = describe(tree())
    assert "/cell/perception is active\n  input/tote: 9.9 hz, 41 processed\n" in text
    assert text.endswith("all is well")
    assert "ROS domain 7, 1 node(s)" in text


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (tree(), 0),
        (tree(finding(0, "note")), 0),
        (tree(finding(1, "warn")), 1),
        (tree(finding(2, "bad")), 1),
        (tree(finding(2, "bad"), nodes=()), 2),
    ],
)
def test_the_exit_code_says_well_unwell_or_no_graph(found: dict[str, Any], code: int) -> None:
    assert exit_code(found) == code


def test_without_ros_it_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_graph.importlib.util, "find_spec", lambda name: None)
    assert main(["doctor", "--graph"]) == 2
    assert "source a ROS 2 installation" in capsys.readouterr().err


def test_a_look_that_is_refused_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("rclpy") is None:
        pytest.skip("no ROS 2: neither the wheels nor a sourced installation")
    assert main(["doctor", "--graph", "--seconds", "-1"]) == 2
    assert "--seconds must be above 0, got -1.0" in capsys.readouterr().err


def test_a_look_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("rclpy") is None:
        pytest.skip("no ROS 2: neither the wheels nor a sourced installation")
    monkeypatch.setattr(doctor_graph, "_PATIENCE_S", -4.9)
    assert main(["doctor", "--graph", "--seconds", "5"]) == 2
    assert "did not end within 0 s" in capsys.readouterr().err


@pytest.mark.ros
def test_an_empty_domain_is_no_graph_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("rclpy") is None:
        pytest.skip("no ROS 2: neither the wheels nor a sourced installation")
    for name, value in private_domain({}).items():
        monkeypatch.setenv(name, value)
    report = tmp_path / "graph.json"
    assert main(["doctor", "--graph", "--seconds", "0.2", "--json", str(report)]) == 2
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (found["nodes"], found["cells"], found["well"]) == ({}, [], False)
    assert "no node is in ROS domain" in capsys.readouterr().out
