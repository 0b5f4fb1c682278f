# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run the cell on a sample bag over real ROS 2 messages, and say how it did."""

import argparse
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core import config as configuration
from robollm_core.cell import build_stages, describe
from robollm_core.cli.arguments import add_config_arguments, read_config
from robollm_core.cli.photo import Photo, perceive_photo
from robollm_core.cli.processes import Program, private_domain
from robollm_core.config import Config
from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader, ImageEvent
from robollm_core.data.recorded import Answer, read_answers
from robollm_core.errors import BagError, DependencyError, OutputError, RobollmError
from robollm_core.evaluation import report
from robollm_core.evaluation.cell import FrameTruth, Score, read_scenes, score
from robollm_core.evaluation.latency import stage_latency_ms
from robollm_core.files import write_file
from robollm_core.images import encode_jpeg
from robollm_core.overlay import draw_overlay
from robollm_core.runtime.artifact import locate
from robollm_core.types import PerceptionResult

SAMPLE = "models/sample/cell.mcap"
RESULTS = (
    "summary.json", "index.html", "answers.mcap", "parameters.yaml", "log/sent.json",
    "log/recorder.txt", "log/perception_node.txt", "log/bag_player.txt",
)  # fmt: skip
"""What a run writes below --out, besides the numbered pictures."""
START_S = 180.0
ANSWER_S = 120.0
END_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of the run.

    Attributes:
        sent: header stamps of the frames that were played.
        answers: in the order they were given.
        images: of the bag, by stamp.
        truths: of the bag, by stamp.
        lockstep: whether every sent frame had to be answered; at the recorded
            pace a slow machine may drop some.
    """

    sent: tuple[int, ...]
    answers: Sequence[Answer]
    images: Mapping[int, ImageEvent]
    truths: Mapping[int, FrameTruth]
    lockstep: bool = True

    def answered(self) -> dict[int, PerceptionResult]:
        """Results by stamp, of the answers that carry the header of a sent frame."""
        results = [answer.result for answer in self.answers]
        return {result.stamp_ns: result for result in results if self._was_sent(result)}

    def strays(self) -> list[int]:
        """Stamps of the answers that carry another header."""
        results = [answer.result for answer in self.answers]
        return [result.stamp_ns for result in results if not self._was_sent(result)]

    def unanswered(self) -> list[int]:
        """Stamps of the sent frames without an answer."""
        answered = self.answered()
        return [stamp for stamp in self.sent if stamp not in answered]

    def score(self) -> Score:
        """Counts over the sent frames of which the truth is known, answered or not."""
        answered = self.answered()
        stamps = [stamp for stamp in dict.fromkeys(self.sent) if stamp in self.truths]
        return score((answered.get(stamp), self.truths[stamp]) for stamp in stamps)

    def _was_sent(self, result: PerceptionResult) -> bool:
        stamp = result.stamp_ns
        return stamp in self.sent and result.camera == self.images[stamp].camera


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm demo`."""
    parser.add_argument("--bag", type=Path, help=f"default: the shipped {SAMPLE}")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        help="folder for the results; those of an earlier run are removed first",
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="play at the recorded pace, so that a slow machine drops frames (of which nothing "
        "counts as found), instead of sending a frame when the one before is answered",
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the cell; 0 only if answers and sent frames belong together and the floor is met."""
    _check_machine()
    bag = args.bag or locate(SAMPLE)
    _clear(args.out, bag)
    floor = _read_floor(bag)
    with BagReader(bag) as reader:
        images, truths = read_scenes(reader)
        compressed = reader.image_type == rostypes.COMPRESSED
    transport = {"input.transport": "compressed" if compressed else "raw"}
    config = configuration.update(read_config(args, bag), transport)
    stages = build_stages(config)  # says what is missing before anything starts
    sent = _perform(bag, args.out, config, realtime=args.realtime)
    answers = read_answers(args.out / "answers.mcap")
    outcome = Outcome(sent, answers, images, truths, lockstep=not args.realtime)
    if not outcome.answers:
        raise BagError(f"no frame was answered; see the logs in {args.out / 'log'}.")
    faults = _faults(outcome, floor)
    summary = _summarise(outcome)
    photo = perceive_photo(stages)
    _write(args.out, outcome, summary, photo, describe(stages))
    _print(args.out, summary, photo, faults)
    return 1 if faults else 0


def _check_machine() -> None:
    for package, mend in (
        ("rclpy", "run `make setup`, or source a ROS 2 installation"),
        ("vision_msgs", "run `make setup`, or install ros-$ROS_DISTRO-vision-msgs"),
        ("imgviz", "run `make setup`, or pip install imgviz"),
    ):
        if importlib.util.find_spec(package) is None:
            raise DependencyError(f"the demo needs {package}, which is not installed: {mend}.")


def _clear(out: Path, bag: Path) -> None:
    """Remove what an earlier run wrote, so that nothing of it passes for a result of this one.

    Raises:
        BagError: If the bag to play is one of those files.
        OutputError: If one of them cannot be removed.
    """
    # by name: what else lies there may be the user's own
    drawn = [
        path
        for path in (out / "overlays").glob("*.jpg")
        if path.stem.isdigit() or path.name == "real_tote.jpg"
    ]
    old = [*(out / name for name in RESULTS), *drawn]
    if bag.resolve() in [path.resolve() for path in old]:
        raise BagError(f"{bag} is a result of the demo in {out}. Choose another --out or --bag.")
    try:
        for path in old:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot remove the results of an earlier run from {out}: {error}. "
            "Choose another --out."
        ) from error
    with suppress(OSError):  # it holds something of the user's, or is not there
        (out / "overlays").rmdir()


def _read_floor(bag: Path) -> dict[str, float]:
    sidecar = bag.with_suffix(".json")
    try:
        floor = json.loads(sidecar.read_text(encoding="utf-8"))["floor"]
        return {name: float(floor[name]) for name in ("found", "recall_at_1")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BagError(
            f"{sidecar} must stand beside the bag and hold floor.found and floor.recall_at_1: "
            f"{error!r}. Make both with `robollm synth bag`."
        ) from error


def _perform(bag: Path, out: Path, config: Config, *, realtime: bool) -> tuple[int, ...]:
    """Run recorder, node and player until the bag is played; returns the stamps sent."""
    write_file(out / "parameters.yaml", configuration.to_yaml(config).encode())
    environment, logs = private_domain(os.environ), out / "log"
    sent = out / "log" / "sent.json"
    ros = ["--ros-args", "--params-file", str(out / "parameters.yaml"), "-p", "autostart:=true"]
    pace = ["--linger", "5"] if realtime else ["--lockstep", "--timeout", str(ANSWER_S)]
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Program:
            program = Program(name, arguments, environment, logs / f"{name}.txt")
            return stack.enter_context(program)

        print(f"starting the cell on ROS domain {environment['ROS_DOMAIN_ID']} ...", flush=True)
        recorder = start("recorder", str(out / "answers.mcap"))
        node = start("perception_node", *ros)
        node.wait_ready(START_S)
        recorder.wait_ready(START_S)
        print(f"playing {bag} ...", flush=True)
        player = start("bag_player", str(bag), "--json", str(sent), *pace)
        player.wait_ready(START_S)
        _wait_played(player, sent, _longest(bag))
        recorder.stop(END_S)
        node.stop(END_S)
    return tuple(json.loads(sent.read_text(encoding="utf-8"))["stamps_ns"])


def _wait_played(player: Program, report: Path, timeout_s: float) -> None:
    """Wait for the end of the player; frames without an answer are a fault, judged later."""
    try:
        player.wait(timeout_s)
    except RobollmError:
        # the report is the last thing it writes
        if not report.exists() or not json.loads(report.read_bytes())["unanswered_ns"]:
            raise


def _longest(bag: Path) -> float:
    with BagReader(bag) as reader:
        return START_S + ANSWER_S * reader.frames


def _faults(outcome: Outcome, floor: Mapping[str, float]) -> list[str]:
    """Why the run is no success; empty when it is."""
    faults = []
    if strays := outcome.strays():
        faults.append(f"answers with a header that was never sent: {strays}")
    if outcome.lockstep and (missing := outcome.unanswered()):
        faults.append(f"{len(missing)} of {len(outcome.sent)} frames were not answered: {missing}")
    reached = outcome.score()
    for name, wanted in floor.items():
        got = getattr(reached, name)
        if not got >= wanted:
            faults.append(f"{name} is {got:.3f}, the floor of this bag is {wanted:.3f}")
    return faults


def _summarise(outcome: Outcome) -> dict[str, Any]:
    newest = max((answer.counts for answer in outcome.answers), key=lambda c: c["received"])
    reached = outcome.score()
    return {
        "frames_sent": len(outcome.sent),
        "frames_received": newest["received"],
        "frames_processed": newest["processed"],
        "frames_dropped": newest["dropped"],
        "instances_truth": reached.instances_truth,
        "instances_found": reached.instances_found,
        "recall_at_1": round(reached.recall_at_1, 4),
        "latency_ms": stage_latency_ms([answer.result for answer in outcome.answers]),
    }


def _write(
    out: Path,
    outcome: Outcome,
    summary: Mapping[str, Any],
    photo: Photo,
    engines: Mapping[str, str],
) -> None:
    pictures = []
    # a stray answer has no image to draw it on
    for number, (stamp, result) in enumerate(outcome.answered().items()):
        frame = outcome.images[stamp].decode()
        drawn = encode_jpeg(draw_overlay(frame.image_rgb, result))
        write_file(out / "overlays" / f"{number:03}.jpg", drawn)
        title = f"frame {number}, {stamp / 1e9:.3f} s"
        pictures.append(report.picture(title, drawn, result, outcome.truths.get(stamp)))
    write_file(out / "overlays" / "real_tote.jpg", photo.jpeg)
    pictures.append(report.picture(photo.title, photo.jpeg, photo.result, photo.truth))
    page = report.render(
        "robollm demo",
        "A bag of a simulated cell, played over ROS 2: what the cell said, against the truth.",
        rows=dict(_rows(summary)),
        pictures=pictures,
        footer=[f"{stage}: {engine}" for stage, engine in engines.items()],
    )
    write_file(out / "index.html", page.encode())
    write_file(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, str(value)) for name, value in summary.items() if name != "latency_ms"]
    for stage, values in summary["latency_ms"].items():
        text = " / ".join(f"{value:.1f}" for value in values.values())
        rows.append((f"{stage} ms (p50 / p90 / p99)", text))
    return rows


def _print(out: Path, summary: Mapping[str, Any], photo: Photo, faults: Sequence[str]) -> None:
    rows = _rows(summary)
    width = max(len(name) for name, _ in rows)
    print()
    for name, text in rows:
        print(f"  {name:{width}}  {text}")
    print(f"\n  {photo.title}: {photo.summary}")
    print(f"  the page: {out / 'index.html'}\n")
    for fault in faults:
        print(f"FAILED: {fault}")
    if not faults:
        print("passed: every answer carries the header of a sent frame, and the floor is met")
