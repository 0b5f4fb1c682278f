# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes, masks and the letterbox.

Boxes are half-open pixel edges (x0, y0, x1, y1); the centre of the pixel in
column x and row y lies at (x + 0.5, y + 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError
from robollm_core.threads import for_each
from robollm_core.types import BoolArray, Float32Array, Instance, UInt8Array

MAX_LABELS = 254
"""Instances a label image can hold; 0 is the background, 255 stays free for void."""

Box = tuple[int, int, int, int]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Fit an image into a fixed size: one scale, placed top left, the rest padded.

    Attributes:
        source_hw: (height, width) of the image.
        target_hw: (height, width) of the network input.
    """

    source_hw: tuple[int, int]
    target_hw: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse empty sizes.

        Raises:
            ShapeError: If a size is below 1.
        """
        if min(*self.source_hw, *self.target_hw) < 1:
            raise ShapeError(
                f"Letterbox sizes must be at least 1, got source {self.source_hw} "
                f"and target {self.target_hw}."
            )

    @property
    def scale(self) -> float:
        """Target pixels a source pixel."""
        (height, width), (high, wide) = self.source_hw, self.target_hw
        return min(high / height, wide / width)

    @property
    def inner_hw(self) -> tuple[int, int]:
        """(height, width) of the scaled image inside the target, at least (1, 1)."""
        (height, width), (high, wide) = self.source_hw, self.target_hw
        return (
            min(high, max(1, int(height * self.scale + 0.5))),
            min(wide, max(1, int(width * self.scale + 0.5))),
        )

    def to_target(self, boxes: FloatArray) -> Float32Array:
        """Map (..., 4) xyxy boxes from source to target pixels, unclipped."""
        return (np.asarray(boxes, dtype=np.float64) * self._factors()).astype(np.float32)

    def to_source(self, boxes: FloatArray) -> Float32Array:
        """Map (..., 4) xyxy boxes from target to source pixels, unclipped."""
        return (np.asarray(boxes, dtype=np.float64) / self._factors()).astype(np.float32)

    def _factors(self) -> npt.NDArray[np.float64]:
        # the rounded inner size is what the pixels went through, so boxes follow it
        y, x = (inner / source for inner, source in zip(self.inner_hw, self.source_hw, strict=True))
        return np.array([x, y, x, y])


def box_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair.

    Args:
        a: (N, 4) xyxy.
        b: (M, 4) xyxy.

    Returns:
        (N, M) float64 in [0, 1]; 0 where both boxes are empty.
    """
    first = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    overlap = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    union = _area(first) + _area(second) - overlap
    iou: npt.NDArray[np.float64] = np.zeros_like(overlap)
    np.divide(overlap, union, out=iou, where=union > 0)
    return iou


def _area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None)
    return sides[..., 0] * sides[..., 1]


def mask_extent(mask: npt.NDArray[np.generic]) -> Box | None:
    """The tightest box around the non-zero pixels of an (H, W) mask, None when there are none."""
    bits = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    x, y, wide, high = cv2.boundingRect(bits)
    return None if wide == 0 else (x, y, x + wide, y + high)


Pasted = tuple[Box, BoolArray]


def paste_mask(
    prob: Float32Array, box_xyxy: FloatArray, image_hw: tuple[int, int], threshold: float
) -> Pasted | None:
    """Bring a mask predicted in its box back to image pixels; see `paste_masks`."""
    boxes = np.asarray(box_xyxy, np.float64)[None]
    return paste_masks(np.asarray(prob)[None], boxes, image_hw, threshold)[0]


def paste_masks(
    probs: Float32Array, boxes_xyxy: FloatArray, image_hw: tuple[int, int], threshold: float
) -> list[Pasted | None]:
    """Bring masks predicted in their boxes back to image pixels.

    Args:
        probs: (N, h, w) float32 probability; cells tile a box evenly.
        boxes_xyxy: (N, 4) float edges in image pixels; may reach outside the image.
        image_hw: (height, width) of the image.
        threshold: a pixel is in the mask from this probability.

    Returns:
        For each (box, mask): the integer extent of the thresholded mask inside the
        image and the (y1 - y0, x1 - x0) bool mask in it; None when no pixel
        reaches the threshold. Pixels outside the box are never in the mask.

    Source:
        Mask R-CNN (He et al. 2017), section 3.1: the m x m output is resized
        to the box and binarised; bilinear, cells at half-integer positions,
        zero outside.
    """
    boxes: npt.NDArray[np.float64] = np.array(boxes_xyxy, np.float64).reshape(-1, 4)
    grows = boxes[:, 2:] > boxes[:, :2]
    sound = np.isfinite(boxes).all(axis=1) & grows.all(axis=1)
    # what is no box becomes one outside of the image
    boxes[~sound] = (-2.0, -2.0, -1.0, -1.0)
    columns = _sampling(boxes[:, 0], boxes[:, 2], image_hw[1], probs.shape[2])
    rows = _sampling(boxes[:, 1], boxes[:, 3], image_hw[0], probs.shape[1])
    cells: Float32Array = np.ascontiguousarray(probs, np.float32)
    level = np.float32(threshold)
    return for_each(lambda i: _paste(cells[i], rows[i], columns[i], level), len(boxes))


@dataclass(frozen=True, slots=True)
class _Sampling:
    """Bilinear sampling along one axis of a box, at the pixels whose centres lie in it.

    Attributes:
        first: the first such pixel.
        before: (pixels,) int64, the cell whose centre is the last before the pixel's; -1
            for none.
        weights: (2, pixels) float32, of that cell and the next.
    """

    first: int
    before: npt.NDArray[np.int64]
    weights: Float32Array


def _sampling(low: FloatArray, high: FloatArray, size: int, cells: int) -> list[_Sampling]:
    """One an interval; all at once, since a call of NumPy costs more than one of them."""
    first = np.clip(np.floor(low), 0, size)
    last = np.clip(np.ceil(high), first, size)
    # a pixel at the rim belongs to the box when its centre does
    first += first + 0.5 < low
    last -= last - 0.5 > high
    counts = np.maximum(last - first, 0).astype(np.intp)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    pixel = np.arange(total) + np.repeat(first - (ends - counts), counts)
    position = (pixel + 0.5 - np.repeat(low, counts)) / np.repeat(high - low, counts) * cells - 0.5
    floor = np.floor(position)
    before = np.clip(floor, -1, cells - 1).astype(np.int64)
    weights = np.stack([1.0 - (position - floor), 1.0 - (floor + 1.0 - position)])
    single = weights.astype(np.float32)
    spans = [slice(end - count, end) for end, count in zip(ends.tolist(), counts, strict=True)]
    return [
        _Sampling(int(start), before[span], np.ascontiguousarray(single[:, span]))
        for start, span in zip(first.tolist(), spans, strict=True)
    ]


def _paste(
    cells: Float32Array, rows: _Sampling, columns: _Sampling, level: np.float32
) -> Pasted | None:
    # here, so that what needs no masks starts without Numba
    from robollm_core.kernels import paste

    x, y, mask = paste(cells, columns.before, columns.weights, rows.before, rows.weights, level)
    high, wide = mask.shape
    if not high:
        return None
    left, top = columns.first + x, rows.first + y
    return (left, top, left + wide, top + high), mask.view(np.bool_)


def halvings(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> int:
    """How often a (height, width) can be halved before it is smaller than the wanted one."""
    return max(min(a // b for a, b in zip(from_hw, to_hw, strict=True)).bit_length() - 1, 0)


def halved(image: UInt8Array, times: int) -> UInt8Array:
    """Means of 2 x 2 pixels, again and again while the sides are even.

    A tenth of the work of averaging over areas of any size, which then has at most a
    factor of two left: what the networks have seen in training.
    """
    for _ in range(times):
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            break
        image = cv2.resize(  # type: ignore[assignment]
            image, (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
    return image


def label_image(instances: Sequence[Instance], image_hw: tuple[int, int]) -> UInt8Array:
    """Paint instances into one image; where they overlap the best score is on top.

    Args:
        instances: at most `MAX_LABELS`, in any order.
        image_hw: (height, width) of the image their boxes lie in.

    Returns:
        (H, W) uint8: 0 is background, i + 1 is instances[i].

    Raises:
        ShapeError: If there are more instances than labels.
    """
    if len(instances) > MAX_LABELS:
        raise ShapeError(
            f"a label image holds at most {MAX_LABELS} instances, got {len(instances)}. "
            "Lower segmentation.max_instances."
        )
    labels = np.zeros(image_hw, dtype=np.uint8)
    # among equal scores the earlier one is painted later and ends on top
    ascending = sorted(range(len(instances)), key=lambda i: (instances[i].score, -i))
    for index in ascending:
        x0, y0, x1, y1 = instances[index].box_xyxy_px
        labels[y0:y1, x0:x1][instances[index].mask_in_box] = index + 1
    return labels
