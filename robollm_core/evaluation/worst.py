# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the worst cases of a run while it streams by, so that memory stays bounded."""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from robollm_core.evaluation.outcome import Exhibit
from robollm_core.images import encode_jpeg
from robollm_core.types import UInt8Array

KEPT = 12
"""Exhibits of a group."""
SIDE_PX = 320
"""Longer side of a picture of an exhibit, at most."""

_QUALITY = 80


@dataclass(slots=True)
class Worst:
    """The worst cases of each group.

    Attributes:
        groups: their names, in the order they are shown.
        kept: cases of a group.
    """

    groups: tuple[str, ...]
    kept: int = KEPT
    _ranks: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _exhibits: dict[str, list[Exhibit]] = field(default_factory=dict)
    _offers: int = 0

    def offer(self, group: str, badness: float, make: Callable[[], Exhibit]) -> None:
        """Show a case; it is drawn only when it is among the worst so far.

        Args:
            group: one of `groups`.
            badness: the higher, the further in front; of equal ones the first wins.
            make: draws it.
        """
        ranks = self._ranks.setdefault(group, [])
        exhibits = self._exhibits.setdefault(group, [])
        self._offers += 1
        rank = (-badness, self._offers)
        at = bisect.bisect(ranks, rank)
        if at >= self.kept:
            return
        ranks.insert(at, rank)
        exhibits.insert(at, make())
        del ranks[self.kept :], exhibits[self.kept :]

    def exhibits(self) -> tuple[Exhibit, ...]:
        """Those kept, group by group, the worst of each first."""
        return tuple(one for name in self.groups for one in self._exhibits.get(name, ()))


def picture(image_rgb: UInt8Array) -> bytes:
    """An (H, W, 3) uint8 image as a JPEG of at most `SIDE_PX` a side, never enlarged."""
    height, width = image_rgb.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_rgb = np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(image_rgb, _QUALITY)


def stroke_px(image_rgb: UInt8Array) -> int:
    """Width of a line that is still seen once the image was made small by `picture`."""
    return max(1, round(2 * max(image_rgb.shape[:2]) / SIDE_PX))


def draw_lines(canvas: UInt8Array, lines: Sequence[Any], colour: tuple[int, int, int]) -> None:
    """Draw closed lines so that they are seen on any colour and after `picture`.

    Args:
        canvas: (H, W, 3) uint8, drawn upon.
        lines: contours as OpenCV finds them, (n, 1, 2) or (n, 2) int32 each.
        colour: RGB.
    """
    stroke = stroke_px(canvas)
    for shade, width in (((0, 0, 0), 3 * stroke), (colour, stroke)):
        cv2.polylines(canvas, lines, isClosed=True, color=shade, thickness=width)
