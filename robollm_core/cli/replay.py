# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run a bag through the core without ROS: every frame, message time, the same bytes each time."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from robollm_core.cell import build_stages
from robollm_core.cli.arguments import add_config_arguments, read_config
from robollm_core.data.answers import TOPICS, write_answer
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent
from robollm_core.data.bagwriter import BagWriter
from robollm_core.errors import ImageError, ManifestError
from robollm_core.manifests import check_version, parse_manifest
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import Manifest, PerceptionResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `robollm replay`."""
    parser.add_argument("bag", type=Path, metavar="BAG", help=".mcap, .db3 or a rosbag2 folder")
    parser.add_argument("--out", type=Path, required=True, help="the .mcap file to write")
    parser.add_argument("--image-topic", default="", help="default: the only one of the bag")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer every frame; 1 when one was refused, as the node would refuse it."""
    config = read_config(args, args.bag)
    with BagReader(args.bag, args.image_topic) as bag:
        replay = Replay(bag, build_stages(config))
        with BagWriter(args.out, TOPICS) as out:
            for result in tqdm(replay.results(), total=bag.frames, unit="frame", desc="replay"):
                write_answer(out, result)
    print(f"{args.out}: {replay.answered} frames answered, {replay.refused} messages refused")
    return 1 if replay.refused else 0


class Replay:
    """The messages of a bag on their way through the cell.

    Attributes:
        answered: frames answered so far.
        refused: images and manifests that were refused so far.
    """

    def __init__(self, bag: BagReader, stages: Stages) -> None:
        """Take an open bag and a cell."""
        self._bag, self._stages = bag, stages
        self._manifest: Manifest | None = None
        self.answered = 0
        self.refused = 0

    def results(self) -> Iterator[PerceptionResult]:
        """Answer the frames in the order of the bag.

        Yields:
            One result a frame. As in the node, a broken image is skipped and a
            manifest that is refused leaves the one before in force; each is
            told on stderr and counted.
        """
        for event in self._bag.events():
            try:
                if isinstance(event, ManifestEvent):
                    self._accept(event)
                elif isinstance(event, ImageEvent):
                    yield self._answer(event)
            except (ImageError, ManifestError) as error:
                self.refused += 1
                print(f"robollm: refused at {event.log_ns} ns: {error}", file=sys.stderr)

    def _accept(self, event: ManifestEvent) -> None:
        manifest = parse_manifest(event.text, f"the manifest at {event.log_ns} ns")
        check_version(self._manifest, manifest)
        self._stages.identification.prepare(manifest)
        self._manifest = manifest

    def _answer(self, event: ImageEvent) -> PerceptionResult:
        result = perceive(event.decode(), self._manifest, self._stages)
        self.answered += 1
        return result
