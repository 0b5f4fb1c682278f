# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The three commands of docs/quickstart.md: the simulated cell, its page, its doctor."""

import importlib.util
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")
if importlib.util.find_spec("mujoco") is None:  # looked for: its first import decides how it draws
    pytest.skip("MuJoCo is not installed", allow_module_level=True)

from ros_domain import lend_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
START_S = 240


def robollm(*words):
    return [sys.executable, "-m", "robollm_core.cli.main", *words]


@contextmanager
def running(words, environment, until):
    """A process that has printed a line with `until`; ended with Ctrl-C."""
    process = subprocess.Popen(
        words,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a run in the background of a shell hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(x) for x in process.stdout], daemon=True).start()
    heard, end = [], time.monotonic() + START_S
    try:
        while not (heard and until in heard[-1]):
            assert time.monotonic() < end, heard
            try:
                heard.append(lines.get(timeout=1))
            except queue.Empty:
                assert process.poll() is None, (process.returncode, heard)
        yield heard[-1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture
def environment():
    with lend_domain() as domain:
        yield {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }


def test_a_newcomer_sees_a_well_cell(tmp_path, environment):
    sim = robollm("sim", "--out", str(tmp_path / "sim"), "--states", "3", "--rate", "2")
    with running(sim, environment, "The cell runs"):
        view = robollm("view", "--port", "0")
        with running(view, environment, "http://") as line:
            url = re.search(r"http://\S+", line)[0]
            page = urllib.request.urlopen(url, timeout=10).read().decode()
        found = tmp_path / "found.json"
        doctor = robollm("doctor", "--graph", "--seconds", "8", "--json", str(found))
        told = subprocess.run(
            doctor, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert "<html" in page.lower()
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(found.read_text())
