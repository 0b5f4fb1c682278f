# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reads answers back from a bag, as the perception node or the replay wrote them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.data import rostypes
from robollm_core.data.answers import DEFECTS, DETECTIONS, MASKS
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import Topic
from robollm_core.errors import BagError
from robollm_core.types import (
    DEFECT_LABELS,
    OBJECT_LABEL,
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
    UInt8Array,
)

TIMING = Topic("/perception/timing", rostypes.STRING)
STAGES = ("segment", "identify", "inspect", "total")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One recorded answer.

    Attributes:
        result: masks are cut where a better instance lay on top; without the
            timing message `manifest` and `stage_secs` are empty.
        counts: "received", "processed", "dropped", "errors" of the node when it
            answered; empty without the timing message.
    """

    result: PerceptionResult
    counts: Mapping[str, int] = field(default_factory=dict)


def read_answers(path: Path) -> list[Answer]:
    """Read every answer of a bag.

    Returns:
        In the order they were given; empty when nothing was answered.

    Raises:
        BagError: If the bag cannot be read, or detections lack their defects
            or masks.
    """
    try:
        return _collect(path)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BagError(f"{path} holds no answers of a perception node: {error!r}.") from error


def _collect(path: Path) -> list[Answer]:
    topics = (DETECTIONS, DEFECTS, MASKS, TIMING)
    # cameras that are triggered together share their stamps
    heard: dict[str, dict[tuple[str, int], Any]] = {topic.name: {} for topic in topics}
    timings: dict[int, Any] = {}
    for topic, _, message in read_topics(path, {topic.name: topic.msgtype for topic in topics}):
        if topic == TIMING.name:
            tree = json.loads(message.data)
            key = (str(tree.get("camera", "")), int(tree["stamp_ns"]))
            heard[topic][key] = timings[key[1]] = tree
        else:
            heard[topic][message.header.frame_id, rostypes.stamp_ns(message)] = message
    answers = []
    for key, detections in heard[DETECTIONS.name].items():
        defects, masks = heard[DEFECTS.name].get(key), heard[MASKS.name].get(key)
        if defects is None or masks is None:
            raise BagError(f"{path}: the detections at {key[1]} ns lack their defects or masks.")
        timing = heard[TIMING.name].get(key, timings.get(key[1], {}))
        answers.append(_answer(detections, defects, masks, timing))
    return answers


def _answer(detections: Any, defects: Any, masks: Any, timing: Mapping[str, Any]) -> Answer:
    labels = np.asarray(masks.data, np.uint8).reshape(masks.height, masks.width)
    pairs = zip(detections.detections, defects.detections, strict=True)
    items = tuple(
        _report(detection, defect, labels, index) for index, (detection, defect) in enumerate(pairs)
    )
    container, version = timing.get("manifest", ("", 0))
    spent = timing["ms"] if timing else {}
    result = PerceptionResult(
        stamp_ns=rostypes.stamp_ns(detections),
        camera=detections.header.frame_id,
        image_size_px=(masks.height, masks.width),
        items=items,
        manifest=(str(container), int(version)),
        stage_secs={name: ms / 1e3 for name in STAGES if (ms := spent.get(name)) is not None},
    )
    names = ("received", "processed", "dropped", "errors")
    return Answer(result, {name: int(timing[name]) for name in names} if timing else {})


def _report(detection: Any, defect: Any, labels: UInt8Array, index: int) -> ItemReport:
    x, y = detection.bbox.center.position.x, detection.bbox.center.position.y
    wide, high = detection.bbox.size_x, detection.bbox.size_y
    box = (
        round(x - wide / 2), round(y - high / 2), round(x + wide / 2), round(y + high / 2),
    )  # fmt: skip
    mask = labels[box[1] : box[3], box[0] : box[2]] == index + 1
    ranked = [(h.hypothesis.class_id, float(h.hypothesis.score)) for h in detection.results]
    # the class of the instance comes first when no item was accepted, else last
    accepted = ranked[0][0] != OBJECT_LABEL
    label, score = ranked[-1] if accepted else ranked[0]
    candidates = tuple(ranked[:-1] if accepted else ranked[1:])
    verdicts = {h.hypothesis.class_id: float(h.hypothesis.score) for h in defect.results}
    multi_pick, nominal, package = (verdicts[name] for name in DEFECT_LABELS)
    return ItemReport(
        Instance(box, mask, score, label),
        Identification(candidates, candidates[0][0] if accepted else ""),
        DefectReport(
            (multi_pick, nominal, package), defect.results[0].hypothesis.class_id, 1.0 - nominal
        ),
    )
