# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of `robollm bench ros`: camera, perception node and listener, on a domain alone."""

import argparse
import json
import os
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.bench.ros_latency import Case, Seen, grown, next_rate, peak, row, spread
from robollm_core.bench.ros_process import look
from robollm_core.bench.ros_stages import core_alone_ms, fixed_stages
from robollm_core.cli.processes import Program, private_domain

_START_S = 60.0
_TRIAL_S = 4.0
_FIRST_HZ = 20.0


class Bench:
    """Runs cases; a context manager that ends its programs."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Take the arguments of the verb."""
        self._args = args
        self._environment = private_domain(os.environ)
        self._stack = ExitStack()
        self._programs = 0

    def __enter__(self) -> "Bench":
        """Make the folder for what programs say."""
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End whatever still runs."""
        self._stack.close()

    def rows(self) -> list[dict[str, Any]]:
        """Every size at every rate."""
        args = self._args
        cases = [
            Case(size, rate, args.seconds, args.transport)
            for size, rate in product(args.size, args.rate)
        ]
        seen: list[tuple[Case, dict[str, Any], dict[str, float]]] = []
        with ExitStack() as running:
            node = self._node(running, args.stage_ms)
            listener = self._program(running, "bench_listener", "--picks", str(args.picks))
            listener.wait_ready(_START_S)
            for case in tqdm(cases, desc="cases", mininterval=1.0):
                seen.append((case, *self._show(case, node.pid)))
            listener.stop(_START_S)
            node.stop(_START_S)
            told, published = self._read(listener), self._read(node)["published"]
        found: list[dict[str, Any]] = []
        before: dict[str, Any] = {}
        for case, camera, usage in seen:
            stamps = set(camera["stamps_ns"])
            newest = [one for one in told["timing"] if one["stamp_ns"] in stamps][-1:]
            counts = grown(before, newest[0]) if newest else {}
            before = newest[0] if newest else before
            core = self._core_ms(case.size)
            seen_by_all = Seen(camera, published, told["heard"], counts, core, usage, told["picks"])
            found.append(row(case, seen_by_all))
        return found

    def subscriptions(self) -> list[dict[str, Any]]:
        """Stamp to a frame in hand, serialised against ordinary subscription, by size."""
        found = []
        for size in self._args.size:
            told: dict[str, Any] = {"size": size}
            for name, words in (("serialised", ()), ("ordinary", ("--ordinary",))):
                with ExitStack() as running:
                    receiver = self._program(running, "bench_receiver", *words)
                    receiver.wait_ready(_START_S)
                    self._camera(running, Case(size, 10.0, _TRIAL_S)).wait(_START_S + _TRIAL_S)
                    receiver.stop(_START_S)
                    frames = self._read(receiver)["frames"]
                told[f"{name}_ms"] = spread([(end - stamp) / 1e6 for stamp, _, end in frames])
            found.append(told)
        return found

    def peaks(self) -> list[dict[str, Any]]:
        """The highest rate with at most 5 % lost when the stages cost nothing, by size."""
        return [self._peak(size) for size in self._args.size]

    def _peak(self, size: str) -> dict[str, Any]:
        tried: list[dict[str, float]] = []
        with ExitStack() as running:
            node = self._node(running, 0.0)
            while (rate := next_rate(tried, _FIRST_HZ)) is not None:
                case = Case(size, rate, _TRIAL_S, self._args.transport)
                with ExitStack() as trial:
                    listener = self._program(trial, "bench_listener")
                    listener.wait_ready(_START_S)
                    camera, _ = self._show(case, node.pid)
                    listener.stop(_START_S)
                sent = camera["stamps_ns"]
                heard = {stamp for stamp, _ in self._read(listener)["heard"]}
                reached = (len(sent) - 1) / camera["seconds"]
                loss = 1 - len(heard.intersection(sent)) / len(sent)
                tried.append({"rate": rate, "rate_reached": reached, "loss": loss})
            node.stop(_START_S)
        return {"size": size, "peak_hz": peak(tried), "tried": tried}

    def _show(self, case: Case, node: int) -> tuple[dict[str, Any], dict[str, float]]:
        """Show a case; returns what the camera says, and what the node used meanwhile."""
        with ExitStack() as running:
            camera = self._camera(running, case)
            camera.wait_ready(_START_S)
            before, begun = look(node), time.monotonic()
            camera.wait(_START_S + 2 * case.seconds)
            after, took = look(node), time.monotonic() - begun
        usage = {"cpu": (after["cpu_s"] - before["cpu_s"]) / took, "rss_kib": after["rss_kib"]}
        return self._read(camera), usage

    def _camera(self, running: ExitStack, case: Case) -> Program:
        topic = "image" if case.transport == "raw" else "image/compressed"
        return self._program(
            running, "bench_camera", "--size", case.size, "--rate", str(case.rate),
            "--seconds", str(case.seconds), "--transport", case.transport, "--topic", topic,
        )  # fmt: skip

    def _node(self, running: ExitStack, stage_ms: float) -> Program:
        args = self._args
        node = self._program(
            running, "bench_cell", "--stage-ms", str(stage_ms), "--how", args.how,
            "--instances", str(args.instances),
            ros=("-p", "autostart:=true", "-p", f"input.transport:={args.transport}"),
        )  # fmt: skip
        node.wait_ready(_START_S)
        return node

    def _program(
        self, running: ExitStack, name: str, *words: str, ros: tuple[str, ...] = ()
    ) -> Program:
        self._programs += 1
        log = self._folder / f"{self._programs}_{name}.txt"
        # a name of its own, for another graph may come to the same domain later
        ros = ("-r", f"__ns:=/bench_{os.getpid()}", *ros)
        arguments = [*words, "--json", str(log.with_suffix(".json")), "--ros-args", *ros]
        return running.enter_context(Program(name, arguments, self._environment, log))

    def _read(self, program: Program) -> dict[str, Any]:
        path = program.log.with_suffix(".json")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def _core_ms(self, size: str) -> float:
        """Median of the core alone, in this process."""
        width, height = (int(side) for side in size.split("x"))
        image = np.zeros((height, width, 3), np.uint8)
        stages = fixed_stages(self._args.stage_ms, self._args.how, self._args.instances)
        return float(np.median(core_alone_ms(image, stages)))
