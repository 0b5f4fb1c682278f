# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes, masks and the letterbox; NumPy only.

Boxes are half-open pixel edges (x0, y0, x1, y1); the centre of the pixel in
column x and row y lies at (x + 0.5, y + 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError
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
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if columns.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def paste_mask(
    prob: Float32Array, box_xyxy: FloatArray, image_hw: tuple[int, int], threshold: float
) -> tuple[Box, BoolArray] | None:
    """Bring a mask predicted in its box back to image pixels.

    Args:
        prob: (h, w) float32 probability; cells tile the box evenly.
        box_xyxy: (4,) float edges in image pixels; may reach outside the image.
        image_hw: (height, width) of the image.
        threshold: a pixel is in the mask from this probability.

    Returns:
        (box, mask): the integer extent of the thresholded mask inside the
        image and the (y1 - y0, x1 - x0) bool mask in it; None when no pixel
        reaches the threshold. Pixels outside the box are never in the mask.

    Source:
        Mask R-CNN (He et al. 2017), section 3.1: the m x m output is resized
        to the box and binarised; bilinear, cells at half-integer positions,
        zero outside.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box_xyxy)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        return None
    left, column_weights = _weights(x0, x1, image_hw[1], prob.shape[1])
    top, row_weights = _weights(y0, y1, image_hw[0], prob.shape[0])
    mask = row_weights @ prob @ column_weights.T >= threshold
    extent = mask_extent(mask)
    if extent is None:
        return None
    a, b, c, d = extent
    inside: BoolArray = np.ascontiguousarray(mask[b:d, a:c])
    return (a + left, b + top, c + left, d + top), inside


def _weights(low: float, high: float, size: int, cells: int) -> tuple[int, Float32Array]:
    """First pixel of a box edge pair on one axis, and its (pixels, cells) bilinear weights."""
    first = int(np.clip(np.floor(low), 0, size))
    last = int(np.clip(np.ceil(high), 0, size))
    centres = np.arange(first, last) + 0.5
    position = (centres - low) / (high - low) * cells - 0.5
    weights = np.clip(1.0 - np.abs(position[:, None] - np.arange(cells)), 0.0, None)
    weights[(centres < low) | (centres > high)] = 0.0
    return first, weights.astype(np.float32)


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
