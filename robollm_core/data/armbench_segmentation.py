# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ARMBench segmentation on disk: COCO JSON a subset and split; distrusted.

One reader for the real data set, for the simulator's output, and for any
folder of photos with a COCO file beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from robollm_core.data.rle import check_runs, decode_runs
from robollm_core.errors import DatasetError, ImageError
from robollm_core.images import read_image
from robollm_core.types import BoolArray, UInt8Array

SUBSETS = ("mix-object-tote", "zoomed-out-tote-transfer-set", "same-object-transfer-set")
SPLITS = ("train", "val", "test")
CLASS_NAME = "object"
"""ARMBench's class of the things to pick; its other class is the tote itself."""

MAX_SIDE = 20_000
SLACK_PX = 2.0
"""How far a polygon may reach out of its image; tools for labelling round."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One annotated instance.

    Attributes:
        height, width: size of its image, pixels.
        counts: COCO compressed run lengths over the whole image, column by column.
        category: name of its class, lower case.
        item_id: product, "" when not said.
        crowd: the mask covers several instances nobody told apart.
    """

    height: int
    width: int
    counts: bytes
    category: str = CLASS_NAME
    item_id: str = ""
    crowd: bool = False

    @property
    def rle(self) -> dict[str, Any]:
        """The mask as pycocotools takes it."""
        return {"size": [self.height, self.width], "counts": self.counts}

    def mask(self) -> BoolArray:
        """(H, W) bool, True where the instance is visible."""
        return np.asarray(coco_mask.decode(self.rle), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ToteImage:
    """One photo and what is in it.

    Attributes:
        path: the image file.
        height, width: declared size, pixels.
        truths: instances of the object class, in the order of the file.
    """

    path: Path
    height: int
    width: int
    truths: tuple[Truth, ...]

    def read(self) -> UInt8Array:
        """The (H, W, 3) uint8 RGB pixels.

        Raises:
            DatasetError: If the file cannot be decoded, or has another size than
                declared.
        """
        try:
            pixels = read_image(self.path)
        except ImageError as error:
            raise DatasetError(
                f"{error} Copy {self.path.name} from its source again, or take the image and "
                "its annotations out of the COCO file."
            ) from error
        if pixels.shape[:2] != (self.height, self.width):
            raise DatasetError(
                f"{self.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, its annotations say "
                f"{self.width}x{self.height}. Use the image that was annotated."
            )
        return pixels


def read_split(root: Path, split: str, subset: str = SUBSETS[0]) -> tuple[ToteImage, ...]:
    """Read one split of one subset.

    Args:
        root: folder that holds the subsets.
        split: "train", "val" or "test".
        subset: one of `SUBSETS`.

    Returns:
        The images in the order of the file.

    Raises:
        DatasetError: If a folder or file is missing or not of the layout.
    """
    folder = root / subset
    file = folder / f"{split}.json"
    if not file.is_file():
        raise DatasetError(
            f"there is no {file}; expected ARMBench's layout ROOT/{subset}/"
            "{images/,train.json,val.json,test.json}. `robollm synth segmentation` makes one."
        )
    return read_coco(file, folder / "images")


def subsets(root: Path, split: str) -> tuple[str, ...]:
    """The subsets that have this split, in the order of `SUBSETS`."""
    return tuple(name for name in SUBSETS if (root / name / f"{split}.json").is_file())


def read_coco(file: Path, images: Path) -> tuple[ToteImage, ...]:
    """Read a COCO instance file.

    Args:
        file: the JSON.
        images: folder its file names start from.

    Returns:
        One entry an image, also for images without instances.

    Raises:
        DatasetError: If the file is not JSON, lacks a part, names an image
            twice or not at all, or holds a mask that does not fit.
    """
    tree = _load(file)
    names = _categories(tree, file)
    entries = _list(tree, "images", file)
    truths: dict[Any, list[Truth]] = {}
    sizes: dict[Any, tuple[int, int]] = {}
    for entry in entries:
        key = _get(entry, "id", int | str, file)
        if key in sizes:
            raise DatasetError(f"{file}: image id {key} occurs twice.")
        sizes[key] = (_side(entry, "height", file), _side(entry, "width", file))
        truths[key] = []
    for entry in _list(tree, "annotations", file):
        key = _get(entry, "image_id", int | str, file)
        if key not in sizes:
            raise DatasetError(f"{file}: an annotation names image {key}, which is not listed.")
        truth = _truth(entry, sizes[key], names, file)
        if truth is not None:
            truths[key].append(truth)
    return tuple(
        ToteImage(_path(entry, images, file), *sizes[entry["id"]], tuple(truths[entry["id"]]))
        for entry in entries
    )


def _load(file: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read the COCO file {file}: {error}") from error
    if not isinstance(tree, dict):
        raise DatasetError(f"{file}: expected a JSON mapping, got a {type(tree).__name__}.")
    return tree


def _list(tree: Mapping[str, Any], name: str, file: Path) -> list[Mapping[str, Any]]:
    value = tree.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DatasetError(f"{file}: {name!r} must be a list of mappings.")
    return value


def _get(entry: Mapping[str, Any], name: str, kind: Any, file: Path) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DatasetError(f"{file}: {name!r} is {value!r}, expected {kind}.")
    return value


def _side(entry: Mapping[str, Any], name: str, file: Path) -> int:
    value = int(_get(entry, name, int, file))
    if not 0 < value <= MAX_SIDE:
        raise DatasetError(f"{file}: image {name} must be 1..{MAX_SIDE}, got {value}.")
    return value


def _categories(tree: Mapping[str, Any], file: Path) -> dict[int, str]:
    entries = _list(tree, "categories", file)
    names = {_get(c, "id", int, file): _get(c, "name", str, file).lower() for c in entries}
    if CLASS_NAME not in names.values():
        raise DatasetError(f"{file}: no category {CLASS_NAME!r}, only {sorted(names.values())}.")
    return names


def _path(entry: Mapping[str, Any], images: Path, file: Path) -> Path:
    name = PurePosixPath(_get(entry, "file_name", str, file))
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise DatasetError(f"{file}: image name {str(name)!r} leaves its folder.")
    path = images / name
    if not path.is_file():
        raise DatasetError(f"{file} lists {name}, but there is no {path}.")
    return path


def _truth(
    entry: Mapping[str, Any], size: tuple[int, int], names: Mapping[int, str], file: Path
) -> Truth | None:
    """The instance, or None when it is of another class than the object class."""
    number = _get(entry, "category_id", int, file)
    label = entry.get("id", "?")
    if number not in names:
        known = ", ".join(f"{key} {name!r}" for key, name in names.items())
        raise DatasetError(
            f"{file}: annotation {label} has the unknown category {number}, and the file lists "
            f"{known}. Give it one of these, or list its category."
        )
    if names[number] != CLASS_NAME:
        return None
    try:
        counts = _counts(entry.get("segmentation"), size)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise DatasetError(f"{file}: annotation {label} has no valid mask: {error}") from error
    item = entry.get("item_id", "")
    crowd = bool(entry.get("iscrowd", 0))
    return Truth(*size, counts, names[number], item if isinstance(item, str) else "", crowd)


def _polygon(numbers: Any, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The numbers x, y, x, y, ... of a polygon, kept inside the image."""
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("a polygon needs at least three points of two numbers")
    points = np.asarray(numbers, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("a polygon has a coordinate that is not a number")
    height, width = size
    inside = np.clip(points, 0.0, (width, height))
    beyond = float(np.abs(points - inside).max())
    if beyond > SLACK_PX:
        raise ValueError(
            f"a polygon reaches {beyond:.1f} pixels out of its image of {width}x{height}; scale it "
            "with the image or clip it to the image"
        )
    return inside.ravel()


def _counts(segmentation: Any, size: tuple[int, int]) -> bytes:
    """Compressed run lengths of any of COCO's three forms of a mask."""
    height, width = size
    if isinstance(segmentation, list):
        points = [_polygon(polygon, size).tolist() for polygon in segmentation]
        if not points:
            raise ValueError("it has no polygon")
        merged = coco_mask.merge(coco_mask.frPyObjects(points, height, width))
        return bytes(merged["counts"])
    if not isinstance(segmentation, dict) or list(segmentation["size"]) != [height, width]:
        raise ValueError(f"expected polygons or an RLE of size {[height, width]}")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        check_runs([int(run) for run in counts], height * width)
        return bytes(coco_mask.frPyObjects(segmentation, height, width)["counts"])
    text = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    check_runs(decode_runs(text), height * width)
    return text
