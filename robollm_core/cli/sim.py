# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run a simulated cell: four cameras, a manifest and pick events, and the node that answers.

Both are real ROS 2 programs in this shell's own domain, so that `robollm view`,
`robollm doctor --graph` and every ROS tool see them. It runs until it is interrupted.
"""

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from robollm_core.cli.processes import Program
from robollm_core.errors import ConfigError, DependencyError, RobollmError
from robollm_core.runtime.artifact import own_environment, share_folder

NEEDED = {
    "rclpy": "source a ROS 2 installation, or run: pip install '.[ros]' in the checkout",
    "vision_msgs": "run `make setup`, or install ros-$ROS_DISTRO-vision-msgs",
    "mujoco": "run: pip install '.[sim]' in the checkout, or pip install mujoco pillow",
}
START_S = 600.0
"""Networks may be compiled, and totes rendered, the first time."""
_LOOK_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the pace of the cell, its faults, and where it is kept."""
    parser.add_argument("--rate", type=float, default=5.0, help="frames of the tote a second")
    parser.add_argument("--picks", type=float, default=0.5, help="picks a second; 0: none")
    parser.add_argument("--faults", default="", help="as the parameter of sim_cell_node, or random")
    parser.add_argument("--seed", type=int, default=0, help="the same seed shows the same cell")
    parser.add_argument("--states", type=int, default=24, help="totes rendered, once a seed")
    parser.add_argument("--seconds", type=float, default=0.0, help="end by itself; 0: never")
    parser.add_argument("--namespace", default="", help="of the cell, such as /cell; default: none")
    parser.add_argument(
        "--out", type=Path, default=Path("out/sim"), help="gets the cell and the logs"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the perception node; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Start both, say how to look at them, and wait.

    Raises:
        ConfigError: If an argument is wrong.
        DependencyError: If ROS 2 or the simulator is not installed.
        RobollmError: If a program ends or is not ready in time.
    """
    for package, mend in NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise DependencyError(f"the simulated cell needs {package}: {mend}.")
    node, cell = perception_words(args), sim_cell_words(args)
    environment, log = own_environment(os.environ), args.out / "log"
    with ExitStack() as running:
        programs = []
        for name, words in (("sim_cell_node", cell), ("perception_node", node)):
            program = Program(name, words, environment, log / f"{name}.txt")
            programs.append(running.enter_context(program))
        print("The cell starts; the first time this takes a minute or two.", flush=True)
        _wait_ready(programs)
        print(
            "The cell runs. In other shells: `robollm view` shows it, `robollm doctor --graph` "
            f"checks it. Logs: {log}. Ctrl-C ends it.",
            flush=True,
        )
        _watch(programs, args.seconds)
    return 0


def sim_cell_words(args: argparse.Namespace) -> list[str]:
    """The arguments of sim_cell_node."""
    settings = {
        "cameras": "all",
        "rate_hz": float(args.rate),
        "picks_per_s": float(args.picks),
        "faults": args.faults,
        "seed": args.seed,
        "states": args.states,
        "cell_folder": str(args.out.resolve() / "cell"),
        "wait_s": START_S,
        "transport": "compressed",
    }
    return _ros_arguments(
        args.namespace, [(name, _said(value)) for name, value in settings.items()]
    )


def perception_words(args: argparse.Namespace) -> list[str]:
    """The arguments of perception_node.

    Raises:
        ConfigError: If --set is not NAME=VALUE.
    """
    settings = [
        ("autostart", "true"),
        ("input.transport", "compressed"),
        ("identification.reference_root", _said(str(args.out.resolve() / "cell"))),
    ]
    for text in args.set:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set takes NAME=VALUE, got {text!r}.")
        settings.append((name, value))
    # of the cameras: which there are, and that three of them send a frame a pick and no more
    cameras = ["--params-file", str(share_folder() / "config/sim_cell_cameras.yaml")]
    return _ros_arguments(args.namespace, settings) + cameras


def _ros_arguments(namespace: str, settings: Sequence[tuple[str, str]]) -> list[str]:
    words = ["--ros-args"]
    if namespace:
        words += ["-r", f"__ns:=/{namespace.strip('/')}"]
    for name, value in settings:
        words += ["-p", f"{name}:={value}"]
    return words


def _said(value: str | float) -> str:
    """As YAML, which ROS reads: a text stays a text, also when it looks like a number."""
    return json.dumps(value)


def _wait_ready(programs: Sequence[Program]) -> None:
    """Wait for all; one that ends ends the waiting for the others, which may wait for it."""
    end = time.monotonic() + START_S
    while [program for program in programs if not program.is_ready(_LOOK_S)]:
        if time.monotonic() >= end:
            raise RobollmError(
                f"the cell was not ready after {START_S:.0f} s; see the logs. On a slow machine "
                "take fewer --states."
            )


def _watch(programs: Sequence[Program], seconds: float) -> None:
    end = time.monotonic() + seconds if seconds > 0 else float("inf")
    while time.monotonic() < end:
        for program in programs:
            program.check()
        time.sleep(_LOOK_S)
