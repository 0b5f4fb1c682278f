# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A frame and its answer as the page takes them: a small JPEG, outlines and words.

The browser draws outlines and names itself, so that they are sharp at any size.
"""

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from robollm_core.images import encode_jpeg
from robollm_core.types import Frame, UInt8Array
from robollm_ros.view_state import brief, finite

MAX_SIDE_PX = 1280
QUALITY = 80
MAX_DETECTIONS = 254
_COARSE_PX = 640
"""Masks are traced at this size at most."""
_TOLERANCE_PX = 1.0


def packed(head: Mapping[str, Any], jpeg: bytes) -> bytes:
    """Four bytes with the length of the JSON, big end first, the JSON, the JPEG."""
    text = json.dumps(head, allow_nan=False).encode()
    return struct.pack(">I", len(text)) + text + jpeg


def small_jpeg(frame: Frame) -> bytes:
    """The picture, no larger than a page needs."""
    image = frame.image_rgb
    height, width = image.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return encode_jpeg(image, QUALITY)


def outlines(labels: UInt8Array, count: int) -> list[list[list[int]]]:
    """The outer outline of each mask of a label image.

    Args:
        labels: (H, W) uint8, i + 1 where detection i is visible.
        count: detections.

    Returns:
        For each detection its largest outline as [x0, y0, x1, y1, ...] in pixels
        of the label image, within a list; an empty list when nothing of it is visible.
    """
    height, width = labels.shape
    scale = max(1.0, max(height, width) / _COARSE_PX)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    coarse = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    factors = np.array([width / size[0], height / size[1]])
    return [_outline(coarse == index + 1, factors) for index in range(count)]


def _outline(mask: Any, factors: Any) -> list[list[int]]:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    whole = [
        cv2.approxPolyDP(one, _TOLERANCE_PX, True)[:, 0, :]
        for one in found
        if cv2.contourArea(one) >= 4
    ]
    return [np.rint((one + 0.5) * factors).astype(int).ravel().tolist() for one in whole[:8]]


def items(parts: Mapping[str, Any], classes: Collection[str]) -> list[dict[str, Any]]:
    """What the page says of each detection.

    Args:
        parts: messages of one answer: "detections", and "defects" if they came.
        classes: of the segmenter; an answer that is one of them names no item.

    Returns:
        By detection: name ("" for none), class, score, verdict, defect, box (edges, pixels).
    """
    detections = parts["detections"].detections[:MAX_DETECTIONS]
    flaws = parts["defects"].detections if "defects" in parts else []
    verdicts = {flaw.id: _best(flaw) for flaw in flaws[:MAX_DETECTIONS]}
    rows = []
    for detection in detections:
        name, score = _best(detection)
        verdict, defect = verdicts.get(detection.id, ("", None))
        rows.append(
            {
                "name": "" if name in classes else brief(name),
                "class": brief(name) if name in classes else "",
                "score": score,
                "verdict": brief(verdict),
                "defect": defect,
                "box": _box(detection.bbox),
            }
        )
    return rows


def _best(detection: Any) -> tuple[str, float | None]:
    results: Sequence[Any] = detection.results
    if not results:
        return "", None
    return results[0].hypothesis.class_id, finite(results[0].hypothesis.score)


def _box(box: Any) -> list[float]:
    x, y = finite(box.center.position.x) or 0.0, finite(box.center.position.y) or 0.0
    width, height = finite(box.size_x) or 0.0, finite(box.size_y) or 0.0
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
