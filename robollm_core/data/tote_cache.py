# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Tote images decoded once, at the size of the network, in memory-mapped files."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.data.arrays import new_array
from robollm_core.data.tote import ToteImage
from robollm_core.errors import DatasetError, OutputError
from robollm_core.geometry import MAX_LABELS, Letterbox
from robollm_core.images import letterbox
from robollm_core.types import UInt8Array

FORMAT = 1


@dataclass(frozen=True)
class ToteCache:
    """Images and label maps of one split.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, letterboxed.
        labels: (N, H, W) uint8; 0 background, i + 1 the i-th instance of its
            image. Where instances overlap the smaller one is on top.
        inner_hw: (N, 2) int64, height and width of the photo inside the
            letterbox, pixels; the rest is padding.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    inner_hw: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def photo(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """One (h, w, 3) image and its (h, w) label map without the padding."""
        height, width = self.inner_hw[index]
        return self.images[index, :height, :width], self.labels[index, :height, :width]


def open_cache(
    totes: Sequence[ToteImage], input_hw: tuple[int, int], folder: Path, name: str
) -> ToteCache:
    """Open the cache of these images, building it when there is none.

    Args:
        totes: what to hold, at least one.
        input_hw: (height, width) to letterbox to.
        folder: where caches lie.
        name: shown while building.

    Returns:
        Read-only arrays, in the order of `totes`.

    Raises:
        DatasetError: If there are no images, one is broken, or one holds too
            many instances.
        OutputError: If the cache cannot be written; nothing half-built stays.
    """
    if not totes:
        raise DatasetError(f"the {name} split has no images.")
    final = folder / f"{name}-{_fingerprint(totes, input_hw)}"
    if not final.is_dir():
        part = folder / f".{final.name}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _build(totes, input_hw, part, name)
            part.replace(final)
        except OSError as error:
            raise OutputError(f"cannot write the cache {final}: {error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    inner = [Letterbox((tote.height, tote.width), input_hw).inner_hw for tote in totes]
    images, labels = (
        np.load(final / f"{name}.npy", mmap_mode="r") for name in ("images", "labels")
    )
    return ToteCache(images, labels, np.array(inner, np.int64))


def _fingerprint(totes: Sequence[ToteImage], input_hw: tuple[int, int]) -> str:
    """Name of the content: sizes, masks, and each file's path, length and time."""
    digest = hashlib.sha256(json.dumps([FORMAT, *input_hw]).encode())
    for tote in totes:
        try:
            stat = tote.path.stat()
        except OSError as error:
            raise DatasetError(f"cannot read {tote.path}: {error}") from error
        digest.update(f"{tote.path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        for truth in tote.truths:
            digest.update(truth.counts)
    return digest.hexdigest()[:16]


def _build(totes: Sequence[ToteImage], input_hw: tuple[int, int], part: Path, name: str) -> None:
    shape = (len(totes), *input_hw)
    images = new_array(part / "images.npy", (*shape, 3))
    labels = new_array(part / "labels.npy", shape)
    for index, tote in enumerate(tqdm(totes, desc=f"cache {name}", unit="image")):
        box = Letterbox((tote.height, tote.width), input_hw)
        images[index] = letterbox(tote.read(), box)
        labels[index] = label_map(tote, box)
    images.flush()
    labels.flush()


def label_map(tote: ToteImage, box: Letterbox) -> UInt8Array:
    """Paint an image's instances, the smaller over the larger, into a letterbox.

    Returns:
        (H, W) uint8 of `box.target_hw`; i + 1 is truth i, 0 where there is
        none and in the padding.

    Raises:
        DatasetError: If there are more instances than a byte can number.
    """
    if len(tote.truths) > MAX_LABELS:
        raise DatasetError(f"{tote.path} has {len(tote.truths)} instances, at most {MAX_LABELS}.")
    painted = np.zeros((tote.height, tote.width), np.uint8)
    masks = [truth.mask() for truth in tote.truths]
    for index in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        painted[masks[index]] = index + 1
    inner = box.inner_hw
    out: UInt8Array = np.zeros(box.target_hw, np.uint8)
    out[: inner[0], : inner[1]] = cv2.resize(
        painted, inner[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    return out
