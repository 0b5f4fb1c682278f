# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the recordings of a site hold: frames, manifests and labels, before an image is decoded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robollm_core.data import rostypes
from robollm_core.data.bag import (
    PICK_TOPIC,
    BagReader,
    ImageEvent,
    ManifestEvent,
    TruthEvent,
    find_topics,
    read_topics,
)
from robollm_core.data.site_labels import (
    PICKED,
    SOURCES,
    TRUTH,
    FrameLabels,
    Moment,
    pick_labels,
    truth_labels,
)
from robollm_core.data.site_views import ViewedPick, viewed_picks
from robollm_core.errors import BagError, DatasetError, ManifestError
from robollm_core.manifests import check_version, parse_manifest
from robollm_core.types import Manifest

_NAMED = 10
"""Examples that are written of each reason to leave something out."""

Labels = Mapping[Moment, FrameLabels]


class LeftOut:
    """Counts what was left out, by reason, with the first few of each."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._count: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, what: str) -> None:
        """Count one thing."""
        self._count[reason] = self._count.get(reason, 0) + 1
        first = self._first.setdefault(reason, [])
        if len(first) < _NAMED:
            first.append(what)

    def tree(self) -> dict[str, Any]:
        """Reason to {"count", "first"}."""
        return {
            reason: {"count": count, "first": self._first[reason]}
            for reason, count in sorted(self._count.items())
        }

    def brief(self) -> str:
        """One line."""
        said = [f"{count} x {reason}" for reason, count in sorted(self._count.items())]
        return "; ".join(said) or "nothing"


@dataclass
class Scan:
    """What one bag holds.

    Attributes:
        bag: the recording.
        image_topic: the topic its frames are on.
        frames: every frame to the manifest in force when it was recorded.
        manifests: every manifest by container id and version.
        labels: what the bag itself says of its frames, by source.
        viewed: picks whose images are whole views, by the frame of the first.
    """

    bag: Path
    image_topic: str = ""
    frames: dict[Moment, Manifest | None] = field(default_factory=dict)
    manifests: dict[tuple[str, int], Manifest] = field(default_factory=dict)
    labels: dict[str, dict[Moment, FrameLabels]] = field(default_factory=dict)
    viewed: dict[Moment, ViewedPick] = field(default_factory=dict)

    def manifest(self, moment: Moment, labels: FrameLabels) -> Manifest | None:
        """The manifest that holds for a frame's labels."""
        return self.manifests.get(labels.manifest) if labels.manifest else self.frames[moment]


def scan_bags(bags: Sequence[Path], image_topic: str, left_out: LeftOut) -> list[Scan]:
    """Look through bags; one that cannot be read is left out as a whole.

    Args:
        bags: .mcap or .db3 files or rosbag2 folders.
        image_topic: needed where a bag has several.
        left_out: takes what is wrong.

    Raises:
        BagError: If none can be read; the first one's error.
    """
    scans, errors = [], []
    for bag in bags:
        try:
            scans.append(_scan(bag, image_topic, left_out))
        except BagError as error:
            left_out.add("bag that cannot be read", str(error))
            errors.append(error)
    if not scans:
        raise errors[0] if errors else BagError("no bag was given.")
    return scans


def _scan(bag: Path, image_topic: str, left_out: LeftOut) -> Scan:
    scan = Scan(bag, labels={TRUTH: {}})
    _read_picks(scan, left_out)
    force: Manifest | None = None
    with BagReader(bag, image_topic or _first_view(scan)) as reader:
        scan.image_topic = reader.image_topic
        for event in reader.events():
            if isinstance(event, ManifestEvent):
                force = _accept(event, force, scan, left_out)
            elif isinstance(event, TruthEvent):
                _read_truth(event, scan, left_out)
            elif isinstance(event, ImageEvent):
                moment = Moment(event.camera, event.stamp_ns)
                if moment in scan.frames:
                    left_out.add("frame of a stamp that came before", _name(bag, moment))
                scan.frames.setdefault(moment, force)
    return scan


def _first_view(scan: Scan) -> str:
    """The topic that picks of whole views begin with; "" without such, or with several."""
    topics = {next(iter(pick.views.values())).topic for pick in scan.viewed.values()}
    return topics.pop() if len(topics) == 1 else ""


def _accept(
    event: ManifestEvent, force: Manifest | None, scan: Scan, left_out: LeftOut
) -> Manifest | None:
    """As in the cell: a refused manifest leaves the one before in force."""
    try:
        manifest = parse_manifest(event.text, f"{scan.bag} at {event.log_ns} ns")
        check_version(force, manifest)
    except ManifestError as error:
        left_out.add("manifest that is refused", str(error))
        return force
    scan.manifests[manifest.container_id, manifest.version] = manifest
    return manifest


def _read_truth(event: TruthEvent, scan: Scan, left_out: LeftOut) -> None:
    try:
        moment, labels = truth_labels(event.tree)
    except DatasetError as error:
        left_out.add("ground truth that cannot be read", f"{scan.bag}: {error}")
        return
    scan.labels[TRUTH][moment] = labels


def _read_picks(scan: Scan, left_out: LeftOut) -> None:
    bag = scan.bag
    topics = find_topics(bag, PICK_TOPIC, rostypes.STRING)
    events = [
        str(message.data)
        for _, _, message in read_topics(bag, dict.fromkeys(topics, rostypes.STRING))
    ]
    cancelled = _cancelled(events)
    scan.viewed, wrong = viewed_picks(events, cancelled)
    for what in wrong:
        left_out.add("pick event whose views cannot be read", f"{bag}: {what}")
    picks: dict[Moment, FrameLabels] = {}
    for text in events:
        try:
            found = pick_labels(text)
            if found is None:
                continue
            if json.loads(text).get("pick_id") in cancelled:
                left_out.add("pick that was cancelled", f"{bag}: {text[:80]}")
                continue
        except DatasetError as error:
            left_out.add("pick event that cannot be read", f"{bag}: {error}")
            continue
        moment, labels = found
        before = picks[moment].instances if moment in picks else ()
        picks[moment] = FrameLabels(PICKED, (*before, *labels.instances), manifest=labels.manifest)
    scan.labels[PICKED] = picks


def _cancelled(events: Sequence[str]) -> set[str]:
    names = set()
    for text in events:
        try:
            tree = json.loads(text)
        except ValueError:
            continue  # counted where the event is read
        if isinstance(tree, dict) and tree.get("phase") == "cancel":
            names.add(str(tree.get("pick_id")))
    return names


def choose_labels(
    scans: Sequence[Scan], given: Mapping[str, Labels], left_out: LeftOut
) -> list[dict[Moment, FrameLabels]]:
    """Decide who is believed about each frame: the first of `SOURCES` that knows it.

    Args:
        scans: the recordings.
        given: labels from outside the bags, by source.
        left_out: takes frames without a label and labels without a frame.

    Returns:
        Of each scan the labelled frames, in the order they were recorded.

    Raises:
        DatasetError: If no frame has a label.
    """
    chosen = [_choose(scan, given, left_out) for scan in scans]
    known = {moment for scan in scans for moment in scan.frames}
    for source, labels in given.items():
        for moment in labels.keys() - known:
            what = f"{source}: {moment.camera} at {moment.stamp_ns} ns"
            left_out.add("label of a frame that is in no bag", what)
    if not any(chosen):
        raise DatasetError(
            "no frame has a label. Give a file of labels with --labels (`robollm dataset "
            "draft-labels` begins one), record a ground_truth topic, or pick events with item_id "
            "and roi; --answers with --trust-answers takes the network's own answers. "
            f"Left out: {left_out.brief()}."
        )
    return chosen


def _choose(
    scan: Scan, given: Mapping[str, Labels], left_out: LeftOut
) -> dict[Moment, FrameLabels]:
    chosen = {}
    for moment in scan.frames:
        sources = (given.get(name, scan.labels.get(name, {})) for name in SOURCES)
        labels = next((source[moment] for source in sources if moment in source), None)
        if labels is None:
            left_out.add("frame without a label", _name(scan.bag, moment))
        else:
            chosen[moment] = labels
    return chosen


def _name(bag: Path, moment: Moment) -> str:
    return f"{bag}: {moment.camera} at {moment.stamp_ns} ns"
