# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm view` starts the program, passes its words on, and takes it along when it ends."""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robollm_core.cli import view
from robollm_core.errors import ConfigError, DependencyError

ROOT = Path(__file__).parents[3]


def parsed(*words):
    parser = argparse.ArgumentParser()
    view.add_arguments(parser)
    return parser.parse_args(words)


def test_it_listens_on_this_machine_alone_by_default():
    words = view.command(parsed())
    assert words[:3] == [sys.executable, "-m", "robollm_ros.view_node"]
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--ros-args" not in words


@pytest.mark.parametrize("namespace", ["cell", "/cell", "/cell/"])
def test_a_namespace_becomes_a_remapping(namespace):
    words = view.command(parsed("--namespace", namespace))
    assert words[-3:] == ["--ros-args", "-r", "__ns:=/cell"]


@pytest.mark.parametrize("namespace", ["a b", "/", "a//b", "-p x:=1", "ä", "a/../b", "__ns:=/x"])
def test_what_is_no_namespace_is_refused(namespace):
    with pytest.raises(ConfigError, match="namespace"):
        view.command(parsed(f"--namespace={namespace}"))


@pytest.mark.parametrize("package", view.NEEDED)
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, package):
    find = importlib.util.find_spec
    lacking = lambda name, *more: None if name == package else object()  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", lacking)
    with pytest.raises(DependencyError, match=package):
        view.run(parsed())
    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_is_the_programs(monkeypatch, code):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: object())
    monkeypatch.setattr(view, "command", lambda args: [sys.executable, "-c", f"exit({code})"])
    assert view.run(parsed()) == code


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_program_does_not_outlive_the_command(number, code):
    pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
    pytest.importorskip("aiohttp", reason="the view needs aiohttp")
    process = subprocess.Popen(
        [sys.executable, "-m", "robollm_core.cli.main", "view", "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "PYTHONUNBUFFERED": "1"},
        # a run in the background of a shell hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout.readline().startswith("ready: http://127.0.0.1:")
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(20) == code
    finally:
        process.kill()
    end = time.monotonic() + 5
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "the program is still there"
        time.sleep(0.05)
    assert "Traceback" not in process.stderr.read()
