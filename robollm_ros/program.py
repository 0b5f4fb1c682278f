# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What every program of this package does the same: start, signals, spin, end.

rclpy's own signal handling shuts the context down under a running node, which
then can neither deactivate nor say goodbye; here a signal only asks to stop.
"""

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_default_context

from robollm_core.errors import ConfigError, RobollmError
from robollm_core.files import write_file
from robollm_core.runtime.artifact import locate

EXIT_REFUSED = 2
EXIT_FATAL = 70
"""The networks failed for good, and health.on_fatal says to end: whoever starts it again may."""
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""The variable that Fast DDS 2.14 reads; it ignores FASTDDS_DEFAULT_PROFILES_FILE."""
WORKER = "perceive"
"""Name of the thread that runs the networks."""
RCLError = rclpy_implementation.RCLError
_TICK_S = 0.1
_PATIENCE = 2


def run(body: Callable[[threading.Event], int], arguments: Sequence[str] | None = None) -> int:
    """Run a program between rclpy.init and rclpy.shutdown.

    Args:
        body: gets the event that SIGINT and SIGTERM set; returns the exit code.
        arguments: of the process, with `--ros-args`; None for sys.argv.

    Returns:
        What the body returned, or 2 after a RobollmError, printed in one line.
    """
    try:
        stop = _stop_on_signals()
        with _ros(arguments):
            return body(stop)
    except RobollmError as error:
        print(f"robollm: {error}", file=sys.stderr, flush=True)
        return EXIT_REFUSED


def spin(node: Node, done: Callable[[], bool]) -> None:
    """Serve a node's callbacks in this thread until `done` says so.

    Args:
        node: spun with a single-threaded executor; rclpy's multi-threaded one is slower.
        done: asked ten times a second, and after each callback.
    """
    executor, told = SingleThreadedExecutor(context=node.context), set[str]()
    executor.add_node(node)
    try:
        while not done():
            try:
                executor.spin_once(timeout_sec=_TICK_S)
            except RCLError as error:  # of a request or a peer: no reason to end
                if str(error) not in told:
                    told.add(str(error))
                    node.get_logger().error(f"ROS refused something, and the node goes on: {error}")
    finally:
        executor.remove_node(node)
        executor.shutdown()


def leave(code: int) -> NoReturn:
    """End the process at once; everything that has to be closed must be closed.

    The interpreter's own way takes a second on a busy machine, and no thread that still is
    inside a network would survive it. The middleware alone is closed here: what it holds in
    shared memory would stay there.
    """
    gc.collect()
    get_default_context().destroy()
    with suppress(OSError):  # whoever read the other end is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def announce(what: str) -> None:
    """Print the one line that says the program is ready."""
    print(f"ready: {what}", flush=True)


def write_json(path: str, tree: Mapping[str, Any]) -> None:
    """Write a tree to a file, to stdout for "-", nowhere for "".

    Raises:
        OutputError: If the file cannot be written.
    """
    text = json.dumps(tree, indent=1) + "\n"
    if path == "-":
        print(text, end="", flush=True)
    elif path:
        write_file(Path(path), text.encode())


def use_image_profile() -> None:
    """Let Fast DDS carry images without loss, unless the operator chose a profile."""
    os.environ.setdefault(PROFILE, str(locate("config/fastdds_shm.xml")))


@contextmanager
def _ros(arguments: Sequence[str] | None) -> Iterator[None]:
    use_image_profile()
    given = sys.argv if arguments is None else list(arguments)
    try:
        _init(given)
    except Exception as error:  # rclpy raises untyped C++ errors
        if "logging" not in str(error):
            raise ConfigError(f"ROS refuses the arguments: {error}") from error
        # a robot with a full or read-only disk still has work to do
        print(f"robollm: no log file is written: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        _init([*given, "--ros-args", "--disable-external-lib-logs"])
    try:
        yield
    finally:
        rclpy.try_shutdown()


def _init(arguments: Sequence[str]) -> None:
    rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)


def _stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set, until the process has ended."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        asked.append(number)
        # Ctrl-C under ros2 launch comes twice, from the terminal and from launch; whoever asks a
        # third time does not want to wait for a model to load
        if len(asked) == _PATIENCE:
            for each in numbers:
                signal.signal(each, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, ask)
    return stop
