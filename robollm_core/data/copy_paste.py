# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One instance cut out of a picture and pasted several times, side by side, into another.

Totes in which the same item lies twice are where masks run together, and most
pictures show none. Pasting makes them, with masks that are known.

Source:
    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for
    Instance Segmentation", 2021. Pasted here are copies of one instance
    instead of a random subset of instances, and edges are not blended, which
    that paper found to make no difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.geometry import MAX_LABELS, mask_extent
from robollm_core.types import BoolArray, UInt8Array

FEWEST = 2
"""Copies in a picture that gets any: one alone has no neighbour of the same item."""

VISIBLE_SHARE = 0.15
"""An instance of which less than this is left to see is no instance any more."""

WHOLE = 0.9
"""Share of its convex hull that a thing nothing lies on fills; most items are convex."""

MIN_PIXELS = 64
SIZES = (0.8, 1.25)
"""Size of the copies against the instance; the same for all, for they are one item."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cutout:
    """One instance, cut out along its box.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool, at least one pixel True.
    """

    image: UInt8Array
    mask: BoolArray


@dataclass(frozen=True, slots=True)
class _Row:
    """Where copies lie: a middle, the step from one to the next, and how they are turned."""

    count: int
    middle: tuple[float, float]
    step: tuple[float, float]
    turn: float
    size: float
    straight: bool


def cut_out(image: UInt8Array, labels: UInt8Array, rng: np.random.Generator) -> Cutout | None:
    """Cut a random instance out of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 label map.
        rng: source of chance.

    Returns:
        One that looks whole: of the larger half of the instances one that fills
        its convex hull, or the one that fills it best. None when there is no
        instance of `MIN_PIXELS`.
    """
    areas = np.bincount(labels.ravel(), minlength=256)
    seen = [number for number in range(1, 256) if areas[number] >= MIN_PIXELS]
    if not seen:
        return None
    # pieces that show of an item below others are small, or have bites taken out of them
    large = [number for number in seen if areas[number] >= np.median(areas[seen])]
    filled = [_filled(labels == number) for number in large]
    whole = [n for n, share in zip(large, filled, strict=True) if share >= WHOLE]
    number = int(rng.choice(whole)) if whole else large[int(np.argmax(filled))]
    extent = mask_extent(labels == number)
    assert extent is not None
    x0, y0, x1, y1 = extent
    flip = -1 if rng.random() < 0.5 else 1  # seen from above, a mirrored tote is a tote
    mask = (labels[y0:y1, x0:x1] == number)[:, ::flip]
    return Cutout(np.ascontiguousarray(image[y0:y1, x0:x1][:, ::flip]), np.ascontiguousarray(mask))


def _filled(mask: BoolArray) -> float:
    """Share of its convex hull that a mask fills."""
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    # outlines run through pixel centres, so the hull gets half a pixel on each side back
    hull = cv2.convexHull(np.concatenate(outlines))
    return float(mask.sum() / (cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2 + 1.0))


def paste(
    image: UInt8Array, labels: UInt8Array, cutout: Cutout, rng: np.random.Generator, most: int
) -> tuple[UInt8Array, UInt8Array]:
    """Paste copies of a cutout side by side into a picture.

    Args:
        image: (H, W, 3) uint8 RGB, all of it a picture: no padding.
        labels: (H, W) uint8 label map.
        cutout: what to paste.
        rng: source of chance.
        most: copies at most, at least `FEWEST`.

    Returns:
        New image and label map. Copies lie on top and have numbers that were
        free, at most `MAX_LABELS`; what they cover is taken from the instances
        below, and instances of which less than `VISIBLE_SHARE` is left, copies
        included, are background.
    """
    painted, numbers = image.copy(), labels.copy()
    areas = np.bincount(labels.ravel(), minlength=256).astype(np.float64)
    free = [number for number in range(1, MAX_LABELS + 1) if not areas[number]]
    row = _row(cutout, labels, int(rng.integers(FEWEST, most + 1)), rng)
    for number, matrix in zip(free, _placements(cutout, row, rng), strict=False):
        if _paint(painted, numbers, cutout, matrix, number):
            areas[number] = cutout.mask.sum() * abs(np.linalg.det(matrix[:, :2]))
    left = np.bincount(numbers.ravel(), minlength=256)
    hidden = np.flatnonzero(left < VISIBLE_SHARE * areas)
    numbers[np.isin(numbers, hidden[hidden > 0])] = 0
    return painted, numbers


def _row(cutout: Cutout, labels: UInt8Array, count: int, rng: np.random.Generator) -> _Row:
    """Choose where copies go: along one of the item's own sides, amid the other items."""
    _, sides, angle = _rectangle(cutout)
    along = int(rng.integers(2))
    turn = float(rng.uniform(0.0, 360.0))
    size = float(np.exp(rng.uniform(*np.log(SIZES))))
    length = sides[along] * size * float(rng.uniform(0.85, 1.1))
    heading = np.deg2rad(angle + 90.0 * along + turn)
    x0, y0, x1, y1 = mask_extent(labels) or (0, 0, labels.shape[1], labels.shape[0])
    middle = (float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)))
    step = (length * float(np.cos(heading)), length * float(np.sin(heading)))
    return _Row(count, middle, step, turn, size, bool(rng.random() < 0.7))


def _placements(cutout: Cutout, row: _Row, rng: np.random.Generator) -> Iterator[Matrix]:
    """The 2x3 maps of the copies from cutout to picture, pixel centres at whole numbers."""
    (x, y), sides, _ = _rectangle(cutout)
    for place in range(row.count):
        turn = row.turn + (rng.normal(0.0, 5.0) if row.straight else rng.uniform(0.0, 360.0))
        size = row.size * float(np.exp(rng.normal(0.0, 0.03)))
        # OpenCV turns against the clock for positive angles, image axes turn with it
        matrix = np.asarray(cv2.getRotationMatrix2D((x, y), -turn, size), np.float64)
        shift = rng.normal(0.0, 0.06, size=2) * min(sides) * size
        along = place - (row.count - 1) / 2
        for axis, centre in enumerate((x, y)):
            matrix[axis, 2] += row.middle[axis] + along * row.step[axis] + shift[axis] - centre
        yield matrix


def _rectangle(cutout: Cutout) -> tuple[tuple[float, float], tuple[float, float], float]:
    """The smallest turned rectangle around the mask: centre, two sides, degrees of the first."""
    points = np.argwhere(cutout.mask)[:, ::-1].astype(np.float32)
    (x, y), (width, height), angle = cv2.minAreaRect(points)
    return (x, y), (width + 1.0, height + 1.0), angle


def _paint(
    image: UInt8Array, labels: UInt8Array, cutout: Cutout, matrix: Matrix, number: int
) -> bool:
    """Paint one copy in place; False when no pixel of it falls into the picture."""
    height, width = cutout.mask.shape
    corners = np.array([[-1, -1, 1], [width, -1, 1], [-1, height, 1], [width, height, 1]])
    reach = corners @ matrix.T
    low = np.clip(np.floor(reach.min(0)), 0, labels.shape[::-1]).astype(int)
    high = np.clip(np.ceil(reach.max(0)) + 1, 0, labels.shape[::-1]).astype(int)
    if (high <= low).any():
        return False
    local = matrix.copy()
    local[:, 2] -= low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    seen = cv2.warpAffine(cutout.mask.astype(np.uint8), local, size, flags=cv2.INTER_NEAREST) > 0
    pixels = cv2.warpAffine(
        cutout.image, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    image[window][seen] = pixels[seen]
    labels[window][seen] = number
    return bool(seen.any())
