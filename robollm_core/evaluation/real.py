# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The whole cell on photos of real totes, through the same stages and `perceive` as on a robot.

Few photos, so the intervals count things, not photos: every item, and every
answer that hits none, is drawn anew. Things of one photo are not independent,
the true intervals are somewhat wider.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robollm_core.data.real import RealTote
from robollm_core.data.rle import whole_rle
from robollm_core.data.tote import Truth
from robollm_core.errors import DatasetError
from robollm_core.evaluation.cell import FrameTruth, TruthInstance
from robollm_core.evaluation.cell import match as pair_up
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import proportion
from robollm_core.evaluation.precision import (
    IOUS,
    Found,
    Judged,
    Record,
    average_precision,
    bootstrap_interval,
    match,
)
from robollm_core.geometry import mask_extent
from robollm_core.images import encode_jpeg
from robollm_core.overlay import draw_overlay
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import (
    Frame,
    Identification,
    Instance,
    Manifest,
    PerceptionResult,
    SegmentStage,
)

NOTE = (
    "masks of visible pixels; the procedure that made those of arc2017 reached a mean IoU of 0.857 "
    "against independent masks, so AP above IoU 0.85 means little there"
)
SEED = 0
RESAMPLES = 500

_SIZES = {"mask_ap50": 0.5, "mask_ap75": 0.75}


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """How an item was named, each time a hit or not, by the best candidate.

    Attributes:
        found: whether any answer covers it.
        in_tote, in_all: its answer's best candidate is right, among the items
            of the tote and among all; False when not found.
        true_in_tote, true_in_all: the same, asked with its true mask.
    """

    found: bool
    in_tote: bool
    in_all: bool
    true_in_tote: bool
    true_in_all: bool


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One photo, answered.

    Attributes:
        judged: every answer of the network, however unsure, beside the truth.
        result: what the cell says, at its thresholds.
        pairs: for each truth the index into `result.items`, or None.
        named: one a truth; empty without a catalogue.
        jpeg: the photo with the result drawn.
    """

    judged: Judged
    result: PerceptionResult
    pairs: tuple[int | None, ...]
    named: tuple[Named, ...]
    jpeg: bytes


def look(
    stages: Stages, unsure: SegmentStage, tote: RealTote, catalogue: Manifest | None = None
) -> Seen:
    """Show the cell a photo.

    Args:
        stages: as on the robot, thresholds included.
        unsure: the same segmentation without a score threshold, for AP.
        tote: the photo.
        catalogue: all items there are; None leaves everything nameless. The
            manifest in force holds those of them that are in the tote.

    Raises:
        DatasetError: If the tote names an item that is not in the catalogue.
    """
    frame = Frame(tote.image_rgb, camera=tote.name)
    height, width = tote.image_rgb.shape[:2]
    found = tuple(
        Found(whole_rle(one, (height, width)), one.score) for one in unsure.segment(frame)
    )
    judged = Judged(
        tuple(truth.rle for truth in tote.truths), tuple(t.crowd for t in tote.truths), found
    )
    own = None if catalogue is None else own_items(tote, catalogue)
    result = perceive(frame, own, stages)
    things = tuple(TruthInstance(t.item_id, "nominal", t.mask()) for t in tote.truths)
    pairs = tuple(pair_up(result, FrameTruth(0, tote.name, things, frozenset())))
    named: tuple[Named, ...] = ()
    if own is not None and catalogue is not None:
        named = _Answers(stages, frame, result, own, catalogue).of(tote.truths, pairs)
    jpeg = encode_jpeg(draw_overlay(tote.image_rgb, result))
    return Seen(judged, result, pairs, named, jpeg)


def own_items(tote: RealTote, catalogue: Manifest) -> Manifest:
    """The part of a catalogue that lies in a tote, in the catalogue's order.

    Raises:
        DatasetError: If an item is nameless or not in the catalogue.
    """
    inside = {truth.item_id for truth in tote.truths}
    unknown = inside - {item.item_id for item in catalogue.items}
    if unknown:
        raise DatasetError(f"the tote {tote.name} holds {sorted(unknown)}, not in the catalogue.")
    items = tuple(item for item in catalogue.items if item.item_id in inside)
    return replace(catalogue, container_id=tote.name, items=items)


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """Asks the identification stage in every way there is to ask."""

    stages: Stages
    frame: Frame
    result: PerceptionResult
    own: Manifest
    everything: Manifest

    def of(self, truths: Sequence[Truth], pairs: Sequence[int | None]) -> tuple[Named, ...]:
        instances = [report.instance for report in self.result.items]
        in_tote = [best(report.identification) for report in self.result.items]
        in_all = self._ask(instances, self.everything)
        true_instances = [_instance(truth) for truth in truths]
        true_in_tote = self._ask(true_instances, self.own)
        true_in_all = self._ask(true_instances, self.everything)
        return tuple(
            Named(
                found=pair is not None,
                in_tote=pair is not None and in_tote[pair] == truth.item_id,
                in_all=pair is not None and in_all[pair] == truth.item_id,
                true_in_tote=true_in_tote[index] == truth.item_id,
                true_in_all=true_in_all[index] == truth.item_id,
            )
            for index, (truth, pair) in enumerate(zip(truths, pairs, strict=True))
        )

    def _ask(self, instances: Sequence[Instance], manifest: Manifest) -> list[str]:
        answers = self.stages.identification.identify(self.frame, instances, manifest)
        return [best(answer) for answer in answers]


def best(answer: Identification) -> str:
    """The likeliest item, accepted or not; "" without candidates."""
    return answer.candidates[0][0] if answer.candidates else ""


def _instance(truth: Truth) -> Instance:
    mask = truth.mask()
    box = mask_extent(mask)
    if box is None:
        raise DatasetError(f"the mask of {truth.item_id!r} is empty.")
    x0, y0, x1, y1 = box
    return Instance(box, mask[y0:y1, x0:x1], 1.0)


def summarise(seen: Sequence[Seen]) -> dict[str, Any]:
    """The figures of answered photos.

    Args:
        seen: at least one.

    Returns:
        "mask_ap50" and "mask_ap75", class-agnostic; "found", items covered by an
        answer of the cell with mask IoU 0.5; "precision", answers that cover an
        item; "flagged", answers called defective though nothing is. With a
        catalogue "recall_at_1_in_tote" and "_all" of the found items,
        "end_to_end_*" of all items, and "*_true_masks" of all items.
    """
    records = match([one.judged for one in seen], "segm")
    pairs = [pair for one in seen for pair in one.pairs]
    reports = [report for one in seen for report in one.result.items]
    hit = [index in one.pairs for one in seen for index in range(len(one.result.items))]
    return {
        "photos": len(seen),
        "instances": {"truth": len(pairs), "answered": len(reports)},
        **{name: precision_of(records, iou) for name, iou in _SIZES.items()},
        "found": proportion([pair is not None for pair in pairs]),
        "precision": proportion(hit),
        "flagged": proportion([report.defect.label != "nominal" for report in reports]),
        **_naming(seen),
        "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "unit": "items and answers"},
    }


def _naming(seen: Sequence[Seen]) -> dict[str, Any]:
    named = [one for photo in seen for one in photo.named]
    if not named:
        return {}
    found = [one for one in named if one.found]
    return {
        "recall_at_1_in_tote": proportion([one.in_tote for one in found]),
        "recall_at_1_all": proportion([one.in_all for one in found]),
        "end_to_end_in_tote": proportion([one.in_tote for one in named]),
        "end_to_end_all": proportion([one.in_all for one in named]),
        "recall_at_1_in_tote_true_masks": proportion([one.true_in_tote for one in named]),
        "recall_at_1_all_true_masks": proportion([one.true_in_all for one in named]),
    }


def precision_of(records: Sequence[Record], iou: float) -> Figure:
    """AP at one IoU with the interval of resampled items and answers; n counts items."""
    positives = sum(record.positives for record in records)
    if not positives:
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    parts = [part for record in records for part in split_record(record, iou)]
    low, high = bootstrap_interval(parts, iou=iou, resamples=RESAMPLES, seed=SEED)
    value = average_precision(records, [iou])
    return Figure(value=round(value, 6), n=positives, low=round(low, 6), high=round(high, 6))


def split_record(record: Record, iou: float) -> list[Record]:
    """The record of a photo as one record a thing; together they have the same AP at `iou`.

    Returns:
        A record for each item with the answer that hit it or none, then one
        for each answer that hit no item.
    """
    hit = record.hits[IOUS.index(iou)] & ~record.ignored[IOUS.index(iou)]
    missed = record.positives - int(hit.sum())
    return [
        *(_part(record, [index], 1) for index in np.flatnonzero(hit)),
        *(_part(record, [], 1) for _ in range(missed)),
        *(_part(record, [index], 0) for index in np.flatnonzero(~hit)),
    ]


def _part(record: Record, columns: Sequence[int], positives: int) -> Record:
    chosen = np.asarray(columns, np.intp)
    return Record(
        record.scores[chosen], record.hits[:, chosen], record.ignored[:, chosen], positives
    )
