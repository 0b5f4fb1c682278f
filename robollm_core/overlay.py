# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Results drawn into their image, for people."""

from collections.abc import Mapping

import cv2
import numpy as np

from robollm_core.errors import ShapeError
from robollm_core.types import ItemReport, PerceptionResult, UInt8Array


def draw_overlay(
    image_rgb: UInt8Array, result: PerceptionResult, names: Mapping[str, str] | None = None
) -> UInt8Array:
    """Draw what was found: masks, boxes, item ids, verdicts.

    Args:
        image_rgb: (H, W, 3) uint8, the image the result belongs to.
        result: at least its `items` are used.
        names: short names to print in place of item ids.

    Returns:
        (H, W, 3) uint8, a new image; sound instances in their own colour,
        flagged ones in red.

    Raises:
        ShapeError: If the result belongs to an image of another size.
    """
    if image_rgb.shape[:2] != result.image_size_px:
        raise ShapeError(
            f"the result is of a {result.image_size_px} image, got one of {image_rgb.shape[:2]}."
        )
    canvas = image_rgb.copy()
    for index, report in reversed(list(enumerate(result.items))):
        _draw_mask(canvas, report, _colour(index, report))
    for index, report in reversed(list(enumerate(result.items))):
        identity = report.identification.item_id
        text = (names or {}).get(identity, identity) or "?"
        if report.defect.label != "nominal":
            text += f" {report.defect.label}"
        _draw_text(canvas, text, report.instance.box_xyxy_px, _colour(index, report))
    return canvas


def _colour(index: int, report: ItemReport) -> tuple[int, int, int]:
    if report.defect.label != "nominal":
        return (230, 30, 30)
    # golden-angle steps through the hues from green to violet; red is kept for defects
    hue = 35 + round(index * 0.618034 * 110) % 110
    pixel = np.array([[[hue, 200, 235]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _draw_mask(canvas: UInt8Array, report: ItemReport, colour: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = report.instance.box_xyxy_px
    mask = report.instance.mask_in_box
    patch = canvas[y0:y1, x0:x1]
    patch[mask] = (0.7 * patch[mask] + 0.3 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x0, y0)
    )
    cv2.drawContours(canvas, outlines, -1, colour, 1, cv2.LINE_AA)


def _draw_text(
    canvas: UInt8Array, text: str, box: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, max(0.35, canvas.shape[0] / 1400)
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    x = min(max((box[0] + box[2] - width) // 2, 0), max(canvas.shape[1] - width, 0))
    y = min(max((box[1] + box[3] + height) // 2, height), canvas.shape[0] - 1)
    cv2.putText(canvas, text, (x, y), font, size, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, (x, y), font, size, colour, 1, cv2.LINE_AA)
