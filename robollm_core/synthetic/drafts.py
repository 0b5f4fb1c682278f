# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the packaging families share: the draft of a product, print and colours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from robollm_core.synthetic.artwork import Role, Style, draw_panel
from robollm_core.synthetic.meshes import Band, Bend, Float64Array, Mesh, Region, subdivided
from robollm_core.types import UInt8Array

Collision = Literal["box", "cylinder", "ellipsoid"]
_LONG_SIDE_PX = 300


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What a family hands over to become a product.

    Attributes:
        mesh: closed surface, metres.
        texture: (H, W, 3) uint8 RGB.
        density: kilograms a cubic metre of the bounding box.
        gloss: 0 matt to 1 shiny.
        collision: primitive that stands for the shape in physics; a cylinder
            stands along y.
        softness: share of the smallest dimension other things may sink in.
    """

    mesh: Mesh
    texture: UInt8Array
    density: float
    gloss: float
    collision: Collision = "box"
    softness: float = 0.0


@dataclass(frozen=True, slots=True)
class Press:
    """Prints panels in proportion to the product."""

    style: Style
    rng: np.random.Generator
    px_per_m: float

    def panel(self, role: Role, width_m: float, height_m: float) -> UInt8Array:
        """One printed panel of `width_m` by `height_m`."""
        high = max(12, round(height_m * self.px_per_m))
        wide = max(12, round(width_m * self.px_per_m))
        return draw_panel(self.style, (high, wide), role, self.rng)


def press_for(style: Style, rng: np.random.Generator, longest_m: float) -> Press:
    """A press that prints `longest_m` on a fixed number of pixels."""
    return Press(style, rng, _LONG_SIDE_PX / longest_m)


def plain(colour: tuple[int, int, int] | Float64Array, size: int = 16) -> UInt8Array:
    """A patch of one colour."""
    return np.broadcast_to(np.asarray(colour, np.uint8), (size, size, 3)).copy()


def some_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """White, black, grey, clear-ish or a saturated colour, as caps and toys have."""
    kind = rng.random()
    if kind < 0.45:
        grey = int(rng.choice((245, 235, 25, 45, 130, 190)))
        return grey, grey, grey
    hsv = np.array([[[rng.integers(180), rng.integers(110, 256), rng.integers(70, 256)]]], np.uint8)
    red, green, blue = (int(v) for v in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])
    return red, green, blue


def dye(style: Style) -> np.random.Generator:
    """Where the colours of what is not printed come from.

    The flavours of a shelf share their shape; without print only a colour of
    their own tells them apart, as it does gloves or shirts.
    """
    return np.random.default_rng((0xD7E, style.brand_seed, style.flavour_seed))


def cloth(
    rng: np.random.Generator, size_px: int = 160, colours: np.random.Generator | None = None
) -> UInt8Array:
    """Fabric, foam or bristles: a colour with weave, stripes, dots or mottling.

    Args:
        rng: where the pattern comes from.
        size_px: edge of the patch.
        colours: where the two colours come from, `rng` by default.
    """
    base = np.array(some_colour(colours or rng), np.float32)
    other = np.array(some_colour(colours or rng), np.float32)
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    kind = rng.integers(5)
    period = rng.uniform(6, 40)
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    if kind == 0:
        share = (np.sin(along * 2 * np.pi / period) > rng.uniform(-0.6, 0.8)).astype(np.float32)
    elif kind == 1:
        share = ((np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period)) > 0.5).astype(
            np.float32
        )
    elif kind == 2:
        spots = rng.normal(size=(size_px // 8, size_px // 8)).astype(np.float32)
        share = (cv2.resize(spots, (size_px, size_px)) > rng.uniform(-0.2, 0.9)).astype(np.float32)
    else:
        share = np.zeros((size_px, size_px), np.float32)
    grain = rng.normal(0, rng.uniform(3, 16), (size_px, size_px)).astype(np.float32)
    cloth = base + (other - base) * share[..., None] + grain[..., None]
    return np.asarray(np.clip(cloth, 0, 255), np.uint8)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: small packs are as frequent as their ratio to large ones says."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def curl(rng: np.random.Generator, w: float, h: float, most: float) -> Bend:
    """A bend that curls a flat thing by up to about `most` metres."""
    a, b, c = rng.normal(0, 0.4, 3) * most

    def bend(points: Float64Array) -> Float64Array:
        x, y = points[:, 0] / w * 2, points[:, 1] / h * 2
        lift = a * x * x + b * y * y + c * x * y
        return np.asarray(points + np.stack([0 * x, 0 * x, lift], -1), np.float64)

    return bend


def label_bands(
    profile: list[tuple[float, float, str]],
    regions: Mapping[str, Region],
    bottom: tuple[float, float] | None = None,
) -> list[Band]:
    """Bands of a profile (radius, height, region); a name ending in a dot is a disc.

    The profile starts at `bottom`, by default on the axis at its first height.
    """
    bands: list[Band] = []
    start = bottom or (0.0, profile[0][1])
    for radius, height, name in profile:
        disc = name.endswith(".")
        band = Band(radius, height, regions[name.rstrip(".")], disc)
        # long bands are cut so that vertex lighting can show a highlight
        pieces = 4 if abs(height - start[1]) > 0.03 else 1
        bands += subdivided(start, band, pieces)
        start = (radius, height)
    return bands
