# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of one subset, each by pycocotools, each with its interval."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.config import SegmentationConfig
from robollm_core.data.tote import CLASS_NAME
from robollm_core.evaluation import segmentation_protocol as protocol
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import proportion
from robollm_core.evaluation.precision import (
    MAX_DETECTIONS,
    Record,
    Row,
    accumulate,
    pruned,
    row,
    summarize,
)
from robollm_core.evaluation.segmentation_matching import AREAS, Sample

LIMITS = (1, 10, MAX_DETECTIONS)
"""Detections of one class in an image that count for AR, COCO's own."""
CROWDING = ((1, 5), (6, 10), (11, 15), (16, 25), (26, 10_000))
MEAN = "mean"

_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ar_1": 6, "ar_10": 7, "ar_100": 8}
_SIZES = {"small": 3, "medium": 4, "large": 5}
_PRECISIONS = ("ap", "ap50", "ap75")
_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

Stats = npt.NDArray[np.float64]


def subset_figures(
    samples: Sequence[Sample],
    classes: Sequence[str],
    config: SegmentationConfig,
    seed: int,
) -> dict[str, Any]:
    """All figures of one subset.

    Args:
        samples: its images, in the order of their numbers.
        classes: that are judged, the object class first.
        config: sets the working point that is reported.
        seed: of the bootstrap.
    """
    masks = judge(samples, "mask", classes, AREAS, seed)
    boxes = judge(samples, "box", classes, AREAS[:1], seed)
    objects = [sample.records["mask"][CLASS_NAME, "all"] for sample in samples]
    best = max((working_point(objects, t, config.max_instances) for t in _THRESHOLDS), key=_f1)
    return {
        **_counts(samples),
        "mask": {"protocol": protocol.MASK, **_named(masks[CLASS_NAME], _STATS)},
        "box": {"protocol": protocol.BOX, **_named(boxes[CLASS_NAME], _STATS)},
        "tote_and_object": {
            "protocol": protocol.TOTE_AND_OBJECT,
            "mask": {name: _named(masks[name], _PRECISIONS) for name in (*classes, MEAN)},
            "box": {name: _named(boxes[name], _PRECISIONS) for name in (*classes, MEAN)},
        },
        "by_size": {"protocol": protocol.BY_SIZE, **_by_size(samples, masks[CLASS_NAME])},
        "crowding": {"protocol": protocol.CROWDING, **_by_crowding(samples, seed)},
        "at_threshold": {
            "protocol": protocol.AT_THRESHOLD,
            **working_point(objects, config.score_threshold, config.max_instances),
        },
        "at_best_f1": {"protocol": protocol.AT_BEST_F1, **best},
    }


def judge(
    samples: Sequence[Sample],
    kind: str,
    classes: Sequence[str],
    areas: Sequence[str],
    seed: int,
) -> dict[str, dict[str, Figure]]:
    """COCO's figures of images with their 95 % percentile bootstrap intervals.

    Args:
        samples: the images; drawn with replacement for the intervals.
        kind: "mask" or "box".
        classes: which to judge.
        areas: "all" alone, or all of `AREAS`.
        seed: of the draws.

    Returns:
        Figures by class, and under `MEAN` their mean over the classes that have
        truths; n counts images, 0 where there is no truth.
    """
    places = [(name, area) for name in classes for area in areas]
    groups = [[sample.records[kind][place] for sample in samples] for place in places]
    whole = [[row(one) for one in records] for records in groups]
    rows = [[row(one) for one in pruned(records)] for records in groups]
    value = _stats(whole, range(len(samples)), areas, classes)
    draws = [
        _stats(rows, chosen, areas, classes)
        for chosen in tqdm(
            draw(len(samples), seed), desc=f"intervals, {kind}", leave=False, disable=None
        )
    ]
    names = {**_STATS, **(_SIZES if len(areas) > 1 else {})}
    members = {**{name: (name,) for name in classes}, MEAN: tuple(classes)}
    return {
        group: {
            name: _figure(
                value[group][at],
                [one[group][at] for one in draws],
                len(samples),
                _holding(samples, kind, members[group], name if name in _SIZES else AREAS[0]),
            )
            for name, at in names.items()
        }
        for group in value
    }


def _holding(samples: Sequence[Sample], kind: str, classes: Sequence[str], area: str) -> int:
    """How many images hold a truth of the classes."""
    return sum(
        any(sample.records[kind][name, area].positives for name in classes) for sample in samples
    )


def draw(images: int, seed: int) -> npt.NDArray[np.int64]:
    """(`protocol.RESAMPLES`, images) indices of images, each row drawn with replacement."""
    if not images:
        return np.zeros((0, 0), np.int64)
    return np.random.default_rng(seed).integers(images, size=(protocol.RESAMPLES, images))


def _stats(
    rows: Sequence[Sequence[Row]],
    chosen: Sequence[int] | npt.NDArray[np.int64],
    areas: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Stats]:
    """COCO's twelve statistics by class and of all classes, -1 where there is no truth."""
    picked = [[group[i] for i in chosen] for group in rows]
    curves = accumulate(picked, max_detections=LIMITS, areas=areas)
    stats = {name: summarize(curves, [at]) for at, name in enumerate(classes)}
    return {**stats, MEAN: summarize(curves, list(range(len(classes))))}


def _figure(value: float, draws: Sequence[float], images: int, holding: int) -> Figure:
    known = [one for one in draws if one > -1]
    if value < 0 or not known:
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    # one image drawn again and again says nothing of others
    low, high = np.percentile(known, [2.5, 97.5]) if holding > 1 else (0.0, 1.0)
    return Figure(
        value=round(float(value), 6), n=images, low=round(float(low), 6), high=round(float(high), 6)
    )


def _named(figures: dict[str, Figure], names: Iterable[str]) -> dict[str, Figure]:
    return {name: figures[name] for name in names}


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    return {"images": len(samples), "instances": sum(sample.instances for sample in samples)}


def _by_size(samples: Sequence[Sample], masks: dict[str, Figure]) -> dict[str, Any]:
    """Mask AP by COCO's ranges of areas."""
    return {
        name: {"instances": sum(sample.sizes[at] for sample in samples), "ap": masks[name]}
        for at, name in enumerate(_SIZES)
    }


def _by_crowding(samples: Sequence[Sample], seed: int) -> dict[str, Any]:
    """Mask and box AP by number of instances in the image; empty bins are left out."""
    table: dict[str, Any] = {}
    for least, most in CROWDING:
        chosen = [sample for sample in samples if least <= sample.instances <= most]
        if chosen:
            masks, boxes = (
                judge(chosen, kind, (CLASS_NAME,), AREAS[:1], seed)[CLASS_NAME]
                for kind in ("mask", "box")
            )
            table[bin_name(least, most)] = {
                **_counts(chosen),
                **_named(masks, _PRECISIONS),
                "box": _named(boxes, _PRECISIONS),
            }
    return table


def bin_name(least: int, most: int) -> str:
    """What a bin of `CROWDING` is called, such as "1-5" or "26+"."""
    return f"{least}+" if most == CROWDING[-1][1] else f"{least}-{most}"


def _f1(point: dict[str, Any]) -> float:
    precision, recall = point["precision"]["value"], point["recall"]["value"]
    both = precision + recall
    return float(2.0 * precision * recall / both) if both else 0.0


def working_point(records: Sequence[Record], threshold: float, limit: int) -> dict[str, Any]:
    """Precision and recall at IoU 0.5 of what the stage would report.

    Args:
        records: masks of the object class, an image each.
        threshold: the least score that is reported.
        limit: at most so many an image, the best.

    Returns:
        "score_threshold", and "precision" and "recall" with Wilson's interval over
        answers and over truths.
    """
    right = found = truths = 0
    for record in records:
        shown = record.scores[:limit] >= threshold
        counted = shown & ~record.ignored[0, :limit]
        right += int((counted & record.hits[0, :limit]).sum())
        found += int(counted.sum())
        truths += record.positives
    return {
        "score_threshold": threshold,
        "precision": proportion(np.arange(found) < right),
        "recall": proportion(np.arange(truths) < right),
    }
