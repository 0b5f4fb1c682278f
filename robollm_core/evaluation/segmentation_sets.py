# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Subsets of a segmentation set with what COCO's tools need beside the masks.

Image and category numbers are those of the set's own JSON file, so that results
written for others' scripts fit it; areas and boxes of truths are the file's as well,
since these, not the masks, are what COCO's tools sort by size and compare as boxes.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as coco_mask

from robollm_core.data.armbench_segmentation import SUBSETS, TOTE_CLASS, iterate_coco, subsets
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.coco import categories, entries
from robollm_core.data.tote import CLASS_NAME, ToteImage, Truth
from robollm_core.errors import DatasetError

PHOTOS = "photos"
"""Name of the only subset of a folder with a plain annotations.json in it."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One truth as COCO's tools see it.

    Attributes:
        truth: its mask and class.
        area: square pixels.
        box_xywh: left, top, width, height, pixels.
        visible: share of the instance that nothing hides, None when the file does not say.
    """

    truth: Truth
    area: float
    box_xywh: Box
    visible: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """One image of a subset.

    Attributes:
        key: its number in the set's JSON file.
        name: its file name there.
        tote: the photo.
        annotations: truths of the classes of the subset, in the order of the file.
    """

    key: int | str
    name: str
    tote: ToteImage
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """One subset.

    Attributes:
        name: one of `SUBSETS`, or `PHOTOS`.
        file: its COCO file.
        images: folder of its images.
        categories: class names that are judged, object first, to their numbers in the file.
        numbers: of all classes of the file, number to name.
        keys: numbers of all images by file name.
        sizes: (height, width) of all images by number, pixels.
    """

    name: str
    file: Path
    images: Path
    categories: dict[str, int]
    numbers: dict[int, str]
    keys: dict[str, int | str]
    sizes: dict[int | str, tuple[int, int]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are judged, object first."""
        return tuple(self.categories)

    def read(self, broken: BrokenFiles) -> Iterator[Listed]:
        """The images, one at a time.

        Args:
            broken: takes those that cannot be used.

        Raises:
            DatasetError: If the file is not of the layout.
        """
        judged = {number for number, name in self.numbers.items() if name in self.categories}
        facts = _facts(self.file, judged)
        seen: set[str] = set()
        for tote in iterate_coco(self.file, self.images, self.classes, broken):
            name = tote.path.relative_to(self.images).as_posix()
            if name in seen:
                broken.add(f"{tote.path}, listed again", f"{self.file} lists {name} twice.")
                continue
            seen.add(name)
            key = self.keys[name]
            pairs = zip(tote.truths, facts.get(key, []), strict=True)
            yield Listed(key, name, tote, tuple(_annotation(*pair) for pair in pairs))


def find_subsets(data: Path, split: str) -> list[Subset]:
    """Every subset of a folder, mixed totes first.

    Raises:
        DatasetError: If there is none, or one is not of the layout.
    """
    plain = data / "annotations.json"
    if plain.is_file():
        return [_subset(PHOTOS, plain, data / "images")]
    names = subsets(data, split)
    if not names:
        raise DatasetError(
            f"{data} holds no {split}.json under {', '.join(SUBSETS)}, and no annotations.json."
        )
    return [_subset(name, data / name / f"{split}.json", data / name / "images") for name in names]


def _subset(name: str, file: Path, images: Path) -> Subset:
    labels = categories(file)
    numbers = {label: number for number, label in labels.items()}
    if CLASS_NAME not in numbers:
        raise DatasetError(f"{file}: no category {CLASS_NAME!r}, only {sorted(numbers)}.")
    judged = {label: numbers[label] for label in (CLASS_NAME, TOTE_CLASS) if label in numbers}
    keys: dict[str, Any] = {}
    sizes: dict[Any, tuple[Any, Any]] = {}
    for entry in entries(file, "images"):  # those of a wrong form are found when they are read
        key = entry.get("id")
        if isinstance(key, int | str):
            keys.setdefault(PurePosixPath(str(entry.get("file_name"))).as_posix(), key)
            sizes[key] = (entry.get("height"), entry.get("width"))
    return Subset(name, file, images, judged, labels, keys, sizes)


def _facts(file: Path, numbers: set[int]) -> dict[Any, list[tuple[Any, Any, Any]]]:
    """Area, box and visible share as the file has them, by image, in its order."""
    facts: dict[Any, list[tuple[Any, Any, Any]]] = defaultdict(list)
    for entry in entries(file, "annotations"):
        key = entry.get("image_id")
        if isinstance(key, int | str) and entry.get("category_id") in numbers:
            box = entry.get("bbox")
            told = tuple(box) if isinstance(box, list) else None
            facts[key].append((entry.get("area"), told, entry.get("visible_fraction")))
    return facts


def _annotation(truth: Truth, told: tuple[Any, Any, Any]) -> Annotation:
    """A truth with what the file says of it; the mask tells what the file does not."""
    area, box, visible = told
    if not _is_size(area):
        area = coco_mask.area(truth.rle)
    if not (isinstance(box, tuple) and len(box) == 4 and all(map(_is_number, box))):
        box = coco_mask.toBbox(truth.rle)
    left, top, width, height = (float(edge) for edge in box)
    share = float(visible) if _is_size(visible) and visible <= 1.0 else None
    return Annotation(truth, float(area), (left, top, width, height), share)


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0
