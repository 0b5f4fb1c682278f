# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Programs as processes: ready, ended, stopped, failed; and a domain nobody else is on."""

import socket
import sys
import time

import pytest

from robollm_core.cli import processes
from robollm_core.cli.processes import Program, private_domain
from robollm_core.errors import DependencyError, RobollmError
from robollm_core.runtime.artifact import share_folder


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a piece of Python in the place of a module of robollm_ros."""
    package = tmp_path / "robollm_ros"
    package.mkdir()
    (package / "__init__.py").touch()

    def build(code):
        (package / "probe.py").write_text(code)
        # first on the path, in front of the real package
        return Program("probe", ["a b"], {"PYTHONPATH": str(tmp_path)}, tmp_path / "log" / "p.txt")

    monkeypatch.chdir(tmp_path)
    return build


READY = "import sys, time\nprint('ready: ' + sys.argv[1], flush=True)\n"


def test_ready_then_ended(start):
    with start(READY + "time.sleep(0.1)") as program:
        program.wait_ready(20)
        program.wait(20)


def test_stopped_by_a_signal_it_handles(start, tmp_path):
    code = "import signal\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(0))\n"
    with start("import sys\n" + code + READY + "time.sleep(60)") as program:
        program.wait_ready(20)
        begun = time.monotonic()
        program.stop(20)
        assert time.monotonic() - begun < 15


def test_one_that_fails_is_quoted(start):
    with start("import sys\nsys.exit('no such camera')") as program:
        with pytest.raises(
            RobollmError, match=r"robollm_ros\.probe ended with code 1.*\n.*no such camera"
        ):
            program.wait_ready(20)
        with pytest.raises(RobollmError, match="code 1"):
            program.wait(20)


def test_one_that_never_is_ready_or_never_ends(start):
    with start("import time\ntime.sleep(60)") as program:
        with pytest.raises(RobollmError, match="not ready after 1 s"):
            program.wait_ready(1)
        with pytest.raises(RobollmError, match="did not end within 0 s"):
            program.wait(0.2)


def test_one_that_ignores_signals_is_killed(start, monkeypatch):
    monkeypatch.setattr(processes, "_GRACE_S", 0.3)
    code = "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n"
    with start(code + READY + "time.sleep(60)") as program:
        program.wait_ready(20)
        pid = program._process.pid
    assert program._process.returncode == -9
    with pytest.raises(ProcessLookupError):
        import os

        os.kill(pid, 0)


def test_a_domain_is_private_and_free():
    environment = {"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "10.0.0.1", "HOME": "/x"}
    got = private_domain(environment)
    assert 1 <= int(got["ROS_DOMAIN_ID"]) <= 101
    assert got["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_LOCALHOST_ONLY" not in got
    assert "ROS_STATIC_PEERS" not in got
    assert got["HOME"] == "/x"
    assert environment["ROS_LOCALHOST_ONLY"] == "1"  # the caller's stays as it is


def test_domains_in_use_are_passed_over(monkeypatch):
    monkeypatch.setattr(processes, "HIGHEST_DOMAIN", 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        try:
            first.bind(("", 7400 + 250 * 1))
        except OSError:
            pytest.skip("domain 1 is in use on this machine")
        try:
            assert private_domain({})["ROS_DOMAIN_ID"] == "2"
        except DependencyError:
            pytest.skip("domain 2 is in use on this machine")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            second.bind(("", 7400 + 250 * 2))
            with pytest.raises(DependencyError, match="in use"):
                private_domain({})


def test_the_package_is_found_from_a_checkout():
    assert share_folder().as_posix() in private_domain({"PYTHONPATH": "/a"})["PYTHONPATH"]
    assert sys.executable
