# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Check of ARMBench's segmentation layout, or of one subset of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from robollm_core.data.armbench_segmentation import (
    SPLITS,
    SUBSETS,
    TOTE_CLASS,
    image_path,
    image_side,
)
from robollm_core.data.check_ledger import Ledger
from robollm_core.data.coco import categories, compress, entries, get
from robollm_core.data.tote import CLASS_NAME
from robollm_core.errors import DatasetError

Key = int | str


@dataclass(slots=True)
class _Image:
    """An image of a list: declared (height, width), whether usable, objects in it."""

    path: Path
    size: tuple[int, int] = (0, 0)
    usable: bool = False
    objects: int = 0


@dataclass(frozen=True, slots=True)
class _List:
    """One COCO file and what it lists."""

    file: Path
    names: Mapping[int, str]
    images: dict[Key, _Image]
    ledger: Ledger


def coco_files(root: Path) -> dict[str, tuple[Path, ...]]:
    """Split to the COCO files of its subsets; `root` may be one subset."""
    folders = [root / name for name in SUBSETS] + ([root] if (root / "images").is_dir() else [])
    found = {
        split: tuple(f / f"{split}.json" for f in folders if (f / f"{split}.json").is_file())
        for split in SPLITS
    }
    return {split: files for split, files in found.items() if files}


def check_segmentation(root: Path, splits: tuple[str, ...], ledger: Ledger) -> None:
    """Look at every image and annotation of some splits.

    Args:
        root: folder of the subsets, or one subset.
        splits: of `coco_files`.
        ledger: takes what is found.
    """
    seen: dict[Path, str] = {}
    for split in splits:
        for file in coco_files(root)[split]:
            tally = f"segmentation {file.parent.name} {split}"
            try:
                listed = _check_file(file, tally, ledger)
            except DatasetError as error:  # nothing of it can be read
                ledger.note("broken", file, error)
                ledger.sample(tally, usable=False)
                continue
            for image in listed.images.values():
                ledger.sample(tally, image.usable)
                other = seen.setdefault(image.path, split)
                if other != split:
                    ledger.note("in two splits", image.path, f"in {other} and in {split}.")


def _check_file(file: Path, tally: str, ledger: Ledger) -> _List:
    listed = _List(file, categories(file), {}, ledger)
    for name in listed.names.values():
        if name not in (CLASS_NAME, TOTE_CLASS):
            ledger.note("unknown class", file, f"the class {name!r} is none of ARMBench's.")
    total = sum(1 for _ in entries(file, "images"))
    for number, entry in enumerate(ledger.progress(entries(file, "images"), total, tally)):
        _check_image(entry, number, listed)
    _check_annotations(listed)
    for image in listed.images.values():
        ledger.share("images without an object", not image.objects)
        if image.usable and not image.objects:
            ledger.note("empty", image.path, f"no instance of {CLASS_NAME!r}.")
    return listed


def _check_image(entry: Mapping[str, Any], number: int, listed: _List) -> None:
    file, ledger = listed.file, listed.ledger
    key: Key = f"entry {number}"
    path = file.parent / "images" / str(entry.get("file_name", key))
    image = _Image(path)
    try:
        key = get(entry, "id", int | str, file)
        if key in listed.images:
            ledger.note("duplicate id", file, f"image {key} is listed twice.")
            listed.images[key].usable = False
            return
        image.size = (image_side(entry, "height", file), image_side(entry, "width", file))
        image.path = image_path(get(entry, "file_name", str, file), path.parents[0], file)
    except DatasetError as error:
        ledger.note("broken" if path.exists() else "missing", path, error)
    else:
        size = ledger.size(image.path)
        image.usable = size == image.size
        if size is not None and not image.usable:
            said = f"{size[1]}x{size[0]} pixels, its entry says {image.size[1]}x{image.size[0]}."
            ledger.note("size disagrees", image.path, said)
    listed.images[key] = image


def _check_annotations(listed: _List) -> None:
    ids: set[Key] = set()
    for entry in entries(listed.file, "annotations"):
        label = entry.get("id")
        if isinstance(label, int | str):
            if label in ids:
                said = f"annotation {label} is listed twice."
                listed.ledger.note("duplicate id", listed.file, said)
            ids.add(label)
        _check_annotation(entry, listed)


def _check_annotation(entry: Mapping[str, Any], listed: _List) -> None:
    file, ledger = listed.file, listed.ledger
    where = f"{file}, annotation {entry.get('id', '?')}"
    key, number = entry.get("image_id"), entry.get("category_id")
    image = listed.images.get(key) if isinstance(key, int | str) else None
    if image is None:
        ledger.note("missing", where, f"it names image {key}, which is not listed.")
        return
    name = listed.names.get(number) if isinstance(number, int) else None
    if name is None:
        image.usable = False
        ledger.note("unknown class", where, f"category {number} is not among those of the file.")
        return
    image.objects += name == CLASS_NAME
    if not _has_area(entry.get("bbox")):
        ledger.note("empty", where, f"its box {entry.get('bbox')} has no area.")
    if not image.size[0]:
        return  # the image itself is broken
    try:
        counts = compress(entry.get("segmentation"), image.size)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        image.usable = image.usable and name not in (CLASS_NAME, TOTE_CLASS)
        ledger.note("broken", where, f"no valid mask: {error}")
        return
    if not int(coco_mask.area({"size": list(image.size), "counts": counts})):
        ledger.note("empty", where, "its mask has no pixel.")


def _has_area(box: Any) -> bool:
    try:
        _, _, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return False
    return width > 0 and height > 0
