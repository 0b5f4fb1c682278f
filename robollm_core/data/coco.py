# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A COCO instance file read piece by piece, and its masks in one form.

The JSON of ARMBench's largest subset is hundreds of megabytes, and many times
that as Python objects. So it is parsed as a stream, and masks wait in a
temporary database on disk until their image's turn: COCO lists annotations in
any order, so an image is known whole only after the last one. A stream
follows the standard strictly: NaN, which Python writes, is no JSON.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ijson
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from robollm_core.data.rle import check_runs, decode_runs
from robollm_core.errors import DatasetError

SLACK_PX = 2.0
"""How far a polygon may reach out of its image; tools for labelling round."""


def entries(file: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """The mappings of one list of a JSON mapping, one at a time.

    Args:
        file: the JSON.
        name: key of the list, such as "annotations".

    Yields:
        Its entries, in the order of the file.

    Raises:
        DatasetError: If the file is not JSON, or has no such list of mappings.
    """
    count = 0
    with _parsing(file), file.open("rb") as stream:
        for entry in ijson.items(stream, f"{name}.item", use_float=True):
            if not isinstance(entry, dict):
                raise DatasetError(f"{file}: {name!r} must be a list of mappings.")
            count += 1
            yield entry
    if not count:
        _check_list(file, name)


def _check_list(file: Path, name: str) -> None:
    """Tell an empty list from none at all."""
    with _parsing(file), file.open("rb") as stream:
        for prefix, event, _ in ijson.parse(stream):
            if prefix == name and event == "start_array":
                return
    raise DatasetError(f"{file}: {name!r} must be a list of mappings.")


def categories(file: Path) -> dict[int, str]:
    """The classes of a file: number to name, lower case.

    Raises:
        DatasetError: If the file is not JSON or has no list of classes.
    """
    with _parsing(file), file.open("rb") as stream:
        listed = next(ijson.items(stream, "categories", use_float=True), None)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise DatasetError(f"{file}: 'categories' must be a list of mappings.")
    return {get(c, "id", int, file): get(c, "name", str, file).lower() for c in listed}


@contextlib.contextmanager
def _parsing(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ijson.JSONError) as error:
        raise DatasetError(
            f"cannot read the COCO file {file}: {error}. Copy it from its source again."
        ) from error


def get(entry: Mapping[str, Any], name: str, kind: Any, file: Path) -> Any:
    """One value of an entry, of the type it has to be; a bool is no number.

    Raises:
        DatasetError: If it is missing or of another type.
    """
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DatasetError(f"{file}: {name!r} is {value!r}, expected {kind}.")
    return value


def compress(segmentation: Any, size: tuple[int, int]) -> bytes:
    """Compressed run lengths of any of COCO's three forms of a mask.

    Args:
        segmentation: polygons, one or more parts of one instance, each x, y, x, y,
            ... in pixels; or {"size": [height, width], "counts": ...} with the run
            lengths as a list (COCO's form for crowds) or compressed to text.
        size: (height, width) of the image, pixels.

    Returns:
        Run lengths over the whole image, column by column, as pycocotools packs them.

    Raises:
        ValueError, TypeError, IndexError, KeyError: If it is none of these, or does
            not fit the image.
    """
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


class Spill:
    """Rows by image, in a temporary database that goes when it is closed.

    Memory holds a few megabytes of it whatever the number of rows.
    """

    def __init__(self) -> None:
        # an empty name is a database in the folder for temporary files, without a name there
        self._base = sqlite3.connect("", check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute(
            "CREATE TABLE rows "
            "(image INTEGER, counts BLOB, category TEXT, item TEXT, crowd INTEGER)"
        )
        self._indexed = False

    def add(self, image: int, counts: bytes, category: str, item: str, crowd: bool) -> None:
        """Put a row.

        Raises:
            DatasetError: If there is no space for it.
        """
        try:
            self._base.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?)", (image, counts, category, item, crowd)
            )
        except sqlite3.Error as error:
            raise DatasetError(
                f"cannot keep masks in the folder for temporary files: {error}. Free some space "
                "there, or set TMPDIR to another folder."
            ) from error

    def of(self, image: int) -> list[tuple[bytes, str, str, bool]]:
        """The rows of one image in the order they came: counts, category, item, crowd."""
        if not self._indexed:
            self._base.execute("CREATE INDEX by_image ON rows (image)")
            self._indexed = True
        found = self._base.execute(
            "SELECT counts, category, item, crowd FROM rows WHERE image = ? ORDER BY rowid",
            (image,),
        )
        return [(bytes(counts), name, item, bool(crowd)) for counts, name, item, crowd in found]

    def close(self) -> None:
        """Remove it."""
        self._base.close()
