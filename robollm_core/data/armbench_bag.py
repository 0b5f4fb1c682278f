# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ARMBench picks as the recording of a cell: an MCAP bag, one pick after the other.

Of each pick: the manifest of its container (latched, when it is another one than
before), PickRGB with what is known to be true of it, a pre_pick event, the views
taken after the pick, a post_pick event. The images are the JPEG files, byte for
byte. Stamps are made up, and always the same.
"""

import json
import uuid
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.data import rostypes
from robollm_core.data.armbench_identification import ALL_VIEWS, Pick, iterate_picks
from robollm_core.data.armbench_manifests import PickManifests
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.rle import encode
from robollm_core.data.samples import Picture, Region
from robollm_core.errors import ConfigError, DatasetError, ImageError, ManifestError
from robollm_core.images import decode_image

START_NS = 1_767_225_600_000_000_000
"""Stamp of the first pick: the beginning of 2026."""
CAMERAS = {
    "PickRGB": "pick",
    "OnArmLowRGB": "on_arm_low",
    "ToteWallRGB": "tote_wall",
    "FarTrayRGB": "far_tray",
}
"""View of ARMBench to the frame_id of its images."""

MANIFESTS = Topic("/cell/container/manifest", rostypes.STRING, latched=True)
TRUTHS = Topic("/cell/ground_truth", rostypes.STRING)
EVENTS = Topic("/cell/pick/event", rostypes.STRING)
IMAGES = {
    view: Topic(f"/cell/{camera}/image/compressed", rostypes.COMPRESSED)
    for view, camera in CAMERAS.items()
}
TOPICS = (MANIFESTS, *IMAGES.values(), TRUTHS, EVENTS)

_FIRST = ALL_VIEWS[0]
_MIN_PERIOD_S = 0.001


@dataclass(frozen=True, slots=True)
class PickBagOrder:
    """Which picks to record.

    Attributes:
        root: folder in ARMBench's identification layout.
        split: "train", "val" or "test".
        limit: most picks to write, 0 for all.
        period_s: time from one pick to the next, seconds.
    """

    root: Path
    split: str = "test"
    limit: int = 0
    period_s: float = 10.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: If one is out of range.
        """
        if self.limit < 0 or not _MIN_PERIOD_S <= self.period_s <= 86_400:
            raise ConfigError(
                f"--limit must be at least 0 and --period in {_MIN_PERIOD_S}..86400 seconds, got "
                f"{self.limit} and {self.period_s}."
            )


@dataclass(slots=True)
class Recorded:
    """What a bag of picks holds.

    Attributes:
        picks: how many.
        images: how many, of all views.
        manifests: how many times one was published.
        truths: picks whose outline is known.
        unreferenced: items that were left off manifests, having no reference image.
    """

    picks: int = 0
    images: int = 0
    manifests: int = 0
    truths: int = 0
    unreferenced: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """One view, read and checked: its camera, JPEG bytes, region, box and mask."""

    view: str
    jpeg: bytes
    region: Region | None
    roi: tuple[int, int, int, int]
    mask: Any


def write_pick_bag(order: PickBagOrder, out: Path, broken: BrokenFiles) -> Recorded:
    """Write a bag of picks; memory does not grow with their number.

    Args:
        order: which picks.
        out: the .mcap file; whole or not there at all.
        broken: takes the picks and references that cannot be read.

    Returns:
        What was written.

    Raises:
        DatasetError: If the split is missing or none of its picks can be read.
        OutputError: If the disk refuses.
    """
    counts = Recorded()
    with BagWriter(out, TOPICS) as bag:
        recorder = _Recorder(bag, order, broken, counts)
        picks = iterate_picks(order.root, order.split, broken, ALL_VIEWS)
        written = (pick for pick in picks if recorder.record(pick))
        for _ in islice(written, order.limit or None):
            pass
        if not counts.picks:
            first = broken.entries[0].reason if broken.entries else "there is none"
            raise DatasetError(f"no pick of {order.root} can be recorded; the first: {first}")
    return counts


class _Recorder:
    """Picks on their way into a bag."""

    def __init__(
        self, bag: BagWriter, order: PickBagOrder, broken: BrokenFiles, counts: Recorded
    ) -> None:
        self._bag, self._broken, self._counts = bag, broken, counts
        self._folder = order.root / "Picks"
        self._period_ns = round(order.period_s * 1e9)
        self._manifests = PickManifests(order.root, broken)
        self._in_force = ""

    def record(self, pick: Pick) -> bool:
        """Write one pick; False when it is broken, of which nothing is written then."""
        try:
            if _FIRST not in pick.views:
                raise DatasetError(f"it has no {_FIRST}.jpg, which says what was picked.")
            looks = [_look(view, picture) for view, picture in pick.views.items()]
            container = self._manifests.of(self._folder / pick.pick_id, pick)
        except (DatasetError, ImageError, ManifestError) as error:
            self._broken.add(self._folder / pick.pick_id, error)
            return False
        stamp_ns = START_NS + self._counts.picks * self._period_ns
        if container.text != self._in_force:
            self._in_force = container.text
            self._say(MANIFESTS, stamp_ns - self._period_ns // 8, container.text)
            self._counts.manifests += 1
        about = {
            "schema": "robollm.pick_event/1",
            "pick_id": pick.pick_id,
            "item_id": pick.item_id,
            "container_id": container.container_id,
            "manifest_version": 0,
            "min_views": 1,
            "unreferenced": container.unreferenced,
        }
        if pick.item_id not in pick.manifest:
            about["references"] = list(self._manifests.references(pick.item_id))
        self._counts.unreferenced |= set(container.unreferenced)
        self._before(looks[0], about, stamp_ns)
        if looks[1:]:
            self._after(looks[1:], about, stamp_ns + self._period_ns // 2)
        self._counts.picks += 1
        self._counts.images += len(looks)
        return True

    def _before(self, look: _Look, about: dict[str, Any], stamp_ns: int) -> None:
        camera = self._show(look, stamp_ns)
        x0, y0, x1, y1 = look.roi
        box = [x0, y0, x1 - x0, y1 - y0]
        if look.mask is not None:
            # nobody has looked for defects, and what lies around the item is not outlined
            seen = {"item_id": about["item_id"], "defect": "", "bbox": box}
            instances = [{**seen, "rle": encode(look.mask)}]
            said = {"stamp_ns": stamp_ns, "camera": camera, "complete": False}
            self._say(TRUTHS, stamp_ns, {**said, "instances": instances})
            self._counts.truths += 1
        roi = dict(zip("xywh", box, strict=True))
        event = {**about, "phase": "pre_pick", "roi": roi}
        self._tell(event, [_entry(look, stamp_ns, "pick")], stamp_ns + self._period_ns // 8)

    def _after(self, looks: list[_Look], about: dict[str, Any], stamp_ns: int) -> None:
        for look in looks:
            self._show(look, stamp_ns)
        views = [_entry(look, stamp_ns, "post") for look in looks]
        self._tell({**about, "phase": "post_pick"}, views, stamp_ns + self._period_ns // 8)

    def _show(self, look: _Look, stamp_ns: int) -> str:
        camera = CAMERAS[look.view]
        data = np.frombuffer(look.jpeg, np.uint8)
        header = rostypes.header(stamp_ns, camera)
        message = rostypes.make(rostypes.COMPRESSED, header=header, format="jpeg", data=data)
        self._bag.write(IMAGES[look.view].name, stamp_ns, message)
        return camera

    def _tell(self, event: dict[str, Any], views: list[dict[str, Any]], log_ns: int) -> None:
        # a name made from the pick, so that the same picks give the same events
        name = f"{event['pick_id']}/{event['phase']}"
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
        self._say(EVENTS, log_ns, {**event, "event_id": event_id, "views": views})

    def _say(self, topic: Topic, log_ns: int, tree: Any) -> None:
        text = tree if isinstance(tree, str) else _json(tree)
        self._bag.write(topic.name, log_ns, rostypes.make(rostypes.STRING, data=text))


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def _look(view: str, picture: Picture) -> _Look:
    """Read a view.

    Raises:
        ImageError: If it is no whole JPEG file.
        DatasetError: If it cannot be read, or its region lies outside.
    """
    try:
        jpeg = picture.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {picture.path}: {error}.") from error
    height, width = decode_image(jpeg, str(picture.path)).shape[:2]
    if jpeg[:2] != b"\xff\xd8":
        raise ImageError(f"{picture.path} is no JPEG file. Convert it to what its name says.")
    if picture.region is None:
        return _Look(view, jpeg, None, (0, 0, width, height), None)
    mask = picture.region.mask((height, width), str(picture.path))
    if mask is None:
        edges = np.asarray(picture.region.box_xyxy_px)
        corners = (*np.floor(edges[:2]), *np.ceil(edges[2:]))
        x0, y0, x1, y1 = np.clip(corners, 0, (width, height) * 2).astype(int).tolist()
    else:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise DatasetError(f"{picture.path}: the region lies outside the picture.")
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
    if x1 <= x0 or y1 <= y0:
        raise DatasetError(f"{picture.path}: the box lies outside the picture.")
    return _Look(view, jpeg, picture.region, (x0, y0, x1, y1), mask)


def _entry(look: _Look, stamp_ns: int, role: str) -> dict[str, Any]:
    """A view as a pick event names it; `view` says that the whole image is that view."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return {
        "camera": CAMERAS[look.view],
        "stamp": {"sec": sec, "nanosec": nanosec},
        "role": role,
        "match": "exact",
        "view": look.view,
        "topic": IMAGES[look.view].name,
        "outline": region_tree(look.region),
    }


def region_tree(region: Region | None) -> dict[str, Any]:
    """A region as JSON that `parse_region` reads back; empty for the whole picture."""
    if region is None:
        return {}
    if region.rle:
        height, width, counts = region.rle
        return {"segmentation": {"size": [height, width], "counts": counts}}
    if region.polygons:
        return {"segmentation": [list(polygon) for polygon in region.polygons]}
    return {"box": list(region.box_xyxy_px)}
