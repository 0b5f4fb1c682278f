# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The pieces that packaging print is made of; each draws in place.

Every canvas is (H, W, 3) uint8 RGB and every box (x0, y0, x1, y1) in pixel
edges; a box too small for its piece is left as it is.
"""

import cv2
import numpy as np

from robollm_core.synthetic.lettering import Box, Colour, put_text
from robollm_core.types import UInt8Array

_BLACK: Colour = (20, 20, 22)
_NUTRIENTS = ("Energy", "Fat", "Saturates", "Carbs", "Sugars", "Fibre", "Protein", "Salt")


def barcode(canvas: UInt8Array, number: tuple[int, int], box: Box) -> None:
    """Draw a white label with the bars of an article number."""
    x0, y0, x1, y1 = box
    if x1 - x0 < 12 or y1 - y0 < 6:
        return
    canvas[y0:y1, x0:x1] = 252
    bits = np.random.default_rng((0xBA2, *number)).integers(0, 2, 59)
    bits[[0, 2, 28, 30, 56, 58]] = 1
    bits[[1, 29, 57]] = 0
    margin = (x1 - x0) // 12
    column = np.where(bits == 1, 15, 252).astype(np.uint8)[None, :, None]
    wide = x1 - x0 - 2 * margin
    bars = cv2.resize(column, (wide, 1), interpolation=cv2.INTER_AREA).reshape(1, wide, 1)
    foot = y0 + round(0.82 * (y1 - y0))
    canvas[y0 + 1 : foot, x0 + margin : x1 - margin] = bars
    digits = f"{abs(number[0]) % 10**6:06d} {abs(number[1]) % 10**6:06d}"
    put_text(canvas, digits, 0, (x0 + margin, foot + 1, x1 - margin, y1 - 1), _BLACK)


def paragraph(canvas: UInt8Array, rng: np.random.Generator, box: Box, ink: Colour) -> None:
    """Fill a box with lines of small print, drawn as words too small to read."""
    x0, y0, x1, y1 = box
    line = max(3, min(7, (y1 - y0) // 6))
    tall = max(1, line // 2)
    for top in range(y0, y1 - tall, line):
        x = x0
        last = x0 + round((x1 - x0) * (0.6 + 0.4 * rng.random()))
        for length in rng.integers(2, 9, 24):
            stop = min(x + int(length) * tall // 2 + 1, last)
            if stop <= x:
                break
            word = canvas[top : top + tall, x:stop]
            strength = 0.55 + 0.35 * rng.random()
            word[:] = (word * (1 - strength) + np.array(ink) * strength).astype(np.uint8)
            x = stop + max(1, tall // 2)


def nutrition_table(canvas: UInt8Array, rng: np.random.Generator, box: Box) -> None:
    """Draw the boxed table of nutrients (or of technical data; who reads it?)."""
    x0, y0, x1, y1 = box
    if x1 - x0 < 14 or y1 - y0 < 14:
        return
    canvas[y0:y1, x0:x1] = (250, 250, 246)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _BLACK, 1)
    rows = int(np.clip((y1 - y0) // 9, 3, len(_NUTRIENTS) + 1))
    step = (y1 - y0 - 2) / rows
    put_text(canvas, "Nutrition", 1, (x0 + 2, y0 + 1, x1 - 2, y0 + round(step)), _BLACK, 0.0)
    split = x0 + round(0.64 * (x1 - x0))
    for row in range(1, rows):
        top, end = y0 + 1 + round(row * step), y0 + round((row + 1) * step)
        canvas[top, x0 + 1 : x1 - 1] = 90
        put_text(canvas, _NUTRIENTS[row - 1], 0, (x0 + 2, top + 1, split, end), _BLACK, 0.0)
        put_text(canvas, f"{rng.integers(1, 99)}g", 0, (split, top + 1, x1 - 2, end), _BLACK, 1.0)


def logo(canvas: UInt8Array, seed: int, box: Box, ink: Colour) -> None:
    """Draw a brand's mark: two or three nested shapes, the same for each seed."""
    look = np.random.default_rng((0x1060, seed))
    x0, y0, x1, y1 = box
    radius = min(x1 - x0, y1 - y0) // 2 - 1
    if radius < 3:
        return
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    light = (255, 255, 255) if sum(ink) < 380 else _BLACK
    for step, paint in enumerate((ink, light, ink)[: look.integers(1, 4)]):
        reach = radius * (1.0, 0.66, 0.36)[step]
        corners = int(look.choice((3, 4, 5, 6, 8, 32)))
        turns = 2 * np.pi * (np.arange(corners) / corners + look.choice((0, 0.25, 0.125)))
        spikes = np.where(np.arange(corners) % 2, look.choice((1.0, 0.45)), 1.0)
        ring = centre + reach * spikes[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
        cv2.fillPoly(canvas, [np.round(ring).astype(np.int32)], paint, cv2.LINE_AA)


def pattern(canvas: UInt8Array, look: np.random.Generator, paint: Colour) -> None:
    """Cover the ground with stripes, dots, checks, waves or diagonals."""
    high, wide = canvas.shape[:2]
    pitch = max(4, round(min(high, wide) * look.uniform(0.06, 0.2)))
    y, x = np.ogrid[:high, :wide]
    kind = look.integers(5)
    if kind == 0:
        hit = np.broadcast_to(x % pitch < pitch // 2, (high, wide))
    elif kind == 1:
        hit = (x % pitch - pitch / 2) ** 2 + (y % pitch - pitch / 2) ** 2 < (0.3 * pitch) ** 2
    elif kind == 2:
        hit = (x // pitch + y // pitch) % 2 == 0
    elif kind == 3:
        hit = (y + pitch / 2 * np.sin(x / pitch * 1.5)) % pitch < pitch * 0.4
    else:
        hit = (x + y) % pitch < pitch * 0.45
    strength = look.uniform(0.25, 1.0)
    mixed = canvas[hit] * (1 - strength) + np.array(paint) * strength
    canvas[hit] = mixed.astype(np.uint8)


def photo(canvas: UInt8Array, rng: np.random.Generator, tint: Colour) -> None:
    """Fill with what a product photograph looks like from afar.

    Smooth colour fields, a few shaded round things with a highlight, and grain.
    """
    high, wide = canvas.shape[:2]
    if high < 6 or wide < 6:
        return
    near, far = rng.integers(20, 245, 3), rng.integers(20, 245, 3) * 0.4 + np.array(tint) * 0.6
    field = near + rng.random((5, 5, 1)) * (far - near) + rng.normal(0, 12, (5, 5, 3))
    smooth = cv2.resize(field.astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    for _ in range(rng.integers(2, 7)):
        radius = rng.uniform(0.12, 0.35) * min(high, wide)
        cx, cy = rng.uniform(0.1, 0.9) * wide, rng.uniform(0.2, 0.95) * high
        left, right = max(0, int(cx - radius)), min(wide, int(cx + radius) + 1)
        top, foot = max(0, int(cy - radius)), min(high, int(cy + radius) + 1)
        dx = (x[top:foot, left:right] - cx) / radius
        dy = (y[top:foot, left:right] - cy) / (radius * rng.uniform(0.6, 1.0))
        reach = dx * dx + dy * dy
        shade = 0.35 + 0.65 * np.clip(1 - (dx + 0.4) ** 2 - (dy + 0.4) ** 2, 0, 1)
        colour = rng.integers(40, 255, 3) * 0.5 + np.array(tint) * 0.5
        inside = np.clip((1 - reach) * radius * 0.5, 0, 1)[..., None]
        ball = np.clip(shade[..., None] * colour + 120 * (shade[..., None] > 0.97), 0, 255)
        window = smooth[top:foot, left:right]
        window[:] = window * (1 - inside) + ball * inside
    grain = rng.normal(0, 6, (high // 2 + 1, wide // 2 + 1)).astype(np.float32)
    rough = cv2.resize(grain, (wide, high), interpolation=cv2.INTER_LINEAR)[..., None]
    canvas[:] = np.clip(smooth + rough, 0, 255).astype(np.uint8)


def drawing(canvas: UInt8Array, rng: np.random.Generator, paint: Colour) -> None:
    """Draw a flat motif: petals, rays, rings or a heap of leaves."""
    high, wide = canvas.shape[:2]
    size = min(high, wide)
    if size < 8:
        return
    centre = (wide // 2, high // 2)
    kind, count = rng.integers(4), int(rng.integers(5, 13))
    dark = tuple(int(c * 0.55) for c in paint)
    for step in range(count):
        turn = 360.0 * step / count
        ink = paint if step % 2 else dark
        if kind == 0:
            way = np.deg2rad(turn)
            at = (
                round(centre[0] + size * 0.24 * np.cos(way)),
                round(centre[1] + size * 0.24 * np.sin(way)),
            )
            cv2.ellipse(canvas, at, (size // 4, size // 9), turn, 0, 360, ink, -1, cv2.LINE_AA)
        elif kind == 1:
            span = 360.0 / count
            radius = (round(size * 0.46), round(size * 0.46))
            cv2.ellipse(canvas, centre, radius, 0, turn, turn + span, ink, -1, cv2.LINE_AA)
        elif kind == 2:
            radius_px = round(size * 0.48 * (count - step) / count)
            cv2.circle(canvas, centre, max(1, radius_px), ink, -1, cv2.LINE_AA)
        else:
            spot = (int(rng.integers(wide)), int(rng.integers(high)))
            axes = (max(2, size // 6), max(1, size // 14))
            cv2.ellipse(canvas, spot, axes, turn, 0, 360, ink, -1, cv2.LINE_AA)
