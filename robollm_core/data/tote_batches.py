# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of tote images: cut, scaled, mirrored and re-lit, masks along with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robollm_core.data.tote_cache import ToteCache
from robollm_core.types import Float32Array, UInt8Array

SCALES = (0.75, 1.25)
MIN_PIXELS = 24


@dataclass(frozen=True, eq=False)
class ToteSample:
    """One training view.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 label map; numbers not in `numbers` are 0.
        numbers: (I,) uint8 instance numbers, ascending.
        boxes: (I, 4) float32 xyxy pixels of the visible extent.
    """

    image: UInt8Array
    labels: UInt8Array
    numbers: UInt8Array
    boxes: Float32Array


def draw_batch(
    cache: ToteCache, count: int, size_hw: tuple[int, int], seed: Sequence[int]
) -> list[ToteSample]:
    """Draw a batch that is a function of the seed alone.

    Args:
        cache: where from.
        count: samples wanted.
        size_hw: (height, width) of the views.
        seed: (seed of the run, number of the step).

    Returns:
        `count` samples. Over len(cache) / count steps every image comes up once.
    """
    run, step = seed
    samples = []
    for number in range(step * count, (step + 1) * count):
        epoch, position = divmod(number, len(cache))
        index = np.random.default_rng((run, epoch)).permutation(len(cache))[position]
        rng = np.random.default_rng((run, step, number))
        samples.append(augment(cache.images[index], cache.labels[index], size_hw, rng))
    return samples


def plain_sample(image: UInt8Array, labels: UInt8Array) -> ToteSample:
    """The image as it is, its instances listed."""
    numbers, boxes = extents(labels)
    kept = np.where(np.isin(labels, numbers), labels, 0).astype(np.uint8)
    return ToteSample(np.asarray(image), kept, numbers, boxes)


def augment(
    image: UInt8Array, labels: UInt8Array, size_hw: tuple[int, int], rng: np.random.Generator
) -> ToteSample:
    """Cut a view out at a random scale and place, mirror it, change its light.

    A tote seen from above has no up and no left, so both mirrors are real views.
    """
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    matrix = _placement(image.shape[:2], size_hw, scale, rng)
    wide_high = size_hw[::-1]
    view = cv2.warpAffine(np.asarray(image), matrix, wide_high, flags=cv2.INTER_LINEAR)
    map_ = cv2.warpAffine(np.asarray(labels), matrix, wide_high, flags=cv2.INTER_NEAREST)
    return plain_sample(relight(np.asarray(view, np.uint8), rng), np.asarray(map_, np.uint8))


def _placement(
    source_hw: tuple[int, ...], size_hw: tuple[int, int], scale: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The 2x3 map from source to view: scale, random mirrors, random shift without a gap."""
    matrix = np.zeros((2, 3))
    for axis, (source, size) in enumerate(
        zip(reversed(source_hw[:2]), reversed(size_hw), strict=True)
    ):
        length = source * scale
        # a source smaller than the view is moved within it, a larger one is cut
        start = rng.uniform(min(0.0, size - length), max(0.0, size - length))
        mirrored = rng.random() < 0.5
        matrix[axis, axis] = -scale if mirrored else scale
        matrix[axis, 2] = start + (length if mirrored else 0.0) + 0.5 * matrix[axis, axis] - 0.5
    return matrix


def relight(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Random gamma, contrast, brightness and colour cast, one table a channel."""
    ramp = np.linspace(0.0, 1.0, 256) ** np.exp(rng.uniform(-0.35, 0.35))
    contrast, brightness = rng.uniform(0.75, 1.3), rng.uniform(-0.1, 0.1)
    cast = rng.uniform(0.9, 1.1, size=3)
    table = ((ramp[:, None] - 0.5) * contrast + 0.5 + brightness) * cast * 255.0
    lit = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.2:
        grey = cv2.cvtColor(lit, cv2.COLOR_RGB2GRAY)[..., None]
        keep = rng.uniform(0.0, 0.7)
        lit = (lit * keep + grey * (1.0 - keep)).astype(np.uint8)
    return np.asarray(lit, np.uint8)


def extents(labels: UInt8Array) -> tuple[UInt8Array, Float32Array]:
    """Instances of a label map that show enough pixels.

    Returns:
        (I,) uint8 numbers ascending and (I, 4) float32 xyxy pixel edges; empty
        when there is none.
    """
    areas = np.bincount(labels.ravel(), minlength=256)
    found = ndimage.find_objects(labels)
    kept = [n for n in range(1, len(found) + 1) if areas[n] >= MIN_PIXELS]
    boxes = [
        (found[n - 1][1].start, found[n - 1][0].start, found[n - 1][1].stop, found[n - 1][0].stop)
        for n in kept
    ]
    return np.array(kept, np.uint8), np.array(boxes, np.float32).reshape(-1, 4)
