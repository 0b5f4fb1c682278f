# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests of ARMBench's picks, with reference images that a running cell can read."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.data.armbench_identification import REFERENCES, Pick, reference_files
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import DatasetError, ImageError
from robollm_core.images import read_image
from robollm_core.manifests import manifest_json, parse_manifest
from robollm_core.types import Manifest, ManifestItem


@dataclass(frozen=True, slots=True)
class PickManifest:
    """The manifest of one pick.

    Attributes:
        container_id: start of the sha256 of container.json; ARMBench names no container.
        text: JSON of the form robollm.container_manifest/1.
        unreferenced: items of the container that are not on it, as they have no
            reference image: nothing could match it.
            Item id to what is known of it.
    """

    container_id: str
    text: str
    unreferenced: Mapping[str, Any]


class PickManifests:
    """Makes the manifests of a data set; looks at each item's references once."""

    def __init__(self, root: Path, broken: BrokenFiles) -> None:
        """Name the data set.

        Args:
            root: folder with Reference_Images, where paths in the manifests start.
            broken: takes reference images that cannot be read.
        """
        self._root, self._broken = root, broken
        self._references: dict[str, tuple[str, ...]] = {}

    def of(self, folder: Path, pick: Pick) -> PickManifest:
        """The manifest of a pick.

        Args:
            folder: of the pick, with container.json.
            pick: says which items are on it.

        Raises:
            DatasetError: If container.json cannot be read.
            ManifestError: If no valid manifest comes of it.
        """
        data = _read(folder / "container.json")
        known = _described(data)
        digest = hashlib.sha256(data).hexdigest()
        items, unreferenced = [], {}
        for name in pick.manifest:
            product = known.get(name, {})
            paths = self.references(name)
            if paths:
                items.append(_item(name, product, paths))
            else:
                unreferenced[name] = _plain(product)
        text = manifest_json(Manifest(digest[:12], 0, tuple(items), digest))
        parse_manifest(text, str(folder / "container.json"))
        return PickManifest(digest[:12], text, unreferenced)

    def references(self, item_id: str) -> tuple[str, ...]:
        """Reference images of an item that can be read, relative to the root."""
        paths = self._references.get(item_id)
        if paths is None:
            files = reference_files(self._root / REFERENCES / item_id)
            whole = [path for path in files if self._is_whole(path)]
            paths = tuple(f"{REFERENCES}/{item_id}/{path.name}" for path in whole)
            self._references[item_id] = paths
        return paths

    def _is_whole(self, path: Path) -> bool:
        try:
            read_image(path)
        except ImageError as error:
            self._broken.add(path, error)
            return False
        return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error}.") from error


def _described(data: bytes) -> dict[str, Mapping[str, Any]]:
    """Item id to what container.json says of it; the reader has checked its form."""
    tree = json.loads(data)
    products = tree.get("products", tree.get("items", tree))
    if isinstance(products, list):
        named = [each for each in products if isinstance(each, dict)]
        products = {each.get("product_id", each.get("item_id")): each for each in named}
    return {str(name): each for name, each in products.items() if isinstance(each, dict)}


def _plain(product: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a product, under the names of container.json."""
    sides = product.get("dimensions", product.get("dims_m"))
    dimensions = [_number(side) for side in sides] if isinstance(sides, list) else []
    return {
        "text": str(product.get("text", "")),
        "weight": _number(product.get("weight", product.get("weight_kg"))),
        "dimensions": dimensions if len(dimensions) == 3 else [0.0, 0.0, 0.0],
        "quantity": int(_number(product.get("quantity", 1))),
    }


def _number(value: Any) -> float:
    """A number, 0 for what is none: it is not needed to find an item."""
    fit = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if fit else 0.0


def _item(name: str, product: Mapping[str, Any], paths: tuple[str, ...]) -> ManifestItem:
    plain = _plain(product)
    length, width, height = plain["dimensions"]
    return ManifestItem(
        item_id=name,
        # an item that is listed may be picked
        quantity=max(1, plain["quantity"]),
        text=plain["text"],
        weight_kg=plain["weight"],
        dims_m=(length, width, height),
        reference_images=paths,
    )
