# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plays the cameras, manifests and pick events of a bag as a cell would, headers verbatim.

It begins when the perception node is active and listens to everything that will be
played; `ros2 bag play` loses the first frames to discovery, and is not there on a
machine without ROS. One camera is played on the topic image, several each on
<camera>/image.

Exit code: 0 when all was played, 2 when the bag or an argument was refused or
nobody listened, 3 when --lockstep waited for an answer that never came.
"""

import argparse
import math
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from rclpy.utilities import remove_ros_args

from robollm_core.data.bag import BagReader, Event, ImageEvent, ManifestEvent, PickMessage
from robollm_core.data.camera_topics import camera_names
from robollm_core.errors import BagError, ConfigError
from robollm_ros.playback import Played, Player
from robollm_ros.program import EXIT_REFUSED, announce, run, write_json

IN_FORCE_S = 5.0
"""In lockstep: how long a manifest is given until its references are embedded."""
EXIT_UNANSWERED = 3
"""In lockstep, frames were left without an answer; not 1, with which Python itself gives up."""


def play(arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Play the bag; returns the exit code."""
    started = time.monotonic()
    # the reader of the core says all that can be wrong with a bag, and chooses its topics
    with BagReader(arguments.bag, arguments.image_topic, whole_cell=True) as bag:
        cameras = _chosen(bag, arguments.camera)
        others = {
            topic.name: "pick" if topic.name.endswith("pick/event") else "manifest"
            for topic in bag.topics
            if topic.name.endswith(("pick/event", "container/manifest"))
        }
        if arguments.no_picks:
            others = {topic: what for topic, what in others.items() if what != "pick"}
        player, played_rounds = Player(cameras, others, arguments), 0
        try:
            _match(player, arguments, stop)
            for number in _rounds(arguments.loop):
                _perform(player, bag, {*cameras, *others}, arguments, stop)
                patience = arguments.timeout if arguments.lockstep else 0.0
                player.wait(stop, patience, player.answered_picks)
                player.wait(stop, arguments.linger, lambda: False)
                player.end_round()
                played_rounds = number
                if stop.is_set():
                    break
        finally:
            player.destroy_node()
    played = player.played
    write_json(arguments.json, _report(arguments, bag, played, played_rounds) | {
        "seconds": round(time.monotonic() - started, 3),
    })  # fmt: skip
    return _complain(played, arguments.timeout) if arguments.lockstep else 0


def _chosen(bag: BagReader, wanted: list[str]) -> dict[str, str]:
    """Image topics to play and their types: all of the bag, or the cameras that were named."""
    types = {topic.name: topic.msgtype for topic in bag.topics if topic.name in bag.image_topics}
    if not wanted:
        return types
    names = camera_names(list(types))
    missing = sorted(set(wanted) - set(names.values()))
    if missing:
        raise BagError(
            f"{bag.path} has no camera {', '.join(missing)}; it has "
            f"{', '.join(sorted(names.values()))}."
        )
    return {topic: kind for topic, kind in types.items() if names[topic] in wanted}


def _rounds(asked: int) -> Iterator[int]:
    """1, 2, ... as often as asked; 0 is for ever."""
    return (number for number in (range(1, asked + 1) if asked else count(1)))


def _report(
    arguments: argparse.Namespace, bag: BagReader, played: Played, rounds: int
) -> dict[str, Any]:
    lockstep = arguments.lockstep
    return {
        "bag": str(arguments.bag),
        "image_topic": bag.image_topic,
        "frames_sent": len(played.stamps),
        "cameras": played.by_camera,
        "answers": played.answers if lockstep else None,
        "unanswered_ns": played.unanswered if lockstep else None,
        "manifests_sent": played.manifests,
        "pick_events_sent": len(played.events),
        "pick_events_unanswered": played.silent if lockstep else None,
        "rounds": rounds,
        "stamps_ns": played.stamps,
    }


def _complain(played: Played, timeout_s: float) -> int:
    """Name what was left without an answer on stderr; returns the exit code."""
    told = []
    if played.unanswered:
        told.append(
            f"{len(played.unanswered)} of {len(played.stamps)} frames were not answered within "
            f"{timeout_s} s, with header stamps (ns): {', '.join(map(str, played.unanswered))}."
        )
    if played.silent:
        told.append(
            f"{len(played.silent)} of {len(played.events)} pick events were not answered within "
            f"{timeout_s} s: {', '.join(played.silent)}."
        )
    if not told:
        return 0
    told.append("The log of the perception node says why.")
    print(f"robollm: {' '.join(told)}", file=sys.stderr, flush=True)
    return EXIT_UNANSWERED


def _match(player: Player, arguments: argparse.Namespace, stop: threading.Event) -> None:
    if player.wait(stop, arguments.timeout, lambda: not player.unheard()):
        announce("matched")
    elif not stop.is_set():
        unheard = player.unheard()
        if player.perception is not None and unheard == player.perception.name:
            raise BagError(
                f"the perception node {unheard} was not active within {arguments.timeout} s. "
                "Configure and activate it, or name another one with --node."
            )
        raise BagError(
            f"nobody listens to {unheard} within {arguments.timeout} s. Start the perception node "
            "first, on the same ROS_DOMAIN_ID, with the same input.transport and camera_names; "
            "--camera plays some cameras only, --any-listener does without a perception node."
        )


def _perform(
    player: Player,
    bag: BagReader,
    topics: set[str],
    arguments: argparse.Namespace,
    stop: threading.Event,
) -> None:
    begun, first, sent = time.monotonic(), None, 0
    for event in _wanted(bag, topics):
        is_image = isinstance(event, ImageEvent)
        if stop.is_set() or (is_image and sent == arguments.limit):
            return
        first = event.log_ns if first is None else first
        # a manifest goes out at once, so that its references are embedded by its first frame
        if not arguments.lockstep and not isinstance(event, ManifestEvent):
            if player.clock:
                player.clock.run_until(event.log_ns)
            due = begun + (event.log_ns - first) / 1e9 / arguments.rate
            player.wait(stop, due - time.monotonic(), lambda: False)
        _send(player, event, arguments, stop)
        sent += is_image


def _send(
    player: Player, event: Event, arguments: argparse.Namespace, stop: threading.Event
) -> None:
    """Publish a message, and in lockstep wait for what it brings about."""
    if player.clock:
        player.clock.message(event.log_ns)
    in_force = player.awaited_edition()
    player.play(event.topic, event.serialised)
    if isinstance(event, ManifestEvent):
        # one that is refused is not waited for longer: nobody says so on a topic
        player.wait(stop, min(IN_FORCE_S, arguments.timeout), in_force)
    elif isinstance(event, ImageEvent):
        player.wait(stop, arguments.timeout * arguments.lockstep, player.answered_newest)
        # who stops the player does not wait for the newest answer, so that none is missing
        if not player.answered_newest() and not stop.is_set():
            player.give_up()


def _wanted(bag: BagReader, topics: set[str]) -> Iterator[Event]:
    kinds = (ImageEvent, ManifestEvent, PickMessage)
    return (event for event in bag.events() if event.topic in topics and isinstance(event, kinds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__)
    add: Any = parser.add_argument
    add("bag", type=Path, help="an .mcap file or a rosbag2 folder")
    add("--rate", type=float, default=1.0, help="times the recorded pace")
    add("--lockstep", action="store_true", help="send a frame when the one before is answered")
    add("--loop", type=int, nargs="?", const=0, default=1, metavar="N",
        help="play N times, without N for ever; stamps go back at each start")  # fmt: skip
    add("--clock", action="store_true", help="publish the time of the bag on /clock")
    add("--node", default="perception", help="name of the perception node that is waited for")
    add("--any-listener", action="store_true", help="be content with any listener, without a node")
    add("--answers", default="", help="topic watched by --lockstep (default NODE/detections)")
    add("--listeners", type=int, default=0, help="wait until so many listen to the answers")
    add("--image-topic", default="", help="play this image topic of the bag alone, as one camera")
    add("--camera", action="append", default=[], metavar="NAME",
        help="play this camera of the bag; may be repeated (default: all)")  # fmt: skip
    add("--no-picks", action="store_true", help="do not play pick events")
    add("--timeout", type=float, default=60.0, help="seconds to wait for a listener, an answer")
    add("--linger", type=float, default=1.0, help="seconds to stay after the last frame")
    add("--limit", type=int, default=-1, help="at most so many frames a round")
    add("--json", default="", help="write counts to this file, - for stdout")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    if not (math.isfinite(arguments.rate) and arguments.rate > 0):
        raise ConfigError(f"--rate must be above 0, got {arguments.rate}")
    for name in ("timeout", "linger"):
        value = getattr(arguments, name)
        if not value >= 0:
            raise ConfigError(f"--{name} must be at least 0 seconds, got {value}")
    if arguments.loop < 0:
        raise ConfigError(f"--loop must be at least 0, which is for ever, got {arguments.loop}")


def main() -> int:
    """Entry point of the program."""
    arguments = _parser().parse_args(remove_ros_args(sys.argv)[1:])
    try:
        _check(arguments)
    except ConfigError as error:
        print(f"robollm: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return run(lambda stop: play(arguments, stop))


if __name__ == "__main__":
    sys.exit(main())
