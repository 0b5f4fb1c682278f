# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation, judged as it ships: exported graph, stage, whole-image masks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.config import Config, SegmentationConfig
from robollm_core.data.armbench_segmentation import (
    CLASS_NAME,
    SUBSETS,
    ToteImage,
    read_coco,
    read_split,
    subsets,
)
from robollm_core.data.rle import whole_rle
from robollm_core.errors import DatasetError
from robollm_core.evaluation.intervals import Figure
from robollm_core.evaluation.precision import (
    IOUS,
    MAX_DETECTIONS,
    Found,
    Judged,
    Record,
    average_precision,
    bootstrap_interval,
    match,
)
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.segmentation.stage import Segmenter
from robollm_core.types import Frame

SEED = 0
RESAMPLES = 500
CROWDING = ((1, 5), (6, 10), (11, 15), (16, 25), (26, 10_000))
PHOTOS = "photos"
"""Name of the only subset of a folder with a plain annotations.json in it."""

_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
_SIZES = {"ap": IOUS, "ap50": (0.5,), "ap75": (0.75,)}


def evaluate(
    artifact: Path, data: Path, split: str = "test", config: Config | None = None
) -> dict[str, Any]:
    """Measure a segmentation artifact.

    Args:
        artifact: x.onnx.
        data: folder in ARMBench's segmentation layout, or one with images/ and
            an annotations.json, which has no splits.
        split: "train", "val" or "test".
        config: runtime and mask threshold; None for the defaults. The score
            threshold only sets the working point that is reported.

    Returns:
        The section of metrics.json. "mask_map50" is the AP at IoU 0.5 of the
        object class on the first subset, ARMBench's mixed totes. Box figures
        compare mask extents, which is what the stage reports.

    Raises:
        ArtifactError: If the artifact is missing or not what it should be.
        DatasetError: If the data is.
    """
    config = config or Config()
    path, sidecar = load_artifact(artifact)
    open_wide = dataclasses.replace(
        config.segmentation, score_threshold=0.0, max_instances=MAX_DETECTIONS
    )
    segmenter = Segmenter(load_engine(path, config.runtime), sidecar, open_wide)
    judged = {name: judge(segmenter, totes) for name, totes in read_all(data, split).items()}
    first = next(iter(judged))
    return {
        "mask_map50": _headline(match(judged[first], "segm")),
        "of": first,
        "class": CLASS_NAME,
        "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "unit": "images"},
        "subsets": {name: _subset(images, config.segmentation) for name, images in judged.items()},
    }


def read_all(data: Path, split: str) -> dict[str, tuple[ToteImage, ...]]:
    """Every subset of a folder, mixed totes first.

    Raises:
        DatasetError: If there is none, or one is not of the layout.
    """
    plain = data / "annotations.json"
    if plain.is_file():
        return {PHOTOS: read_coco(plain, data / "images")}
    names = subsets(data, split)
    if not names:
        raise DatasetError(
            f"{data} holds no {split}.json under {', '.join(SUBSETS)}, and no annotations.json."
        )
    return {name: read_split(data, split, name) for name in names}


def judge(segmenter: Segmenter, totes: Sequence[ToteImage]) -> list[Judged]:
    """Run the stage over images and lay what it finds beside the truth."""
    judged = []
    for tote in tqdm(totes, desc="segment", unit="image"):
        instances = segmenter.segment(Frame(tote.read()))
        found = tuple(
            Found(whole_rle(one, (tote.height, tote.width)), one.score) for one in instances
        )
        truths = tuple(truth.rle for truth in tote.truths)
        judged.append(Judged(truths, tuple(truth.crowd for truth in tote.truths), found))
    return judged


def _headline(records: Sequence[Record]) -> Figure:
    if not sum(record.positives for record in records):
        return Figure(value=0.0, n=0, low=0.0, high=1.0)
    low, high = bootstrap_interval(records, iou=0.5, resamples=RESAMPLES, seed=SEED)
    value = average_precision(records, [0.5])
    return Figure(value=round(value, 6), n=len(records), low=round(low, 6), high=round(high, 6))


def _subset(images: Sequence[Judged], config: SegmentationConfig) -> dict[str, Any]:
    masks = match(images, "segm")
    return {
        **_counts(masks),
        "mask": _precisions(masks),
        "box": _precisions(match(images, "bbox")),
        "crowding": _by_crowding(masks),
        "at_threshold": _working_point(masks, config.score_threshold),
        "at_best_f1": max((_working_point(masks, t) for t in _THRESHOLDS), key=_f1),
    }


def _counts(records: Sequence[Record]) -> dict[str, int]:
    return {"images": len(records), "instances": sum(record.positives for record in records)}


def _precisions(records: Sequence[Record]) -> dict[str, float]:
    """AP figures; 0 where there is nothing to find."""
    return {
        name: round(float(np.nan_to_num(average_precision(records, ious))), 6)
        for name, ious in _SIZES.items()
    }


def _by_crowding(records: Sequence[Record]) -> dict[str, Any]:
    """Mask AP by number of instances in the image; empty bins are left out."""
    table: dict[str, Any] = {}
    for least, most in CROWDING:
        chosen = [record for record in records if least <= record.positives <= most]
        if chosen:
            name = f"{least}+" if most == CROWDING[-1][1] else f"{least}-{most}"
            table[name] = {**_counts(chosen), **_precisions(chosen)}
    return table


def _f1(point: dict[str, float]) -> float:
    both = point["precision"] + point["recall"]
    return 2.0 * point["precision"] * point["recall"] / both if both else 0.0


def _working_point(records: Sequence[Record], threshold: float) -> dict[str, float]:
    """Precision and recall at IoU 0.5 of what the stage would report."""
    shown = [record.scores >= threshold for record in records]
    counted = [keep & ~record.ignored[0] for keep, record in zip(shown, records, strict=True)]
    hits = sum(
        int((keep & record.hits[0]).sum()) for keep, record in zip(counted, records, strict=True)
    )
    found = sum(int(keep.sum()) for keep in counted)
    truths = sum(record.positives for record in records)
    return {
        "score_threshold": threshold,
        "precision": round(hits / found, 6) if found else 0.0,
        "recall": round(hits / truths, 6) if truths else 0.0,
    }
