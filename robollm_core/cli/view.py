# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Serve the running cell on a local web page: pictures, answers, manifest, picks, health.

It only looks: nothing on the page changes the cell. It runs until it is interrupted.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys

from robollm_core.errors import ConfigError, DependencyError
from robollm_core.runtime.artifact import own_environment

PROGRAM = "robollm_ros.view_node"
NEEDED = {
    "rclpy": "source a ROS 2 installation, or run: pip install '.[ros]' in the checkout",
    "vision_msgs": "run `make setup`, or install ros-$ROS_DISTRO-vision-msgs",
    "aiohttp": "run: pip install '.[view]' in the checkout, or pip install aiohttp",
}
_END_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the page is served and which cell it shows."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; any but this machine's own shows the cameras to the network",
    )
    parser.add_argument("--port", type=int, default=8090, help="TCP port; 0 takes a free one")
    parser.add_argument("--namespace", default="", help="of the cell, such as /cell; default: none")
    parser.add_argument("--node", default="perception", help="name of the perception node")
    parser.add_argument("--rate", type=float, default=8.0, help="pictures a second and camera")
    parser.add_argument(
        "--stale-after",
        type=float,
        default=2.0,
        help="seconds without a frame until a camera shows red that the node says nothing of",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; returns the exit code of the program.

    Raises:
        DependencyError: If ROS 2 or the web server is not installed.
        ConfigError: If the namespace is none.
    """
    for package, mend in NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise DependencyError(f"the view needs {package}, which is not installed: {mend}.")
    process = subprocess.Popen(command(args), env=own_environment(os.environ))
    try:
        return process.wait()
    except KeyboardInterrupt:
        return _end(process)
    finally:
        if process.poll() is None:
            _end(process)


def command(args: argparse.Namespace) -> list[str]:
    """The program to start, word by word.

    Raises:
        ConfigError: If the namespace is none.
    """
    words = [sys.executable, "-m", PROGRAM]
    for name in ("host", "port", "node", "rate", "stale_after"):
        words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    if args.namespace:
        inner = args.namespace.strip("/")
        if not all(part.isidentifier() and part.isascii() for part in inner.split("/")):
            raise ConfigError(
                f"--namespace must be made of letters, digits, _ and /, got {args.namespace!r}."
            )
        words += ["--ros-args", "-r", f"__ns:=/{inner}"]
    return words


def _end(process: "subprocess.Popen[bytes]") -> int:
    """Ask the program to end, and wait; the hard way when it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
