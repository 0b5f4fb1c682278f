# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The live view: a web page of a running cell, on this machine alone unless told otherwise.

It listens and publishes nothing; there is nothing to press. Images and masks are
subscribed to only while a browser looks.
"""

import argparse
import ipaddress
import sys
import threading
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from robollm_ros.program import EXIT_REFUSED, announce, run, spin
from robollm_ros.view_ears import Cameras, Ears
from robollm_ros.view_report import report
from robollm_ros.view_server import ViewServer
from robollm_ros.view_state import CellState

STATE_S = 0.5
"""Seconds between two looks at what is not a picture."""


class View(Node):
    """Passes on what it hears to the server of the page."""

    def __init__(self, server: ViewServer, arguments: argparse.Namespace) -> None:
        """Listen to the small topics; pictures follow once a browser looks.

        Args:
            server: of the page, started.
            arguments: of the command line.
        """
        super().__init__("view")
        self._server = server
        self.target = self.resolve_topic_name(arguments.node, only_expand=True)
        self.state = CellState(self.target)
        self.ears = Ears(self, self.target, self.state)
        self.cameras = Cameras(self, self.target, arguments.memory_mb * 2**20)
        self._stale_after_s = float(arguments.stale_after)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(STATE_S, self._look, clock=steady)
        self.create_timer(1.0 / arguments.rate, self._show, clock=steady)

    def _look(self) -> None:
        """Find the cameras, open or close the pictures, tell what is new."""
        self.cameras.find(self.state.inputs)
        self.cameras.watch(self._server.viewers > 0)
        facts = report(self, self.state, self.cameras, self._stale_after_s)
        for key, text in facts.items():
            self._server.publish(key, text)
        # what nobody looks at grows old, and must not be shown as if it were new
        names = {f"frame/{name}" for name in self.cameras.topics if self.cameras.watching}
        for key in self._server.keys - names:
            if key.startswith("frame/"):
                self._server.forget(key)

    def _show(self) -> None:
        """Send the newest picture of each camera, if there is a newer one."""
        for name in self.cameras.topics:
            if (picture := self.cameras.picture(name, self.ears.classes)) is not None:
                self._server.publish(f"frame/{name}", picture)


def serve(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Serve the page until `stop`; returns the exit code."""
    server = ViewServer(arguments.host, arguments.port)
    server.start()
    try:
        node = View(server, arguments)
        try:
            _warn(server.host)
            announce(server.url)
            spin(node, stop.is_set)
        finally:
            node.destroy_node()
    finally:
        server.close()
    return 0


def _warn(host: str) -> None:
    if not _is_local(host):
        print(
            f"robollm: warning: the view listens on {host}, so that whoever reaches this machine "
            "sees the cameras; nothing asks for a password.",
            file=sys.stderr,
            flush=True,
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parser() -> argparse.ArgumentParser:
    """What the program can be told, besides ROS's own arguments."""
    made = argparse.ArgumentParser(prog="view_node", description=__doc__)
    add: Any = made.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8090, help="TCP port; 0 takes a free one")
    add("--node", default="perception", help="name of the perception node")
    add("--rate", type=float, default=8.0, help="pictures a second and camera, at most")
    add(
        "--stale-after",
        type=float,
        default=2.0,
        help="seconds until a camera shows red that the node says nothing of",
    )
    add("--memory-mb", type=int, default=256, help="megabytes of frames that wait for answers")
    return made


def main() -> int:
    """Entry point of the program."""
    arguments = parser().parse_args(remove_ros_args(sys.argv)[1:])
    if not 0.1 <= arguments.rate <= 60 or not 0 <= arguments.port <= 65535:
        print(
            f"robollm: --rate must be 0.1 to 60 and --port 0 to 65535, got {arguments.rate} and "
            f"{arguments.port}.",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    return run(lambda stop: serve(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
