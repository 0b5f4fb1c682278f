# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The container: an open moulded box with sloped walls, rounded corners, ribs and a rim."""

from dataclasses import dataclass

import cv2
import numpy as np

from robollm_core.synthetic.meshes import Float64Array, Mesh, make_mesh
from robollm_core.types import UInt8Array

_SIDE_POINTS, _CORNER_POINTS = 24, 6


@dataclass(frozen=True, slots=True)
class Tote:
    """Shape of a tote; its floor is at z = 0, its middle at x = y = 0.

    Attributes:
        length_m, width_m: inside, at the floor, along x and y.
        height_m: of the walls.
        slope: how far the walls lean out, metres a metre of height.
        corner_m: radius of the corners.
        ribs: number of ribs along each wall, 0 for a smooth one.
        rib_m: how far a rib stands out; negative is a groove.
        step: share of the height at which the wall steps out, 1 for none.
    """

    length_m: float
    width_m: float
    height_m: float
    slope: float
    corner_m: float
    ribs: int
    rib_m: float
    step: float


def random_tote(rng: np.random.Generator) -> Tote:
    """A tote as warehouses use them."""
    return Tote(
        length_m=rng.uniform(0.42, 0.62),
        width_m=rng.uniform(0.30, 0.42),
        height_m=rng.uniform(0.14, 0.32),
        slope=rng.uniform(0.0, 0.16),
        corner_m=rng.uniform(0.015, 0.06),
        ribs=int(rng.choice((0, 0, 3, 5, 8, 12))),
        rib_m=rng.uniform(0.003, 0.012) * rng.choice((-1, 1)),
        step=rng.uniform(0.3, 0.9) if rng.random() < 0.5 else 1.0,
    )


def _ring(half: Float64Array, corner: float) -> Float64Array:
    """Points (N, 2) clockwise around a rounded rectangle, the first one repeated."""
    corner = min(corner, 0.95 * float(half.min()))
    inner = half - corner
    points = []
    for quarter in range(4):
        turn = -quarter * np.pi / 2 + np.linspace(0, -np.pi / 2, _CORNER_POINTS)
        middle = inner * np.sign((np.cos(turn[2]), np.sin(turn[2])))
        points.append(middle + corner * np.stack([np.cos(turn), np.sin(turn)], -1))
    corners = [points[k] for k in range(4)]
    path = []
    for k, arc in enumerate(corners):
        path.append(arc)
        following = corners[(k + 1) % 4][0]
        share = np.linspace(0, 1, _SIDE_POINTS + 2)[1:-1, None]
        path.append(arc[-1] + share * (following - arc[-1]))
    return np.concatenate([*path, corners[0][:1]])


def _ribbed(ring: Float64Array, tote: Tote, strength: float) -> Float64Array:
    """Push the straight parts of a ring inwards where a rib is."""
    if tote.ribs == 0 or strength == 0.0:
        return ring
    side = (0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi * tote.ribs, _SIDE_POINTS))) ** 3
    pattern = np.concatenate([np.zeros(_CORNER_POINTS), side] * 4 + [np.zeros(1)])
    inward = -ring / np.maximum(np.abs(ring).max(axis=0), 1e-9)
    axis = np.abs(inward).argmax(axis=1)
    push = np.zeros_like(ring)
    rows = np.arange(len(ring))
    push[rows, axis] = np.sign(inward[rows, axis])
    return np.asarray(ring + push * (pattern * strength * tote.rib_m)[:, None], np.float64)


def _rings(tote: Tote) -> list[tuple[float, Float64Array]]:
    half = np.array((tote.length_m, tote.width_m)) / 2
    wall, rim, fillet = 0.004, 0.018, 0.012
    rings: list[tuple[float, Float64Array]] = []
    for share in (1e-3, 0.3, 0.6, 0.85):
        rings.append((0.0, _ring(half * share, tote.corner_m * share)))
    for angle in np.linspace(0, np.pi / 2, 4):
        grown = half - fillet * (1 - np.sin(angle))
        rings.append((fillet * (1 - np.cos(angle)), _ring(grown, tote.corner_m)))
    for share in np.linspace(0.1, 1.0, 10):
        height = fillet + (tote.height_m - fillet) * share
        out = half + tote.slope * height + (0.01 if share > tote.step else 0.0)
        ribs = 1.0 if 0.1 < share < 0.95 else 0.0
        rings.append((height, _ribbed(_ring(out, tote.corner_m + 0.01), tote, ribs)))
    top = half + tote.slope * tote.height_m + (0.01 if tote.step < 1.0 else 0.0)
    for grow, height in ((0.004, 0.003), (rim, 0.003), (rim + 0.002, 0.0), (rim, -0.02)):
        rings.append((tote.height_m + height, _ring(top + grow, tote.corner_m + 0.02)))
    rings.append((tote.height_m - 0.022, _ring(top + wall, tote.corner_m + 0.01)))
    rings.append((-wall, _ring(half + wall, tote.corner_m)))
    rings.append((-wall, _ring(half * 1e-3, tote.corner_m * 1e-3)))
    return rings


def tote_mesh(tote: Tote) -> Mesh:
    """The walls, floor and rim as one surface."""
    rings = _rings(tote)
    columns = len(rings[0][1])
    points = np.stack([np.c_[ring, np.full(columns, height)] for height, ring in rings])
    around = np.linspace(0, 1, columns)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=2).max(axis=1)
    along = np.r_[0.0, np.cumsum(steps)] / steps.sum()
    uv = np.stack(np.meshgrid(around, along), -1)
    i, j = np.meshgrid(np.arange(len(rings) - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).reshape(-1)
    b, c, d = a + 1, a + columns + 1, a + columns
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return make_mesh(points.reshape(-1, 3), faces, uv.reshape(-1, 2))


def worn_plastic(rng: np.random.Generator, colour: Float64Array) -> UInt8Array:
    """Coloured plastic with dirt, scratches, handle holes and labels, (512, 512, 3) uint8.

    Columns go around the tote; rows from the middle of the floor over the walls
    to the outside.
    """
    size = 512
    coarse = rng.normal(size=(12, 12)).astype(np.float32)
    dirt = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    shade = 1 + dirt * rng.uniform(0.005, 0.05) + rng.normal(0, 0.01, (size, size))
    image = np.clip(colour * 255 * shade[..., None], 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 80))):
        start = rng.integers(0, size, 2)
        end = start + rng.integers(-40, 41, 2)
        paint = tuple(int(v) for v in np.clip(colour * 255 + rng.normal(0, 25), 0, 255))
        cv2.line(image, start.tolist(), end.tolist(), paint, 1, cv2.LINE_AA)
    if rng.random() < 0.4:
        _holes(image, rng)
    for _ in range(int(rng.choice((0, 0, 1, 2, 4)))):
        _label(image, rng)
    return image


def _holes(image: UInt8Array, rng: np.random.Generator) -> None:
    """Handle openings in two opposite walls, or slots all around."""
    size = image.shape[0]
    row = int(size * rng.uniform(0.48, 0.56))
    count = int(rng.choice((2, 2, 16, 32)))
    half = (int(size * (0.05 if count == 2 else rng.uniform(0.006, 0.012))), int(size * 0.016))
    for number in range(count):
        middle = (int(size * (number + 0.5) / count), row)
        cv2.ellipse(image, middle, half, 0, 0, 360, (12, 12, 14), -1, cv2.LINE_AA)


def _label(image: UInt8Array, rng: np.random.Generator) -> None:
    """A paper label with a barcode on a wall or the floor."""
    size = image.shape[0]
    x, y = int(rng.integers(0, size - 60)), int(rng.integers(int(0.15 * size), int(0.6 * size)))
    wide, high = int(rng.integers(14, 44)), int(rng.integers(8, 30))
    patch = image[y : y + high, x : x + wide]
    patch[:] = rng.choice((250, 235, 200))
    bars = np.repeat(rng.random(wide) < 0.5, 1)
    patch[high // 4 : max(3 * high // 4, 1), bars] = 25


_COLOURS = (
    (0.72, 0.05, 0.05), (0.75, 0.12, 0.06), (0.10, 0.22, 0.55), (0.05, 0.12, 0.35),
    (0.45, 0.47, 0.50), (0.62, 0.63, 0.64), (0.06, 0.06, 0.07), (0.16, 0.16, 0.18),
    (0.85, 0.72, 0.10), (0.10, 0.42, 0.22), (0.85, 0.86, 0.86), (0.78, 0.62, 0.45),
    (0.90, 0.40, 0.08), (0.25, 0.45, 0.70),
)  # fmt: skip
_COLOUR_ODDS = np.array((10, 6, 10, 8, 12, 8, 10, 8, 6, 5, 5, 4, 3, 5)) / 100.0


def tote_colour(rng: np.random.Generator) -> Float64Array:
    """RGB in [0, 1] of a tote: red, blue, grey, black, yellow, green, white, brown, orange."""
    base = np.array(_COLOURS[int(rng.choice(len(_COLOURS), p=_COLOUR_ODDS))])
    return np.clip(base * rng.uniform(0.75, 1.25) + rng.normal(0, 0.03, 3), 0.02, 1.0)
