# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of tote images: pasted into, cut, scaled, mirrored and re-lit, masks along with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from robollm_core.data.copy_paste import FEWEST, cut_out, paste
from robollm_core.data.tote_cache import ToteCache
from robollm_core.errors import ConfigError
from robollm_core.images import GREY
from robollm_core.types import Float32Array, UInt8Array

SCALES = (0.75, 1.25)
MIN_PIXELS = 24
WIDEST, MAX_COPIES = 10.0, 32
"""Limits of a recipe, far beyond what helps."""


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


@dataclass(frozen=True)
class Views:
    """How views of a tote are made.

    Attributes:
        scale_min, scale_max: large-scale jitter: size of the photo against the
            view it would fill, drawn evenly from this range; both 0 for the narrow
            range `SCALES` of the cached size.
        copy_paste: chance that copies of an instance of another picture are
            pasted into a picture.
        copy_paste_most: copies at most.
    """

    scale_min: float = 0.0
    scale_max: float = 0.0
    copy_paste: float = 0.0
    copy_paste_most: int = 4

    def __post_init__(self) -> None:
        """Refuse what no view can be made of.

        Raises:
            ConfigError: If a value is out of range.
        """
        low, high = self.scale_min, self.scale_max
        if not (low == high == 0.0 or 0.0 < low <= high <= WIDEST):
            raise ConfigError(
                f"scale_min and scale_max must both be 0 (no large-scale jitter) or "
                f"0 < scale_min <= scale_max <= {WIDEST:g}, got {low:g} and {high:g}. "
                "ViTDet's are 0.1 and 2.0."
            )
        if not 0.0 <= self.copy_paste <= 1.0:
            raise ConfigError(f"copy_paste is a chance, in [0, 1], got {self.copy_paste:g}.")
        if not FEWEST <= self.copy_paste_most <= MAX_COPIES:
            raise ConfigError(
                f"copy_paste_most must be in {FEWEST}..{MAX_COPIES}, got {self.copy_paste_most}. "
                "To paste nothing, set copy_paste=0."
            )


def draw_batch(
    cache: ToteCache,
    count: int,
    size_hw: tuple[int, int],
    seed: Sequence[int],
    views: Views = Views(),
    own: slice = slice(None),
) -> list[ToteSample]:
    """Draw a batch that is a function of the seed alone.

    Args:
        cache: where from.
        count: samples of the batch.
        size_hw: (height, width) of the views.
        seed: (seed of the run, number of the step).
        views: how they are made.
        own: which samples of the batch are wanted; the others cost nothing.

    Returns:
        These samples. Over len(cache) / count steps every image comes up once.
    """
    run, step = seed
    samples = []
    for number in range(step * count, (step + 1) * count)[own]:
        epoch, position = divmod(number, len(cache))
        index = int(np.random.default_rng((run, epoch)).permutation(len(cache))[position])
        # a generator of its own, so that views are the same with and without pasting
        pasting = np.random.default_rng((run, step, number, 1))
        image, labels = cache.images[index], cache.labels[index]
        if pasting.random() < views.copy_paste:
            image, labels = _with_copies(cache, index, pasting, views.copy_paste_most)
        rng = np.random.default_rng((run, step, number))
        if views.scale_max:
            high, wide = cache.inner_hw[index]
            scales = (views.scale_min, views.scale_max)
            samples.append(jitter(image[:high, :wide], labels[:high, :wide], size_hw, scales, rng))
        else:
            samples.append(augment(image, labels, size_hw, rng))
    return samples


def _with_copies(
    cache: ToteCache, index: int, rng: np.random.Generator, most: int
) -> tuple[UInt8Array, UInt8Array]:
    """The letterboxed picture with copies pasted inside its photo."""
    image, labels = np.array(cache.images[index]), np.array(cache.labels[index])
    cutout = cut_out(*cache.photo(int(rng.integers(len(cache)))), rng)
    if cutout is not None:
        inner = tuple(slice(side) for side in cache.inner_hw[index])
        image[inner], labels[inner] = paste(image[inner], labels[inner], cutout, rng, most)
    return image, labels


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


def jitter(
    image: UInt8Array,
    labels: UInt8Array,
    size_hw: tuple[int, int],
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> ToteSample:
    """Large-scale jitter: a photo far smaller or larger than the view, placed at random.

    Args:
        image: (h, w, 3) uint8 RGB without padding.
        labels: (h, w) uint8 label map.
        size_hw: (height, width) of the view.
        scales: lowest and highest size of the photo, 1 where it just fits the view.
        rng: source of chance.

    Returns:
        The view, mirrored and re-lit at random. What the photo does not reach
        is `GREY`, which the network sees in every letterbox.

    Source:
        Ghiasi et al., "Simple Copy-Paste", 2021, section 3; the range 0.1 to 2.0
        and one fixed size of the view as in ViTDet (Li et al., 2022).
    """
    high, wide = image.shape[:2]
    scale = min(size_hw[0] / high, size_hw[1] / wide) * float(rng.uniform(*scales))
    matrix = _placement((high, wide), size_hw, scale, rng)
    size = size_hw[::-1]
    lit = relight(_warped(image, matrix, size, scale), rng)
    photo = cv2.warpAffine(np.ones((high, wide), np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    lit[photo == 0] = GREY
    map_ = cv2.warpAffine(np.asarray(labels), matrix, size, flags=cv2.INTER_NEAREST)
    return plain_sample(lit, np.asarray(map_, np.uint8))


def _warped(
    image: UInt8Array, matrix: npt.NDArray[np.float64], size: tuple[int, int], scale: float
) -> UInt8Array:
    """The image mapped into a view; averaged first where it shrinks, for that does not alias."""
    source = np.asarray(image)
    if scale < 1.0:
        high, wide = source.shape[:2]
        small = (max(1, round(wide * scale)), max(1, round(high * scale)))
        source = np.asarray(cv2.resize(source, small, interpolation=cv2.INTER_AREA), np.uint8)
        # from the pixels of the small image back to those that `matrix` is about
        x, y = wide / small[0], high / small[1]
        back = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])
        matrix = matrix @ back
    view = cv2.warpAffine(
        source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(view, np.uint8)


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
