# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Type for printed packaging: a dozen faces without a font file.

Pillow carries one scalable outline face; widening, condensing, slanting and
emboldening make a family of it. OpenCV's Hershey strokes add serif and script
faces. No font has to be installed, so the same seed draws the same letters
on every machine.
"""

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robollm_core.types import UInt8Array

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

_OUTLINE_FACES = (
    # horizontal stretch, slant, embolden (fraction of the height)
    (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.05),
    (0.7, 0.0, 0.05),
    (0.6, 0.0, 0.09),
    (1.35, 0.0, 0.04),
    (1.0, 0.25, 0.03),
    (0.8, 0.2, 0.08),
    (1.2, -0.1, 0.1),
)
_STROKE_FACES = (
    # Hershey face, thickness (fraction of the height)
    (cv2.FONT_HERSHEY_COMPLEX, 0.06),
    (cv2.FONT_HERSHEY_TRIPLEX, 0.08),
    (cv2.FONT_HERSHEY_SCRIPT_COMPLEX, 0.07),
    (cv2.FONT_HERSHEY_DUPLEX | cv2.FONT_ITALIC, 0.1),
)
FACES = len(_OUTLINE_FACES) + len(_STROKE_FACES)
_NOMINAL_PX = (28, 56, 112)


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _outline_mask(text: str, size_px: int, embolden: float) -> UInt8Array:
    stroke = round(embolden * size_px)
    font = _font(size_px)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
        (0, 0), text, font=font, stroke_width=stroke
    )
    size = (max(1, int(right - left) + 2), max(1, int(bottom - top) + 2))
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, 255, font=font, stroke_width=stroke)
    return np.asarray(image)


def _stroke_mask(text: str, size_px: int, face: int, thickness: float) -> UInt8Array:
    width = max(1, round(thickness * size_px))
    scale = cv2.getFontScaleFromHeight(face, size_px, width)
    (wide, high), baseline = cv2.getTextSize(text, face, scale, width)
    canvas = np.zeros((high + baseline + 2 * width, wide + 2 * width), np.uint8)
    cv2.putText(canvas, text, (width, high + width), face, scale, 255, width, cv2.LINE_AA)
    return canvas


@lru_cache(maxsize=256)
def text_mask(text: str, face: int, size_px: int) -> UInt8Array:
    """Draw one line of text.

    Args:
        text: Not empty; ASCII, because the stroke faces know nothing else.
        face: 0 .. `FACES` - 1.
        size_px: Nominal letter height.

    Returns:
        (h, w) uint8 coverage, 255 where there is ink; read-only because cached.
    """
    if face < len(_OUTLINE_FACES):
        stretch, slant, embolden = _OUTLINE_FACES[face]
        mask = _outline_mask(text, size_px, embolden)
        high, wide = mask.shape
        lean = abs(slant) * high
        size = (max(1, round(wide * stretch + lean)), high)
        start = slant * high if slant > 0 else 0.0
        matrix = np.array([[stretch, -slant, start], [0.0, 1.0, 0.0]])
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8)
    else:
        mask = _stroke_mask(text, size_px, *_STROKE_FACES[face - len(_OUTLINE_FACES)])
    mask = np.array(mask)
    mask.setflags(write=False)
    return mask


def blend(canvas: UInt8Array, mask: UInt8Array, corner: tuple[int, int], colour: Colour) -> None:
    """Ink `colour` into `canvas` where `mask` covers it, in place, clipped.

    Args:
        canvas: (H, W, 3) uint8 RGB.
        mask: (h, w) uint8 coverage.
        corner: (x, y) of the mask's top-left pixel; may lie outside.
        colour: RGB.
    """
    x0, y0 = max(corner[0], 0), max(corner[1], 0)
    x1 = min(corner[0] + mask.shape[1], canvas.shape[1])
    y1 = min(corner[1] + mask.shape[0], canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = mask[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0], None]
    window = canvas[y0:y1, x0:x1]
    cover = part.astype(np.uint16)
    ink = np.array(colour, np.uint16)
    window[:] = ((window * (255 - cover) + ink * cover + 127) // 255).astype(np.uint8)


def put_text(
    canvas: UInt8Array, text: str, face: int, box: Box, colour: Colour, align: float = 0.5
) -> Box:
    """Write one line as large as fits into `box`, in place.

    Args:
        canvas: (H, W, 3) uint8 RGB.
        text: One line; nothing is drawn when it is empty or the box is too small.
        face: 0 .. `FACES` - 1.
        box: (x0, y0, x1, y1) pixel edges.
        colour: RGB.
        align: 0 left, 0.5 centred, 1 right.

    Returns:
        The box that the ink takes.
    """
    x0, y0, x1, y1 = box
    if not text or x1 - x0 < 3 or y1 - y0 < 3:
        return (x0, y0, x0, y0)
    size = next((s for s in _NOMINAL_PX if s >= y1 - y0), _NOMINAL_PX[-1])
    mask = text_mask(text, face, size)
    high, wide = mask.shape
    scale = min((x1 - x0) / wide, (y1 - y0) / high)
    fit = (max(1, round(wide * scale)), max(1, round(high * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    mask = cv2.resize(mask, fit, interpolation=way).astype(np.uint8)
    left = x0 + round((x1 - x0 - fit[0]) * align)
    top = y0 + (y1 - y0 - fit[1]) // 2
    blend(canvas, mask, (left, top), colour)
    return (left, top, left + fit[0], top + fit[1])
