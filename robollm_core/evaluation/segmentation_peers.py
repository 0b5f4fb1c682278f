# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""COCO results: written for others' scripts, and read from others' networks.

The form is COCO's own: a JSON list with one mapping a detection, image_id and
category_id as in the set's file, a mask as compressed run lengths, a score, and a
box as left, top, width and height.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ijson

from robollm_core.data.coco import compress
from robollm_core.errors import DatasetError
from robollm_core.evaluation.precision import Found
from robollm_core.evaluation.segmentation_matching import box_xywh
from robollm_core.evaluation.segmentation_sets import Listed, Subset
from robollm_core.files import file_sha256

EXPECTED = (
    "expected COCO results, a JSON list of {image_id, category_id, segmentation: {size, counts}, "
    "score, bbox: [left, top, width, height]} with image and category numbers of the set's own "
    "file, bbox optional"
)


def file_name(subset: str) -> str:
    """The name results of a subset are written and looked for under."""
    return f"coco_results_{subset}.json"


class ResultsWriter:
    """Collects detections as the text of a COCO results file."""

    def __init__(self, categories: Mapping[str, int]) -> None:
        """Begin a file.

        Args:
            categories: class names to their numbers in the set's file; detections of
                other classes are left out.
        """
        self._categories = categories
        self._parts: list[bytes] = []

    def add(self, image: Listed, found: Sequence[Found]) -> None:
        """Put the detections of one image, in their order."""
        for one in found:
            if one.category in self._categories:
                tree = _result(image.key, self._categories[one.category], one)
                self._parts.append(json.dumps(tree, allow_nan=False).encode())

    def content(self) -> bytes:
        """The file."""
        return b"[" + b",\n".join(self._parts) + b"]\n"


def _result(key: int | str, category: int, one: Found) -> dict[str, Any]:
    height, width = one.rle["size"]
    counts = one.rle["counts"].decode("ascii")
    return {
        "image_id": key,
        "category_id": category,
        "segmentation": {"size": [int(height), int(width)], "counts": counts},
        "score": float(one.score),
        "bbox": list(box_xywh(one)),
    }


class PeerResults:
    """Detections out of the COCO results of another network."""

    def __init__(self, path: Path, subsets: Sequence[Subset]) -> None:
        """Find the files and read them.

        Args:
            path: a results file, or a folder with one a subset, named as `file_name`.
            subsets: that the set has.

        Raises:
            DatasetError: If a file is missing or not of the form.
        """
        files = find_results(path, subsets)
        self.networks = {file.name: file_sha256(file) for file in files.values()}
        self.measured = [subset for subset in subsets if subset.name in files]
        self._found = {one.name: read_results(files[one.name], one) for one in self.measured}

    def find(self, subset: Subset, image: Listed) -> tuple[Found, ...]:
        """What the results say of an image, in the order of the file.

        Raises:
            DatasetError: If the image cannot be read; it is left out for a network, so it
                is left out here, and the runs compare image by image.
        """
        image.tote.read()
        return tuple(self._found[subset.name].get(image.key, ()))


def find_results(path: Path, subsets: Sequence[Subset]) -> dict[str, Path]:
    """The results file of each subset that has one.

    Raises:
        DatasetError: If there is none, or one file is given for several subsets.
    """
    if path.is_dir():
        named = {one.name: path / file_name(one.name) for one in subsets}
        files = {name: file for name, file in named.items() if file.is_file()}
        if not files:
            wanted = ", ".join(file.name for file in named.values())
            raise DatasetError(f"{path} holds none of {wanted}; name the results of a peer so.")
        return files
    if not path.is_file():
        raise DatasetError(f"there are no results {path}; {EXPECTED}, or a folder of such files.")
    for one in subsets:
        if path.name == file_name(one.name) or len(subsets) == 1:
            return {one.name: path}
    wanted = ", ".join(file_name(one.name) for one in subsets)
    raise DatasetError(
        f"{path.name} does not say of which subset it is; name it one of {wanted}, or give a "
        "folder with several of them."
    )


def read_results(file: Path, subset: Subset) -> dict[int | str, list[Found]]:
    """Read and check a results file of someone else.

    Args:
        file: the JSON.
        subset: the images and classes it speaks of.

    Returns:
        Detections of the classes of the subset by image number, in the order of the file.

    Raises:
        DatasetError: If an entry is not of the form, or speaks of another set; names it.
    """
    found: dict[int | str, list[Found]] = {}
    for number, entry in enumerate(_stream(file)):
        try:
            key, one = _found(entry, subset)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise DatasetError(f"{file}: detection {number}: {reason}; {EXPECTED}.") from error
        if one.category in subset.categories:
            found.setdefault(key, []).append(one)
    return found


def _stream(file: Path) -> Iterator[Any]:
    try:
        with file.open("rb") as stream:
            first = next(iter(ijson.parse(stream)), None)
            if first is None or first[1] != "start_array":
                raise DatasetError(f"{file} holds no list; {EXPECTED}.")
            stream.seek(0)
            yield from ijson.items(stream, "item", use_float=True)
    except (OSError, ijson.JSONError) as error:
        raise DatasetError(
            f"cannot read the results {file}: {error}; a score that is not a number is no JSON "
            f"either; {EXPECTED}."
        ) from error


def _found(entry: Any, subset: Subset) -> tuple[int | str, Found]:
    if not isinstance(entry, dict):
        raise TypeError(f"it is a {type(entry).__name__}")
    key, category = entry["image_id"], entry["category_id"]
    if type(key) not in (int, str) or key not in subset.sizes:
        raise ValueError(f"image_id {key!r} is not in {subset.file}")
    if type(category) is not int or category not in subset.numbers:
        raise ValueError(f"category_id {category!r} is not one of {subset.numbers}")
    score = _number(entry["score"], "score")
    size = subset.sizes[key]
    counts = compress(entry["segmentation"], size)
    rle = {"size": list(size), "counts": counts}
    return key, Found(rle, score, _box(entry.get("bbox")), subset.numbers[category])


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, not a finite number")
    return float(value)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox is {value!r}, not four numbers")
    left, top, width, height = (_number(edge, "bbox") for edge in value)
    if min(width, height) < 0:
        raise ValueError(f"bbox {value} has a negative side")
    return left, top, left + width, top + height
