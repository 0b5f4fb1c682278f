# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures with a region of interest, cut once into a memory-mapped cache."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from robollm_core.data.arrays import new_array
from robollm_core.errors import DatasetError, OutputError
from robollm_core.files import replacing, write_file
from robollm_core.images import CUT, CropSpec, crop, crop_whole, read_image
from robollm_core.types import BoolArray, UInt8Array

_OUTLINES = ("segmentation", "polygons", "polygon", "points")
"""Names under which the sets known to us, and the tools for labelling, put outlines."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where the thing is in a picture; mask before box.

    Attributes:
        polygons: outlines in pixels of the picture, each x0, y0, x1, y1, ...
        rle: COCO run lengths as (height, width, counts), () without.
        box_xyxy_px: pixel edges, () without.
    """

    polygons: tuple[tuple[float, ...], ...] = ()
    rle: tuple[int, int, str] | tuple[()] = ()
    box_xyxy_px: tuple[float, float, float, float] | tuple[()] = ()

    def mask(self, size_hw: tuple[int, int], source: str) -> BoolArray | None:
        """The region as (H, W) bool; None when only a box is known.

        Raises:
            DatasetError: If the run lengths are of another image size.
        """
        if self.rle:
            return _decode_rle(self.rle, size_hw, source)
        if not self.polygons:
            return None
        canvas: UInt8Array = np.zeros(size_hw, dtype=np.uint8)
        outlines = [np.round(np.reshape(p, (-1, 2))).astype(np.int32) for p in self.polygons]
        cv2.fillPoly(canvas, outlines, 1)
        return canvas.astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file and what to look at in it; no region means all of it."""

    path: Path
    region: Region | None = None


def parse_region(tree: Any, source: str) -> Region | None:
    """Read a region from JSON: polygons, or a mapping with segmentation and bbox.

    Args:
        tree: list of polygons (flat, or of [x, y] points), a COCO RLE, or a
            mapping with one of these under "segmentation", "polygons", "polygon" or
            "points", or else "bbox" (x, y, w, h) or "box" (x0, y0, x1, y1). A box of
            zeros means the whole picture.
        source: for the error.

    Returns:
        The region; None when there is nothing in it.

    Raises:
        DatasetError: If it is of no such form.
    """
    try:
        if isinstance(tree, Mapping) and "counts" not in tree:
            inner = parse_region(next((tree[n] for n in _OUTLINES if n in tree), None), source)
            return inner or _box_region(tree)
        if isinstance(tree, Mapping):
            height, width = (int(side) for side in tree["size"])
            return Region(rle=(height, width, str(tree["counts"])))
        polygons = tuple(_polygon(p) for p in _as_polygons(tree or []))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{source}: a region must be polygons, RLE or a box: {error}") from error
    return Region(polygons=polygons) if polygons else None


def _as_polygons(tree: Any) -> Sequence[Any]:
    if not isinstance(tree, list):
        raise TypeError(f"got {type(tree).__name__}")
    if tree and isinstance(tree[0], int | float):  # one flat polygon
        return [tree]
    if tree and isinstance(tree[0], list) and len(tree[0]) == 2:  # one polygon of points
        return [tree]
    return tree


def _polygon(tree: Any) -> tuple[float, ...]:
    numbers = np.asarray(tree, dtype=np.float64).reshape(-1)
    if len(numbers) < 6 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError(f"a polygon needs three finite points, got {len(numbers)} numbers")
    return tuple(float(number) for number in numbers)


def _box_region(tree: Mapping[str, Any]) -> Region | None:
    if "bbox" in tree:
        x, y, width, height = (float(value) for value in tree["bbox"])
        box = (x, y, x + width, y + height)
    elif "box" in tree:
        x0, y0, x1, y1 = (float(value) for value in tree["box"])
        box = (x0, y0, x1, y1)
    else:
        return None
    return Region(box_xyxy_px=box) if box[2] > box[0] and box[3] > box[1] else None


def _decode_rle(rle: tuple[int, int, str], size_hw: tuple[int, int], source: str) -> BoolArray:
    from robollm_core.data.rle import decode  # pycocotools, only where there are run lengths

    height, width, counts = rle
    if (height, width) != size_hw:
        raise DatasetError(f"{source}: the mask is {(height, width)}, the picture {size_hw}.")
    try:
        return decode({"size": [height, width], "counts": counts})
    except DatasetError as error:
        raise DatasetError(f"{source}: {error}") from error


def cut(picture: Picture, spec: CropSpec) -> UInt8Array:
    """Read a picture and cut its region out as the stages do.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ImageError: If the file is not a whole image.
        DatasetError: If the region lies outside it.
    """
    return cut_image(read_image(picture.path), picture, spec)


def cut_image(image: UInt8Array, picture: Picture, spec: CropSpec) -> UInt8Array:
    """Cut the region of a picture out of its pixels, (H, W, 3) uint8; like `cut`."""
    if picture.region is None:
        return crop_whole(image, spec)
    box, mask = place(picture.region, image.shape[:2], str(picture.path))
    return crop(image, box, spec, mask)


def place(
    region: Region, size_hw: tuple[int, ...], source: str
) -> tuple[tuple[int, int, int, int], BoolArray | None]:
    """Where a region lies in its picture.

    Args:
        region: what to look at.
        size_hw: of the picture.
        source: for the error.

    Returns:
        Pixel edges (x0, y0, x1, y1), and (y1 - y0, x1 - x0) bool of what belongs to
        it; None when only a box is known.

    Raises:
        DatasetError: If the region lies outside the picture.
    """
    height, width = size_hw
    mask = region.mask((height, width), source)
    if mask is None:
        edges = np.asarray(region.box_xyxy_px)
        x0, y0 = np.floor(np.clip(edges[:2], 0, (width, height))).astype(int).tolist()
        x1, y1 = np.ceil(np.clip(edges[2:], 0, (width, height))).astype(int).tolist()
        if x1 <= x0 or y1 <= y0:
            raise DatasetError(f"{source}: the box lies outside the picture.")
        return (x0, y0, x1, y1), None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise DatasetError(f"{source}: the region lies outside the picture.")
    x0, x1 = int(columns[0]), int(columns[-1]) + 1
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    return (x0, y0, x1, y1), mask[y0:y1, x0:x1]


def cached_crops(pictures: Sequence[Picture], spec: CropSpec, path: Path) -> UInt8Array:
    """Cut all pictures once; later calls map the file into memory.

    Args:
        pictures: what to cut, at least one.
        spec: how to cut.
        path: the cache, a .npy file; a .json beside it says what it was made of,
            and another list, another spec or changed files make it anew.

    Returns:
        (N, S, S, 3) uint8, read-only, in the order of the pictures.

    Raises:
        DatasetError: If there are no pictures.
        OutputError: If the cache cannot be written.
    """
    if not pictures:
        raise DatasetError("there are no pictures to cut; is the split empty?")
    key = _fingerprint(pictures, spec)
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists() and json.loads(note.read_text())["key"] == key):
        # a build that is broken off must not leave a new cache under an old note
        _remove(note)
        _build_cache(pictures, spec, path)
        facts = {"key": key, "crop": spec.to_json(), "count": len(pictures)}
        write_file(note, json.dumps(facts).encode())
    crops: UInt8Array = np.load(path, mmap_mode="r")
    return crops


def _remove(note: Path) -> None:
    try:
        note.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise OutputError(f"cannot replace {note}: {error}. Choose another --out.") from error


def _fingerprint(pictures: Sequence[Picture], spec: CropSpec) -> str:
    digest = hashlib.sha256(json.dumps([CUT, spec.to_json()], sort_keys=True).encode())
    for picture in pictures:
        try:
            stat = picture.path.stat()
        except OSError as error:
            raise DatasetError(f"cannot read {picture.path}: {error}") from error
        digest.update(f"{picture.path}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
        digest.update(repr(picture.region).encode())
    return digest.hexdigest()


def _build_cache(pictures: Sequence[Picture], spec: CropSpec, path: Path) -> None:
    shape = (len(pictures), spec.size_px, spec.size_px, 3)
    with replacing(path) as part:
        crops = new_array(part, shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            cuts = pool.map(lambda picture: cut(picture, spec), pictures)
            for index, pixels in enumerate(tqdm(cuts, total=len(pictures), desc="cut crops")):
                crops[index] = pixels
        crops.flush()
