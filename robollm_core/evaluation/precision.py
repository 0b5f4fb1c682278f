# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision, with pycocotools as the matcher.

pycocotools matches detections to truths image by image; the last step, the
curve over all images, is done here, because resampling images for an interval
and splitting them by crowding need it over any choice of images.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
MAX_DETECTIONS = 100
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Found:
    """One detection.

    Attributes:
        rle: its mask over the whole image, as pycocotools takes it.
        score: confidence.
        box_xyxy: its box, pixels; None takes the mask's extent.
    """

    rle: dict[str, Any]
    score: float
    box_xyxy: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One image with what is in it and what was found.

    Attributes:
        truths: RLE masks of the instances.
        crowd: for each truth whether it is a crowd, which neither counts nor hurts.
        found: detections in any order.
    """

    truths: tuple[dict[str, Any], ...]
    crowd: tuple[bool, ...]
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """How the detections of one image fared.

    Attributes:
        scores: (D,) float64, descending.
        hits: (10, D) bool, matched a truth at each of `IOUS`.
        ignored: (10, D) bool, matched a crowd.
        positives: truths that count.
    """

    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    positives: int


def match(images: Sequence[Judged], kind: str) -> list[Record]:
    """Match detections to truths with pycocotools.

    Args:
        images: in any order.
        kind: "segm" compares masks, "bbox" boxes.

    Returns:
        One record an image, in order.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
        judge = COCOeval(_truths(images), _found(images), kind)
        judge.params.imgIds = list(range(1, len(images) + 1))
        judge.params.maxDets = [MAX_DETECTIONS]
        judge.params.areaRng = [[0.0, 1e10]]
        judge.params.areaRngLbl = ["all"]
        judge.evaluate()
    return [_record(entry) for entry in judge.evalImgs]


def _index(count: int, annotations: list[dict[str, Any]]) -> COCO:
    index = COCO()
    index.dataset = {
        # a size is looked up even where masks bring their own
        "images": [{"id": i + 1, "height": 0, "width": 0} for i in range(count)],
        "annotations": [{"id": i + 1, **entry} for i, entry in enumerate(annotations)],
        "categories": [{"id": 1, "name": "object"}],
    }
    index.createIndex()
    return index


def _entry(number: int, rle: dict[str, Any], box: Any, crowd: bool) -> dict[str, Any]:
    left, top, width, height = (float(edge) for edge in coco_mask.toBbox(rle))
    if box is not None:
        left, top, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    return {
        "image_id": number,
        "category_id": 1,
        "segmentation": rle,
        "area": float(coco_mask.area(rle)),
        "bbox": [left, top, width, height],
        "iscrowd": int(crowd),
    }


def _truths(images: Sequence[Judged]) -> COCO:
    entries = [
        _entry(number, rle, None, crowd)
        for number, image in enumerate(images, 1)
        for rle, crowd in zip(image.truths, image.crowd, strict=True)
    ]
    return _index(len(images), entries)


def _found(images: Sequence[Judged]) -> COCO:
    entries = [
        {**_entry(number, one.rle, one.box_xyxy, False), "score": one.score}
        for number, image in enumerate(images, 1)
        for one in image.found
    ]
    return _index(len(images), entries)


def _record(entry: dict[str, Any] | None) -> Record:
    if entry is None:  # neither truths nor detections
        none = np.zeros((len(IOUS), 0), np.bool_)
        return Record(np.zeros(0), none, none, 0)
    return Record(
        np.asarray(entry["dtScores"], np.float64).reshape(-1),
        np.asarray(entry["dtMatches"]).reshape(len(IOUS), -1) > 0,
        np.asarray(entry["dtIgnore"]).reshape(len(IOUS), -1) > 0,
        int(np.sum(np.asarray(entry["gtIgnore"]) == 0)),
    )


def average_precision(records: Sequence[Record], ious: Sequence[float] = IOUS) -> float:
    """Mean over IoU thresholds of the area under the precision-recall curve.

    Args:
        records: of the images to count, an image may occur more than once.
        ious: thresholds out of `IOUS`.

    Returns:
        AP in [0, 1]; not a number when no image has a truth.

    Source:
        COCO's accumulate: precision made monotone from the right, read at 101
        recalls, 0 beyond the last one reached.
    """
    positives = sum(record.positives for record in records)
    if positives == 0:
        return float("nan")
    scores = np.concatenate([record.scores for record in records])
    order = np.argsort(-scores, kind="mergesort")
    hits = np.concatenate([record.hits for record in records], axis=1)[:, order]
    ignored = np.concatenate([record.ignored for record in records], axis=1)[:, order]
    rows = [IOUS.index(round(iou, 2)) for iou in ious]
    return float(np.mean([_area(hits[row], ignored[row], positives) for row in rows]))


def _area(hit: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_], positives: int) -> float:
    hit = hit[~ignored]
    true = np.cumsum(hit)
    if not len(true):
        return 0.0
    precision = true / np.arange(1, len(true) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / positives, RECALLS, side="left")
    return float(np.sum(precision[at[at < len(precision)]]) / len(RECALLS))


def bootstrap_interval(
    records: Sequence[Record], *, iou: float, resamples: int, seed: int
) -> tuple[float, float]:
    """95 % percentile interval of the AP at one IoU, images drawn with replacement.

    Returns:
        (low, high); both not a number when no image has a truth.
    """
    rng = np.random.default_rng(seed)
    values = [
        average_precision(
            [records[i] for i in rng.integers(len(records), size=len(records))], [iou]
        )
        for _ in range(resamples)
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5]) if records else (np.nan, np.nan)
    return float(low), float(high)
