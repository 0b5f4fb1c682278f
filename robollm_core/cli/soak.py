# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run a simulated cell with faults for a long time, and account for every frame and every pick."""

import argparse
import importlib.util
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.cli.arguments import add_config_arguments, config_in_force
from robollm_core.config import to_yaml, update
from robollm_core.errors import ConfigError, DependencyError

CAMERAS = ("tote_top", "tote_wall", "on_arm_low", "far_tray")
_START_S = 600.0
"""Networks may be compiled the first time."""
_RENDER_S = 900.0
_DRAIN_S = 3.0
_END_S = 30.0
_LOOKS = 600
"""At most so many looks at the node, over the whole run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how long, what is shown and where the report goes."""
    add: Any = parser.add_argument
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--minutes", type=float, default=10.0, help="how long")
    long.add_argument("--hours", type=float, help="how long, in place of --minutes")
    add("--rate", type=float, default=10.0, metavar="HZ", help="frames of the tote a second")
    add("--picks", type=float, default=1.0, metavar="HZ", help="picks a second")
    add("--faults", default="random=6", help="as the parameter faults of sim_cell_node; '' is none")
    add("--transport", default="compressed", choices=("raw", "compressed"))
    add("--seed", type=int, default=0, help="of the cell and its faults")
    add("--cell", type=Path, metavar="DIR", help="the rendered cell (default: inside --out)")
    add("--states", type=int, default=24, help="states of totes to render; 0: play what is there")
    add("--out", type=Path, default=Path("out/soak"), help="folder for page, plot, figures, logs")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run, report; 0 when everything is accounted for and nothing grew, 1 when not.

    Raises:
        RobollmError: If ROS is not there, an argument is wrong or a program fails.
    """
    from robollm_core.bench.ros_soak import judge, lines
    from robollm_core.bench.ros_soak_page import draw, page
    from robollm_core.evaluation.provenance import machine
    from robollm_core.files import write_file

    seconds = 3600.0 * args.hours if args.hours else 60.0 * args.minutes
    _check(args, seconds)
    facts = {
        "machine": machine(), "version": __version__, "seconds": seconds, "rate": args.rate,
        "picks_per_s": args.picks, "faults_asked": args.faults, "seed": args.seed,
        "command": shlex.join(["robollm", *sys.argv[1:]]),
    }  # fmt: skip
    figures = {**facts, **judge(_perform(args, seconds))}
    text = json.dumps(figures, indent=2, sort_keys=True, allow_nan=False) + "\n"
    for path in (args.out / "soak.json", *filter(None, [args.json])):
        write_file(path, text.encode())
    write_file(args.out / "soak.md", page(figures).encode())
    if importlib.util.find_spec("matplotlib") is not None:
        write_file(args.out / "soak.png", draw(figures))
    print("\n".join(lines(figures)))
    print(f"the page: {args.out / 'soak.md'}")
    return 0 if figures["kept"] else 1


def _check(args: argparse.Namespace, seconds: float) -> None:
    if importlib.util.find_spec("rclpy") is None:
        raise DependencyError(
            "`robollm soak` needs rclpy: run `make setup`, or source a ROS 2 installation."
        )
    if not seconds >= 20.0 or not args.rate > 0.0 or not args.picks >= 0.0:
        raise ConfigError(
            "a soak lasts 20 seconds at least, with --rate above 0 and --picks from 0, got "
            f"{seconds} s, {args.rate} and {args.picks}."
        )


def _perform(args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run the programs; returns what each said and what the node used."""
    from robollm_core.cli.processes import Program, private_domain
    from robollm_core.files import write_file

    logs, cell = args.out / "log", (args.cell or args.out / "cell").resolve()
    # an older report must not pass for one of this run
    for name in ("sent.json", "seen.json"):
        (logs / name).unlink(missing_ok=True)
    config = config_in_force(args.config, args.assignments)
    own = {"input.transport": args.transport, "identification.reference_root": str(cell)}
    write_file(args.out / "parameters.yaml", to_yaml(update(config, own)).encode())
    environment = private_domain(os.environ)
    told: dict[str, Any] = {}
    with ExitStack() as running:

        def start(name: str, *words: str) -> Program:
            # a name of its own, for another graph may come to the same domain later
            words = (*words, "-r", f"__ns:=/soak_{os.getpid()}")
            program = Program(name, words, environment, logs / f"{name}.txt")
            return running.enter_context(program)

        # the cell begins when the node listens, and the node when the watcher hears them both
        node = start("perception_node", "--ros-args", *_node_words(args.out))
        cell_node = start("sim_cell_node", "--ros-args", *_cell_words(args, cell, logs))
        watch = start("soak_watch", "--start", "--json", str(logs / "seen.json"), "--ros-args")
        watch.wait_ready(_START_S)
        cell_node.wait_ready(_RENDER_S)
        told["looks"] = _look(node, cell_node, seconds)
        cell_node.stop(_END_S)
        time.sleep(_DRAIN_S)
        watch.stop(_END_S)
        begun = time.monotonic()
        node.stop(_END_S)
        told["end_s"] = time.monotonic() - begun
    for name in ("sent", "seen"):
        told[name] = json.loads((logs / f"{name}.json").read_text(encoding="utf-8"))
    log = logs / "perception_node.txt"
    told["log"] = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return told


def _node_words(out: Path) -> Sequence[str]:
    cameras = ", ".join(CAMERAS)
    values = {"camera_names": f"[{cameras}]"}
    # a camera that sees the held item alone is silent between two picks
    values |= {f"cameras.{name}.stale_after_s": "60.0" for name in CAMERAS[1:]}
    words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    return ("--params-file", str(out / "parameters.yaml"), *words)


def _cell_words(args: argparse.Namespace, cell: Path, logs: Path) -> Sequence[str]:
    values = {
        "seed": args.seed, "rate_hz": float(args.rate), "picks_per_s": float(args.picks),
        "transport": args.transport, "cameras": "all", "cell_folder": str(cell),
        "states": args.states, "faults": args.faults or "''", "wait_s": _START_S,
        "report": str(logs / "sent.json"),
    }  # fmt: skip
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


def _look(node: Any, cell: Any, seconds: float) -> list[dict[str, float]]:
    """Looks at the node until the time is over; raises when a program ends before."""
    from tqdm import tqdm

    from robollm_core.bench.ros_process import look

    every = max(0.5, seconds / _LOOKS)
    begun = time.monotonic()
    looks: list[dict[str, float]] = []
    with tqdm(total=round(seconds), desc="soak", unit="s", mininterval=5.0) as bar:
        while (now := time.monotonic() - begun) < seconds:
            try:
                looks.append({"s": now, **look(node.pid)})
                look(cell.pid)
            except ConfigError:
                for program in (node, cell):
                    program.wait(1.0)  # says which has ended, and its last words
                raise
            bar.update(int(now) - bar.n)
            time.sleep(min(every, max(0.0, seconds - now)))
    return looks
