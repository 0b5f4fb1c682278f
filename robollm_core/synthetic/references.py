# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Catalogue entries: six photos of a product on a plain background, and its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from robollm_core.synthetic.products import Product, catalogue_seeds, make_product
from robollm_core.synthetic.scans import Scan, load_scan, scan_files
from robollm_core.synthetic.staging import box_of, jpeg_bytes
from robollm_core.synthetic.studio import Studio
from robollm_core.synthetic.views import CATALOGUE_GRID, catalogue_shot
from robollm_core.types import BoolArray, UInt8Array

REFERENCE_PX = 224
_CELL_PX = 240
_MARGIN = 0.06
_BACKGROUNDS = (255, 255, 240, 128, 8)
_BACKGROUND_ODDS = (0.4, 0.15, 0.15, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class Card:
    """What a warehouse knows of a product besides its photos."""

    item_id: str
    text: str
    weight_kg: float
    dims_m: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """A product in the catalogue: its card and its photos, JPEG, front first."""

    card: Card
    photos: tuple[bytes, ...]


Source = int | Scan
"""Where a product comes from: its seed or its scan."""


def sources(split: str, seed: int, count: int, meshes: Path | None) -> tuple[Source, ...]:
    """What a catalogue is made of: `count` drawn products and the scans of the split.

    Args:
        split: "train", "val" or "test"; they share neither products nor scans.
        seed: Of the catalogue.
        count: Drawn products; look-alikes are neighbours.
        meshes: Folder of OBJ scans, None for none.

    Raises:
        ConfigError: If the split is unknown or a number out of range.
        DatasetError: If the folder holds no scan, or two of one name.
    """
    scans = [] if meshes is None else scan_files(meshes, split)
    return (*catalogue_seeds(split, seed, count), *scans)


def fetch(source: Source) -> Product:
    """Make or read a product."""
    return make_product(source) if isinstance(source, int) else load_scan(source)


def card(product: Product) -> Card:
    """The card of a product, sizes to the millimetre."""
    w, h, d = (round(edge, 3) for edge in product.dims_m)
    return Card(product.item_id, product.text, product.weight_kg, (w, h, d))


def _cut_out(image: UInt8Array, mask: BoolArray, background: int) -> UInt8Array:
    """Frame one view tightly on a square of the background."""
    x0, y0, x1, y1 = box_of(mask)
    side = round(max(x1 - x0, y1 - y0) * (1 + 2 * _MARGIN)) + 2
    canvas = np.full((side, side, 3), background, np.uint8)
    # the outermost pixels are mixed with the dark of the empty studio
    solid = cv2.erode(mask[y0:y1, x0:x1].astype(np.uint8), np.ones((3, 3), np.uint8))
    cover = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.7)[..., None]
    top, left = (side - (y1 - y0)) // 2, (side - (x1 - x0)) // 2
    window = canvas[top : top + y1 - y0, left : left + x1 - x0]
    window[:] = (image[y0:y1, x0:x1] * cover + window * (1 - cover) + 0.5).astype(np.uint8)
    way = cv2.INTER_AREA if side > REFERENCE_PX else cv2.INTER_CUBIC
    return cv2.resize(canvas, (REFERENCE_PX, REFERENCE_PX), interpolation=way).astype(np.uint8)


def photograph(products: Sequence[Product], seed: int) -> list[Entry]:
    """Make the catalogue entries of some products.

    Args:
        products: At least one.
        seed: Together with a product's own name it fixes its photos.

    Returns:
        One entry a product, each with six photos of `REFERENCE_PX` squared.
    """
    rows, columns = CATALOGUE_GRID
    entries = []
    with Studio(products, (rows * _CELL_PX, columns * _CELL_PX)) as studio:
        for number, product in enumerate(products):
            rng = np.random.default_rng([seed, *product.item_id.encode()])
            background = int(rng.choice(_BACKGROUNDS, p=_BACKGROUND_ODDS))
            seen = studio.shoot(catalogue_shot(number, product.mesh, rng))
            photos = tuple(
                jpeg_bytes(_cut_out(seen.image_rgb, seen.instances == view, background))
                for view in range(1, rows * columns + 1)
            )
            entries.append(Entry(card(product), photos))
    return entries
