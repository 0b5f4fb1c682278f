# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Programs of robollm_ros as processes; the core itself never imports ROS."""

import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from robollm_core.errors import DependencyError, RobollmError
from robollm_core.runtime.artifact import own_environment

HIGHEST_DOMAIN = 101
"""Above it, Fast DDS's ports run into those that Linux hands out to clients."""
_PORT_BASE, _PORTS_A_DOMAIN = 7400, 250
_GRACE_S = 15.0


def private_domain(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which ROS programs hear only each other.

    Args:
        environment: of this process.

    Returns:
        A copy with a ROS domain that nobody on this machine uses, kept to this
        machine, and with the package importable.

    Raises:
        DependencyError: If no domain is free.
    """
    private = dict(environment)
    # these override the domain or the range, or are refused beside it
    for name in ("ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER"):
        private.pop(name, None)
    private["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    private["ROS_DOMAIN_ID"] = str(_free_domain())
    return own_environment(private)


def _free_domain() -> int:
    domains = list(range(1, HIGHEST_DOMAIN + 1))
    random.shuffle(domains)
    for domain in domains:
        # every participant of a domain listens on its discovery port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _PORT_BASE + _PORTS_A_DOMAIN * domain))
            except OSError:
                continue
            return domain
    raise DependencyError(f"all ROS domains from 1 to {HIGHEST_DOMAIN} are in use here.")


class Program:
    """A running `python -m robollm_ros.NAME`; a context manager that ends it.

    Attributes:
        name: module in robollm_ros.
        log: file that gets its stderr.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Name the program; it starts on entry."""
        self.name, self.log = name, log
        self._command = [sys.executable, "-m", f"robollm_ros.{name}", *arguments]
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self._ready = False

    def __enter__(self) -> "Program":
        """Start."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it if it still runs, the hard way after a grace period."""
        process = self._running
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    continue

    def is_ready(self, timeout_s: float) -> bool:
        """Whether it has said that it is ready, or says so within a time.

        Raises:
            RobollmError: If it has ended.
        """
        end = time.monotonic() + timeout_s
        while not self._ready:
            try:
                self._ready = self._lines.get(timeout=0.1).startswith("ready")
            except queue.Empty:
                self.check()
                if time.monotonic() >= end:
                    break
        return self._ready

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for the line that says the program is ready.

        Raises:
            RobollmError: If it ends or the time passes before.
        """
        if not self.is_ready(timeout_s):
            raise self._failure(f"was not ready after {timeout_s:.0f} s")

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, and wait.

        Raises:
            RobollmError: If it fails or does not end in time.
        """
        if self._running.poll() is None:
            self._running.send_signal(signal.SIGINT)
        self.wait(timeout_s)

    def check(self) -> None:
        """Say so if it has ended by itself.

        Raises:
            RobollmError: If it does not run any more.
        """
        if self._running.poll() is not None:
            raise self._failure(f"ended with code {self._running.returncode}")

    def wait(self, timeout_s: float) -> None:
        """Wait for its end.

        Raises:
            RobollmError: If it fails or does not end in time.
        """
        try:
            code = self._running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"did not end within {timeout_s:.0f} s") from None
        if code != 0:
            raise self._failure(f"ended with code {code}")

    @property
    def pid(self) -> int:
        """Number of the running process."""
        return self._running.pid

    @property
    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None, "the program was not started"
        return self._process

    def _listen(self) -> None:
        assert self._running.stdout is not None
        for line in self._running.stdout:
            self._lines.put(line)

    def _failure(self, what: str) -> RobollmError:
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        said = "\n  ".join(tail) or "(it said nothing)"
        return RobollmError(f"robollm_ros.{self.name} {what}; see {self.log}:\n  {said}")
