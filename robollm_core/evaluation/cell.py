# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The answers of a cell against what its bag says is true."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.data import rle
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent, TruthEvent
from robollm_core.errors import BagError, DatasetError
from robollm_core.evaluation.outcome import Outcome, Request
from robollm_core.manifests import parse_manifest
from robollm_core.types import BoolArray, Instance, PerceptionResult

MIN_IOU = 0.5
"""A truth is found by an instance whose mask overlaps it at least so much."""


Overlaps = npt.NDArray[np.float64]


def evaluate(request: Request) -> Outcome:
    """Measure the whole cell on a bag with ground truth or pick events.

    Args:
        request: the data set is an .mcap or .db3 file or a rosbag2 folder, the models
            a folder with the three networks.

    Raises:
        RobollmError: If bag, networks or references are not as they should be; see
            `cell_evaluation.measure`.
    """
    from robollm_core.evaluation.cell_evaluation import measure  # needs scipy; a robot has none

    return measure(request)


@dataclass(frozen=True, slots=True, eq=False)
class TruthInstance:
    """One thing that a frame really shows.

    Attributes:
        item_id: which product it is.
        defect: one of `DEFECT_LABELS`.
        mask: (H, W) bool, its visible pixels.
    """

    item_id: str
    defect: str
    mask: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class FrameTruth:
    """What a frame really shows.

    Attributes:
        stamp_ns: header stamp of the frame.
        camera: its frame_id.
        instances: in any order.
        item_ids: the items on the manifest in force; empty without one.
    """

    stamp_ns: int
    camera: str
    instances: tuple[TruthInstance, ...]
    item_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over frames.

    Attributes:
        instances_truth: things there are to find.
        instances_found: of those, found with mask IoU >= `MIN_IOU`.
        on_manifest: of those found, things whose item is on the manifest.
        named_right: of those, given the right item.
    """

    instances_truth: int
    instances_found: int
    on_manifest: int
    named_right: int

    @property
    def found(self) -> float:
        """Share of the things that was found; 0 when there is none."""
        return self.instances_found / self.instances_truth if self.instances_truth else 0.0

    @property
    def recall_at_1(self) -> float:
        """Share of the nameable found things that was named right; 0 when there is none."""
        return self.named_right / self.on_manifest if self.on_manifest else 0.0


def read_scenes(bag: BagReader) -> tuple[dict[int, ImageEvent], dict[int, FrameTruth]]:
    """Images and ground truth of a bag by header stamp.

    Args:
        bag: open.

    Returns:
        The images, not decoded, and the truths; a frame may lack a truth.

    Raises:
        BagError: If a ground truth is not as `robollm synth bag` writes it.
        ManifestError: If a manifest is wrong.
    """
    images: dict[int, ImageEvent] = {}
    truths: dict[int, FrameTruth] = {}
    items: frozenset[str] = frozenset()
    for event in bag.events():
        if isinstance(event, ManifestEvent):
            manifest = parse_manifest(event.text, f"{bag.path} at {event.log_ns} ns")
            items = frozenset(item.item_id for item in manifest.items)
        elif isinstance(event, ImageEvent):
            images[event.stamp_ns] = event
        elif isinstance(event, TruthEvent):
            truth = _parse_truth(event.tree, items)
            truths[truth.stamp_ns] = truth
    return images, truths


def _parse_truth(tree: Mapping[str, Any], items: frozenset[str]) -> FrameTruth:
    try:
        instances = tuple(
            TruthInstance(str(each["item_id"]), str(each["defect"]), rle.decode(each["rle"]))
            for each in tree["instances"]
        )
        return FrameTruth(int(tree["stamp_ns"]), str(tree["camera"]), instances, items)
    except (KeyError, TypeError, ValueError, DatasetError) as error:
        raise BagError(
            "a ground truth needs stamp_ns, camera and instances of item_id, defect and rle; "
            f"got {str(tree)[:120]} ({error})."
        ) from error


def match(result: PerceptionResult, truth: FrameTruth) -> list[int | None]:
    """Pair things and answers one to one, the best overlap first.

    Args:
        result: of the frame of `truth`.
        truth: masks of the same image size.

    Returns:
        For each truth the index into `result.items`, None when it was not found.
    """
    return assign(_mask_iou(result, truth))


def assign(overlaps: Overlaps) -> list[int | None]:
    """Pair rows and columns one to one, the best overlap first, down to `MIN_IOU`.

    Args:
        overlaps: (truths, answers) intersection over union.

    Returns:
        For each truth its column, None when it has none.
    """
    left = overlaps.copy()
    pairs: list[int | None] = [None] * len(left)
    for _ in range(min(left.shape)):
        row, column = np.unravel_index(int(np.argmax(left)), left.shape)
        if left[row, column] < MIN_IOU:
            break
        pairs[int(row)] = int(column)
        left[row, :] = left[:, column] = -1.0
    return pairs


def _mask_iou(result: PerceptionResult, truth: FrameTruth) -> Overlaps:
    """(truths, items) float64 intersection over union of the masks."""
    overlaps = np.zeros((len(truth.instances), len(result.items)))
    for column, report in enumerate(result.items):
        for row, instance in enumerate(truth.instances):
            overlaps[row, column] = mask_iou(report.instance, instance.mask)
    return overlaps


def mask_iou(instance: Instance, mask: BoolArray) -> float:
    """Intersection over union of an instance and a (H, W) mask of its image; 0 of nothing."""
    x0, y0, x1, y1 = instance.box_xyxy_px
    shared = np.count_nonzero(mask[y0:y1, x0:x1] & instance.mask_in_box)
    union = np.count_nonzero(instance.mask_in_box) + np.count_nonzero(mask) - shared
    return shared / union if union else 0.0


def score(pairs: Iterable[tuple[PerceptionResult | None, FrameTruth]]) -> Score:
    """Count over frames.

    Args:
        pairs: the answer to a frame, None when there was none, and its truth; of
            a frame without an answer nothing is found.
    """
    counts = [_score_frame(result, truth) for result, truth in pairs]
    columns: Sequence[Sequence[int]] = list(zip(*counts, strict=True)) or [()] * 4
    return Score(*(sum(column) for column in columns))


def _score_frame(result: PerceptionResult | None, truth: FrameTruth) -> tuple[int, int, int, int]:
    if result is None:
        return len(truth.instances), 0, 0, 0
    found = [
        (instance, result.items[index])
        for instance, index in zip(truth.instances, match(result, truth), strict=True)
        if index is not None
    ]
    nameable = [pair for pair in found if pair[0].item_id in truth.item_ids]
    right = [1 for instance, item in nameable if item.identification.item_id == instance.item_id]
    return len(truth.instances), len(found), len(nameable), len(right)
