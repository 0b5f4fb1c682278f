# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One texture from several printed panels, and where each of them lies in it."""

from collections.abc import Mapping

import numpy as np

from robollm_core.synthetic.meshes import Region
from robollm_core.types import UInt8Array

_GUTTER_PX = 3  # mip levels blend neighbours; the panel's own edge is repeated around it


def pack(panels: Mapping[str, UInt8Array]) -> tuple[UInt8Array, dict[str, Region]]:
    """Lay panels out on shelves, tallest first.

    Args:
        panels: (h, w, 3) uint8 RGB by name, at least one.

    Returns:
        The texture (H, W, 3) uint8 and the texture rectangle of each panel.
    """
    gutter = 2 * _GUTTER_PX
    order = sorted(panels, key=lambda name: (-panels[name].shape[0], name))
    area = sum((p.shape[0] + gutter) * (p.shape[1] + gutter) for p in panels.values())
    width = max(max(p.shape[1] for p in panels.values()) + gutter, int(1.1 * area**0.5))
    spots: dict[str, tuple[int, int]] = {}
    x = y = shelf = 0
    for name in order:
        high, wide = panels[name].shape[0] + gutter, panels[name].shape[1] + gutter
        if x + wide > width:
            x, y, shelf = 0, y + shelf, 0
        spots[name] = (y, x)
        x, shelf = x + wide, max(shelf, high)
    height = y + shelf
    texture = np.full((height, width, 3), 128, np.uint8)
    regions: dict[str, Region] = {}
    for name, (row, column) in spots.items():
        padded = np.pad(panels[name], ((_GUTTER_PX,) * 2, (_GUTTER_PX,) * 2, (0, 0)), mode="edge")
        texture[row : row + padded.shape[0], column : column + padded.shape[1]] = padded
        top, left = row + _GUTTER_PX, column + _GUTTER_PX
        high, wide = panels[name].shape[:2]
        regions[name] = (
            left / width,
            top / height,
            (left + wide) / width,
            (top + high) / height,
        )
    return texture, regions
