# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision, from matching to the last mean by pycocotools.

pycocotools matches detections to truths image by image, and what it found is kept
an image at a time. Any choice of images, by crowding or drawn anew for an interval,
is handed back to pycocotools, which draws the curve and takes its means.
"""

import base64
import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from robollm_core.errors import DatasetError

IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
MAX_DETECTIONS = 100
"""COCO's: the best of one class in an image."""

Row = dict[str, Any]
"""What pycocotools keeps of one image, class and range of areas."""


@dataclass(frozen=True, slots=True)
class Found:
    """One detection.

    Attributes:
        rle: its mask over the whole image, as pycocotools takes it.
        score: confidence.
        box_xyxy: its box, pixels; None takes the mask's extent.
        category: its class, lower case.
    """

    rle: dict[str, Any]
    score: float
    box_xyxy: tuple[float, float, float, float] | None = None
    category: str = "object"


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
        ignored: (10, D) bool, counts neither for nor against: matched a crowd, or lies
            outside the areas that are judged.
        positives: truths that count.
    """

    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    positives: int


def match(images: Sequence[Judged], kind: str) -> list[Record]:
    """Match detections to truths with pycocotools, all of one class.

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
    return [record(entry) for entry in judge.evalImgs]


def index(count: int, annotations: Sequence[Mapping[str, Any]], classes: int = 1) -> COCO:
    """A set of images or of detections as pycocotools takes it.

    Args:
        count: images, numbered from 1.
        annotations: with "image_id", "category_id", "segmentation", "area", "bbox" and
            "iscrowd", detections with "score".
        classes: how many, numbered from 1.
    """
    held = COCO()
    held.dataset = {
        # a size is looked up even where masks bring their own
        "images": [{"id": i + 1, "height": 0, "width": 0} for i in range(count)],
        # from 1: pycocotools reads the number 0 as "matched nothing"
        "annotations": [{"id": i + 1, **entry} for i, entry in enumerate(annotations)],
        "categories": [{"id": i + 1, "name": str(i + 1)} for i in range(classes)],
    }
    held.createIndex()
    return held


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
    return index(len(images), entries)


def _found(images: Sequence[Judged]) -> COCO:
    entries = [
        {**_entry(number, one.rle, one.box_xyxy, False), "score": one.score}
        for number, image in enumerate(images, 1)
        for one in image.found
    ]
    return index(len(images), entries)


def record(entry: Row | None) -> Record:
    """Keep what pycocotools found in one image.

    Args:
        entry: an element of its `evalImgs`; None for neither truths nor detections.
    """
    if entry is None:
        none = np.zeros((len(IOUS), 0), np.bool_)
        return Record(np.zeros(0), none, none, 0)
    return Record(
        np.asarray(entry["dtScores"], np.float64).reshape(-1),
        np.asarray(entry["dtMatches"]).reshape(len(IOUS), -1) > 0,
        np.asarray(entry["dtIgnore"]).reshape(len(IOUS), -1) > 0,
        int(np.sum(np.asarray(entry["gtIgnore"]) == 0)),
    )


def row(record: Record, ious: Sequence[float] = IOUS) -> Row:
    """A record as pycocotools' accumulation takes it.

    Args:
        record: of one image.
        ious: thresholds out of `IOUS`.
    """
    chosen = slice(None) if len(ious) == len(IOUS) else [IOUS.index(round(i, 2)) for i in ious]
    return {
        "dtScores": record.scores,
        "dtMatches": record.hits[chosen],
        "dtIgnore": record.ignored[chosen],
        "gtIgnore": np.zeros(record.positives, np.bool_),
    }


def accumulate(
    groups: Sequence[Sequence[Row]],
    *,
    ious: Sequence[float] = IOUS,
    max_detections: Sequence[int] = (MAX_DETECTIONS,),
    areas: Sequence[str] = ("all",),
) -> COCOeval:
    """Let pycocotools draw the curves over any choice of images.

    Args:
        groups: rows of the same images, which may occur more than once; class by
            class, and of each class one range of areas after the other.
        ious: thresholds the rows are of.
        max_detections: best detections of an image that count, ascending.
        areas: names of the ranges of areas.

    Returns:
        After accumulation: "precision" of its `eval` is (T, 101, K, A, M), "recall"
        (T, K, A, M), for T IoUs, K classes, A areas, M limits; -1 where no truth is.
    """
    judge = COCOeval(iouType="segm")
    params = judge.params
    params.imgIds = list(range(len(groups[0])))
    params.catIds = list(range(len(groups) // len(areas)))
    # only their order is read, the rows are already of their areas
    params.areaRng = [[float(i), float(i)] for i in range(len(areas))]
    params.areaRngLbl, params.maxDets = list(areas), list(max_detections)
    if len(ious) != len(IOUS):
        params.iouThrs = np.asarray(ious)
    judge.evalImgs = [one for rows in groups for one in rows]
    judge._paramsEval = params
    with contextlib.redirect_stdout(io.StringIO()):
        judge.accumulate()
    return judge


def summarize(judge: COCOeval, classes: Sequence[int]) -> npt.NDArray[np.float64]:
    """Let pycocotools take the means of some classes.

    Args:
        judge: of `accumulate`, with three limits of detections.
        classes: their places.

    Returns:
        (12,) statistics in COCO's order, -1 where no truth is: AP, AP50, AP75, AP of
        small, medium and large, AR at each limit, AR of small, medium and large.
    """
    whole = judge.eval
    chosen = list(classes)
    judge.eval = {
        **whole,
        "precision": whole["precision"][:, :, chosen],
        "recall": whole["recall"][:, chosen],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        judge.summarize()
    judge.eval = whole
    return np.asarray(judge.stats, np.float64)


def average_precision(records: Sequence[Record], ious: Sequence[float] = IOUS) -> float:
    """Mean over IoU thresholds of the area under the precision-recall curve.

    Args:
        records: of the images to count, an image may occur more than once.
        ious: thresholds out of `IOUS`.

    Returns:
        AP in [0, 1]; not a number when no image has a truth.
    """
    return _mean([row(one, ious) for one in records], ious)


def _mean(rows: Sequence[Row], ious: Sequence[float]) -> float:
    """COCO's AP: the mean of all precisions read, at every IoU and recall."""
    precision = accumulate([rows], ious=ious).eval["precision"]
    return float(precision.mean()) if precision.min() > -1 else float("nan")


def bootstrap_interval(
    records: Sequence[Record], *, iou: float, resamples: int, seed: int
) -> tuple[float, float]:
    """95 % percentile interval of the AP at one IoU, images drawn with replacement.

    Returns:
        (low, high); both not a number when no image has a truth.
    """
    if not any(one.positives for one in records):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    rows = [row(one, [iou]) for one in pruned(records)]
    values = [
        _mean([rows[i] for i in rng.integers(len(rows), size=len(rows))], [iou])
        for _ in range(resamples)
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def pruned(records: Sequence[Record]) -> list[Record]:
    """The records without the detections that no precision or recall depends on.

    What scores below every hit of all records only lengthens a curve beyond its last
    recall. So the figures of the records, of any choice and any resample of them are
    the same, for less work.
    """
    lowest = min(
        (one.scores[one.hits.any(0)].min() for one in records if one.hits.any()), default=np.inf
    )
    return [_cut(one, int(np.sum(one.scores >= lowest))) for one in records]


def _cut(one: Record, keep: int) -> Record:
    """The best `keep` detections of a record, which has the best first."""
    return Record(one.scores[:keep], one.hits[:, :keep], one.ignored[:, :keep], one.positives)


def to_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values.

    Returns:
        "positives"; "scores", base64 of D little-endian float64; "hits" and "ignored",
        base64 of the (10, D) bits, IoU by IoU, highest bit first.
    """
    return {
        "positives": record.positives,
        "scores": _text(record.scores.astype("<f8").tobytes()),
        "hits": _text(np.packbits(record.hits).tobytes()),
        "ignored": _text(np.packbits(record.ignored).tobytes()),
    }


def from_json(tree: Mapping[str, Any]) -> Record:
    """Read what `to_json` wrote.

    Raises:
        DatasetError: If it is something else; names what was expected.
    """
    try:
        return _read(tree["scores"], tree["hits"], tree["ignored"], int(tree["positives"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            "expected base64 text under scores, hits and ignored and a count under positives, of "
            f"{len(IOUS)} IoUs, got {str(dict(tree))[:120]}: {error}"
        ) from error


@functools.lru_cache(maxsize=100_000)  # a paired bootstrap asks for the same ones again and again
def _read(scores: str, hits: str, ignored: str, positives: int) -> Record:
    values = np.frombuffer(base64.b64decode(scores, validate=True), "<f8").astype(np.float64)
    return Record(values, _bits(hits, len(values)), _bits(ignored, len(values)), positives)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bits(text: str, count: int) -> npt.NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != (len(IOUS) * count + 7) // 8:
        raise ValueError(f"{len(packed)} bytes for {count} detections")
    return np.unpackbits(packed, count=len(IOUS) * count).reshape(len(IOUS), count).astype(np.bool_)


@functools.lru_cache(maxsize=100_000)
def _read_row(parts: tuple[str, str, str, int], ious: tuple[float, ...]) -> Row:
    return row(_read(*parts), ious)


def precision_of(records: Sequence[Mapping[str, Any]], ious: Sequence[float] = IOUS) -> float:
    """AP over the records of an evaluation, as pycocotools has it.

    Args:
        records: what `to_json` wrote, other keys beside it do not matter; one may
            occur more than once, as in a resample.
        ious: thresholds out of `IOUS`: all for AP, [0.5] for AP50, [0.75] for AP75.

    Returns:
        AP in [0, 1]; not a number when no record has a truth.

    Raises:
        DatasetError: If a record is something else.
    """
    chosen = tuple(ious)
    rows = []
    for one in records:
        try:
            parts = (one["scores"], one["hits"], one["ignored"], one["positives"])
            rows.append(_read_row(parts, chosen))
        except (KeyError, TypeError, ValueError):
            rows.append(row(from_json(one), chosen))
    return _mean(rows, chosen)
