# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run a bag through the core without ROS: message time, the same bytes each time.

Every frame of every camera is answered, or with --emulate-realtime those that a node
with the given times would answer. The output has the node's topics, types and header
stamps. `robollm replay diff A B` compares two such bags, and `robollm replay recover` saves
what is whole of a recording that was cut off.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tqdm import tqdm

from robollm_core.cell import build_stages, describe
from robollm_core.cli.arguments import add_config_arguments, read_config
from robollm_core.data.bag import BagReader
from robollm_core.data.bagwriter import BagWriter
from robollm_core.data.provenance import KEY, canonical, facts_of, note, note_path
from robollm_core.data.replay import Plan, Replay
from robollm_core.data.turns import SERVICE, ServiceTimes, read_service_times
from robollm_core.errors import ConfigError
from robollm_core.files import file_sha256, write_file

SUBVERBS = {"diff": "replay_diff", "recover": "replay_recover"}
"""First word to the module that takes the rest; a bag of that name is written ./diff."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm replay`."""
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help=".mcap, .db3 or a rosbag2 folder")
    add("--out", type=Path, required=True, help="the .mcap file to write, and FILE.run.json")
    add(
        "--image-topic",
        default="",
        help="replay this camera alone, without pick events (default: all that the bag holds)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--every-frame", action="store_true", help="answer every frame (this is the default)"
    )
    mode.add_argument(
        "--emulate-realtime",
        action="store_true",
        help="drop the frames that the node would drop, with the times of the bag's own ~/timing "
        "unless others are given",
    )
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--service-time-ms", type=float, help="how long every frame takes")
    times.add_argument(
        "--service-times",
        type=Path,
        metavar="FILE",
        help="draw the time of each frame from these: a JSON list of milliseconds, or a bag with "
        "~/timing",
    )
    add("--seed", type=int, default=0, help="of the draws from --service-times (default 0)")
    add("--no-picks", action="store_true", help="answer frames alone, which is quicker")
    add("--include-inputs", action="store_true", help="copy images, manifests and events too")
    add("--json", type=Path, metavar="FILE", help="write what happened to this file")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Replay; 1 when a message was refused, as the node would refuse it."""
    started = time.monotonic()
    _check(args)
    config = read_config(args, args.bag)
    with BagReader(args.bag, args.image_topic, whole_cell=not args.image_topic) as bag:
        times, mode = _times(args)
        stages = build_stages(config)
        picks = not (args.no_picks or args.image_topic)
        mode = {**mode, "image_topics": list(bag.image_topics), "picks": picks}
        facts = facts_of(config, args.bag, mode)
        models = {
            stage: f"{network['sha256'][:12]} on {network['runtime']}"
            for stage, network in facts["networks"].items()
        }
        replay = Replay(bag, stages, config, Plan(times, args.include_inputs, models, picks))
        bar = tqdm(total=bag.frames, unit="frame", desc="replay")
        about = {KEY: canonical(facts)}
        with bar, BagWriter(args.out, replay.topics, about) as out:
            replay.write(out, bar.update)
    happened = {
        "answered": replay.answered,
        "refused": replay.refused,
        "cameras": replay.counts,
        "picks": replay.picks,
    }
    run_alone = {
        "bag": str(args.bag),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 3),
        "engines": dict(describe(stages)),
        "sha256": file_sha256(args.out),
        **happened,
    }
    write_file(note_path(args.out), note(facts, run_alone))
    if args.json:
        write_file(args.json, (json.dumps({**happened, "facts": facts}, indent=1) + "\n").encode())
    _tell(args.out, happened)
    return 1 if replay.refused else 0


def _check(args: argparse.Namespace) -> None:
    if args.out.resolve() == args.bag.resolve():
        raise ConfigError(f"--out {args.out} is the bag itself. Choose another file.")
    given = args.service_time_ms is not None or args.service_times is not None
    if given and not args.emulate_realtime:
        raise ConfigError(
            "--service-time-ms and --service-times say how long frames take, which matters with "
            "--emulate-realtime alone. Add it, or leave them out."
        )
    ms = args.service_time_ms
    if ms is not None and not (math.isfinite(ms) and 0 <= ms <= 3_600_000):
        raise ConfigError(f"--service-time-ms must be in 0 .. 3600000, got {ms}.")
    if args.seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {args.seed}.")


def _times(args: argparse.Namespace) -> tuple[ServiceTimes | None, dict[str, Any]]:
    """How long frames take, and how that is written down."""
    if not args.emulate_realtime:
        return None, {"name": "every-frame"}
    if args.service_time_ms is not None:
        rows = [{SERVICE: args.service_time_ms}]
    else:
        rows = read_service_times(args.service_times or args.bag)
    listed = json.dumps(rows, sort_keys=True).encode()
    told = {
        "name": "emulate-realtime",
        "service_ms": rows[0][SERVICE] if len(rows) == 1 else f"{len(rows)} recorded times",
        "service_sha256": hashlib.sha256(listed).hexdigest(),
        "seed": args.seed,
    }
    return ServiceTimes(rows, args.seed), told


def _tell(out: Path, happened: Mapping[str, Any]) -> None:
    dropped = sum(counts["dropped"] for counts in happened["cameras"].values())
    words = [f"{happened['answered']} frames answered"]
    words += [f"{dropped} dropped"] if dropped else []
    picks = happened["picks"]
    if picks:
        states = ", ".join(f"{count} {state}" for state, count in sorted(picks.items()))
        words.append(f"{sum(picks.values())} pick events answered ({states})")
    words.append(f"{happened['refused']} messages refused")
    print(f"{out}: {', '.join(words)}")
