# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A node that is asked to end does so at once, and leaves nothing in shared memory."""

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("onnx", reason="the stand-in networks need onnx")

from colour_cell import write_cell
from ros_programs import ROOT

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def segments(pid):
    """The segments of shared memory that Fast DDS has made for this process alone."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = {Path(line.split()[-1]) for line in maps if "/dev/shm/fastrtps_" in line}
    return {path for path in found if "port" not in path.name}


@pytest.mark.parametrize("ask", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_node_ends_in_time_and_leaves_no_shared_memory(programs, tmp_path, ask):
    node = programs.perception(write_cell(tmp_path))
    held = segments(node.pid)  # before it hears anybody, whose segment it would map as well
    programs.start(ROOT / "test/fixtures/ros_camera.py", 640, 480, 20, 200)
    time.sleep(1.0)
    begun = time.monotonic()
    assert node.end(ask) == 0
    took = time.monotonic() - begun
    assert node.errors == []
    assert held, "nothing to look at: is shared memory in use?"
    assert [path for path in held if path.exists()] == []
    assert took < 2.0 or _loaded(), f"{took:.1f} s"


def _loaded():
    """Whether so much else runs that a second says nothing."""
    load, cores = float(Path("/proc/loadavg").read_text().split()[0]), os.cpu_count()
    return load > 2 * cores
