# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm doctor --graph`, as a user starts it, looks at a cell in other processes."""

import json
import signal

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("cv2", reason="OpenCV is not installed")

colour_cell = pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")
programs_of = pytest.importorskip("ros_programs")
small_sim = pytest.importorskip("small_sim")

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture
def programs(domain):
    made = programs_of.Programs(domain)
    yield made
    made.kill()


def doctor(programs, report, *flags):
    command = ("-m", "robollm_core.cli.main", "doctor", "--graph", "--json", str(report))
    ended = programs.start(*command, *flags)
    code = ended.end(timeout=60)
    assert ended.errors == []
    return code, json.loads(report.read_text(encoding="utf-8")), "\n".join(ended.lines)


def test_an_unconfigured_cell_and_then_a_well_one(programs, stand_ins, tmp_path):
    report = tmp_path / "graph.json"
    node = programs.start("-m", "robollm_ros.perception_node")
    code, found, text = doctor(programs, report, "--seconds", "3")
    assert code == 1
    assert [cell["state"] for cell in found["cells"]] == ["unconfigured"]
    assert "!! /perception: is unconfigured" in text
    assert node.end(signal.SIGINT) == 0

    small_sim.write_cell_states(tmp_path / "cell")
    sim = ("-p", "states:=0", "-p", f"cell_folder:={tmp_path / 'cell'}", "-p", "cameras:=all")
    programs.start("-m", "robollm_ros.sim_cell_node", "--ros-args", *sim)
    settings = {
        **stand_ins,
        "input.transport": "compressed",
        "input.stale_after_s": 60.0,
        "identification.reference_root": tmp_path / "cell",
        "camera_names": "[tote_top,tote_wall,on_arm_low,far_tray]",
    }
    programs.perception(settings)
    code, found, text = doctor(programs, report, "--seconds", "6")
    assert [each for each in found["findings"] if each["level"]] == []
    assert code == 0
    assert "all is well" in text
    assert "input/far_tray" in text

    code, found, _ = doctor(programs, report, "--seconds", "4", "--namespace", "/elsewhere")
    assert (code, found["cells"]) == (1, [])
