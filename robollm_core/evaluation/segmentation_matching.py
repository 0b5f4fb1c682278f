# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One image matched by pycocotools: masks and boxes, class by class, size by size.

Matching looks at one image at a time, so images are matched as they come and only
scores and hits are kept; masks of the whole set are never in memory together.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from robollm_core.data.tote import CLASS_NAME
from robollm_core.evaluation.precision import MAX_DETECTIONS, Found, Record, index, record
from robollm_core.evaluation.segmentation_sets import Listed

KINDS = {"mask": "segm", "box": "bbox"}
AREAS = ("all", "small", "medium", "large")
COCO_IMAGE_PX = 640 * 480
"""The image COCO's limits of 32 and 96 pixels squared were made for."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """How the detections in one image fared.

    Attributes:
        key: its number in the set's JSON file.
        name: its file name there.
        instances: truths of the object class that count.
        sizes: how many of them are small, medium and large.
        records: by kind, "mask" or "box", then by (class, one of `AREAS`).
    """

    key: int | str
    name: str
    instances: int
    sizes: tuple[int, int, int]
    records: Mapping[str, Mapping[tuple[str, str], Record]]


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """What the detections of the object class cover in one image.

    Attributes:
        found: D detections, best first, at most `MAX_DETECTIONS`.
        truths: indices of the G truths of the object class among the annotations.
        iou: (D, G) float64, mask IoU.
    """

    found: tuple[Found, ...]
    truths: tuple[int, ...]
    iou: npt.NDArray[np.float64]


def area_limits(height: int, width: int) -> list[list[float]]:
    """COCO's ranges of areas, scaled with the image.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        [least, most] square pixels for each of `AREAS`.

    Source:
        COCO's 32^2 and 96^2 pixels belong to images of about 640 x 480; at 2448 x 2048
        they would call nearly every instance of a tote large.
    """
    scale = height * width / COCO_IMAGE_PX
    small, large, most = 32.0**2 * scale, 96.0**2 * scale, 1e5**2
    return [[0.0, most], [0.0, small], [small, large], [large, most]]


def match_image(
    image: Listed, found: Sequence[Found], classes: Sequence[str]
) -> tuple[Sample, Overlaps]:
    """Match the detections of one image to its truths.

    Args:
        image: with its truths.
        found: detections in any order, equal scores keep theirs; those of other
            classes are left out.
        classes: names, the object class first.
    """
    numbers = {name: number for number, name in enumerate(classes, 1)}
    judged = [one for one in found if one.category in numbers]
    mask = _evaluated(image, judged, numbers, "mask")
    box = _evaluated(image, judged, numbers, "box")
    records = {
        "mask": _records(mask, numbers, AREAS),
        "box": _records(box, numbers, AREAS[:1]),
    }
    objects = records["mask"]
    small, medium, large = (objects[CLASS_NAME, area].positives for area in AREAS[1:])
    counted = objects[CLASS_NAME, "all"].positives
    sample = Sample(image.key, image.name, counted, (small, medium, large), records)
    return sample, _overlaps(image, judged, mask)


def _evaluated(
    image: Listed, found: Sequence[Found], numbers: Mapping[str, int], kind: str
) -> COCOeval:
    limits = area_limits(image.tote.height, image.tote.width)
    areas = len(AREAS) if kind == "mask" else 1
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
        truths = index(1, _truths(image, numbers), len(numbers))
        answers = index(1, [_answer(one, numbers, kind) for one in found], len(numbers))
        judge = COCOeval(truths, answers, KINDS[kind])
        judge.params.maxDets = [MAX_DETECTIONS]
        judge.params.areaRng, judge.params.areaRngLbl = limits[:areas], list(AREAS[:areas])
        judge.evaluate()
    return judge


def _records(
    judge: COCOeval, numbers: Mapping[str, int], areas: Sequence[str]
) -> dict[tuple[str, str], Record]:
    places = [(name, area) for name in numbers for area in areas]  # its order
    return {place: record(entry) for place, entry in zip(places, judge.evalImgs, strict=True)}


def _truths(image: Listed, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": 1,
            "category_id": numbers[one.truth.category],
            "segmentation": one.truth.rle,
            "area": one.area,
            "bbox": list(one.box_xywh),
            "iscrowd": int(one.truth.crowd),
        }
        for one in image.annotations
    ]


def _answer(one: Found, numbers: Mapping[str, int], kind: str) -> dict[str, Any]:
    """A detection; its size is its mask's for masks, its box's for boxes."""
    box = box_xywh(one)
    return {
        "image_id": 1,
        "category_id": numbers[one.category],
        "segmentation": one.rle,
        "area": float(coco_mask.area(one.rle)) if kind == "mask" else box[2] * box[3],
        "bbox": list(box),
        "iscrowd": 0,
        "score": one.score,
    }


def box_xywh(one: Found) -> tuple[float, float, float, float]:
    """Left, top, width and height of a detection, pixels; its mask's extent without a box."""
    if one.box_xyxy is None:
        left, top, width, height = (float(edge) for edge in coco_mask.toBbox(one.rle))
        return left, top, width, height
    x0, y0, x1, y1 = one.box_xyxy
    return x0, y0, x1 - x0, y1 - y0


def _overlaps(image: Listed, found: Sequence[Found], judge: COCOeval) -> Overlaps:
    objects = [one for one in found if one.category == CLASS_NAME]
    # pycocotools' own order: best first, ties as they came
    order = np.argsort([-one.score for one in objects], kind="stable")[:MAX_DETECTIONS]
    truths = tuple(
        number for number, one in enumerate(image.annotations) if one.truth.category == CLASS_NAME
    )
    iou = np.asarray(judge.ious[1, 1], np.float64).reshape(len(order), len(truths))
    return Overlaps(tuple(objects[i] for i in order), truths, iou)
