# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the cell said of each thing that a frame really shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robollm_core.data.samples import Region
from robollm_core.data.site_labels import FrameLabels, Moment
from robollm_core.evaluation.cell import Overlaps, assign, mask_iou
from robollm_core.types import Instance, ItemReport, Manifest, PerceptionResult

NONE = ""
"""The honest answer "none of these"."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing and what was said of it.

    Attributes:
        id: camera/stamp/number in the frame.
        frame: number of the frame.
        item: which item it is, "" when nobody knows.
        on_manifest: whether that item is still in the container by the manifest in
            force; None without a manifest or when nobody knows the item.
        defect_truth: one of `DEFECT_LABELS`, "" when nobody has looked.
        found: whether an instance covers it.
        named: the item that was said, `NONE` for none of these, None when not found.
        defect: the verdict, None when not found.
        iou: overlap with its instance; of a thing that was not found with the
            instance that comes closest, which may belong to another thing.
    """

    id: str
    frame: int
    item: str
    on_manifest: bool | None
    defect_truth: str
    found: bool
    named: str | None
    defect: str | None
    iou: float

    @property
    def item_right(self) -> bool | None:
        """Found and named rightly; "none of these" is right off the manifest; None if unknown."""
        if self.on_manifest is None:
            return None
        return self.found and self.named == (self.item if self.on_manifest else NONE)

    @property
    def all_right(self) -> bool | None:
        """Found, right item and right defect verdict; None if one of them is unknown."""
        if self.item_right is None or not self.defect_truth:
            return None
        return self.item_right and self.defect == self.defect_truth

    def record(self) -> dict[str, Any]:
        """Plain values, for comparing runs."""
        return {
            "id": self.id,
            "item": self.item,
            "on_manifest": self.on_manifest,
            "found": self.found,
            "named": self.named,
            "item_right": self.item_right,
            "defect_truth": self.defect_truth,
            "defect": self.defect,
            "all_right": self.all_right,
            "iou": round(self.iou, 6),
        }


@dataclass(frozen=True, slots=True)
class FrameVerdicts:
    """A frame that was answered.

    Attributes:
        verdicts: one a thing, in the order of the labels.
        pairs: of each thing the index into the answer's items, None when not found.
        answers: instances the cell gave.
        false: those that cover no thing; None where not everything is labelled.
        items: items still in the container, None without a manifest.
        stage_secs: wall seconds by stage.
    """

    verdicts: tuple[Verdict, ...]
    pairs: tuple[int | None, ...]
    answers: int
    false: int | None
    items: int | None
    stage_secs: Mapping[str, float]


def judge(
    number: int, result: PerceptionResult, labels: FrameLabels, manifest: Manifest | None
) -> FrameVerdicts:
    """Compare the answer to a frame with what the frame shows.

    Args:
        number: of the frame.
        result: the answer.
        labels: what it shows, of the same image size.
        manifest: in force.

    Raises:
        DatasetError: If a mask is of another image size.
    """
    overlaps = overlaps_of(result, labels)
    pairs = assign(overlaps)
    moment = Moment(result.camera, result.stamp_ns)
    inside = items_of(manifest)
    verdicts = tuple(
        Verdict(
            id=f"{moment.camera}/{moment.stamp_ns}/{k}",
            frame=number,
            item=thing.item_id,
            on_manifest=None if inside is None or not thing.item_id else thing.item_id in inside,
            defect_truth=thing.defect,
            found=pair is not None,
            named=None if pair is None else result.items[pair].identification.item_id,
            defect=None if pair is None else result.items[pair].defect.label,
            iou=float(overlaps[k, pair] if pair is not None else overlaps[k].max(initial=0.0)),
        )
        for k, (thing, pair) in enumerate(zip(labels.instances, pairs, strict=True))
    )
    answers, used = len(result.items), sum(pair is not None for pair in pairs)
    return FrameVerdicts(
        verdicts,
        tuple(pairs),
        answers,
        answers - used if labels.complete else None,
        None if inside is None else len(inside),
        dict(result.stage_secs),
    )


def items_of(manifest: Manifest | None) -> frozenset[str] | None:
    """Items that the cell can name: those still in the container."""
    if manifest is None:
        return None
    return frozenset(item.item_id for item in manifest.items if item.quantity > 0)


def false_answers(result: PerceptionResult, judged: FrameVerdicts) -> list[ItemReport]:
    """The instances that cover no thing; none where not everything is labelled."""
    if judged.false is None:
        return []
    return [one for index, one in enumerate(result.items) if index not in judged.pairs]


def overlaps_of(result: PerceptionResult, labels: FrameLabels) -> Overlaps:
    """(things, items) intersection over union: of masks, or of boxes where a box is all there is.

    Raises:
        DatasetError: If a mask is of another image size.
    """
    overlaps = np.zeros((len(labels.instances), len(result.items)))
    for row, thing in enumerate(labels.instances):
        mask = thing.region.mask(result.image_size_px, thing.item_id or "a thing")
        for column, report in enumerate(result.items):
            overlaps[row, column] = (
                _box_iou(report.instance, thing.region)
                if mask is None
                else mask_iou(report.instance, mask)
            )
    return overlaps


def _box_iou(instance: Instance, region: Region) -> float:
    first = np.asarray(instance.box_xyxy_px, np.float64)
    second = np.asarray(region.box_xyxy_px, np.float64)
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0.0)))
    area = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return shared / (area - shared)
