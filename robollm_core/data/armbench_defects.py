# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of ARMBench's defect layout for images (spec section 4).

Source of the form: amzn/armbench, defect_detection/defect_images/
convert_to_imagenet.py: a csv lists ids without a header; data/ID holds one or
more images, each with a JSON of id (with or without .jpg) and label. Our
simulator writes one image an id. An image without a box or outline is taken whole.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.data.armbench_identification import is_validation, safe_name
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture, parse_region
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class DefectSample:
    """One labelled image.

    Attributes:
        induct_id: folder under data, one id of the csv.
        picture: the image and where the picked thing is in it.
        label: one of `DEFECT_LABELS`.
    """

    induct_id: str
    picture: Picture
    label: str


def read_defects(
    root: Path, split: str, broken: BrokenFiles | None = None
) -> tuple[DefectSample, ...]:
    """Read one split at once; see `iterate_defects`."""
    return tuple(iterate_defects(root, split, broken))


def iterate_defects(
    root: Path, split: str, broken: BrokenFiles | None = None
) -> Iterator[DefectSample]:
    """Read one split, an image at a time; only the list of ids is held.

    Where there are no csv files but folders of classes, as the official converter
    makes them, those are read (`defect_folder`).

    Args:
        root: folder with data, train.csv and test.csv.
        split: "train", "val" or "test". Without a val.csv, every 20th id of
            train, by hash, is val.
        broken: takes notes and folders that cannot be read, so that the others are.

    Yields:
        The samples, in the order of the csv, by file name in a folder; at least one.

    Raises:
        DatasetError: If the csv is missing or no sample can be read; without `broken`,
            at the first that is missing or of another form.
    """
    from robollm_core.data.defect_folder import find_defect_folder, iterate_defect_folder

    if not any((root / f"{name}.csv").exists() for name in SPLITS) and find_defect_folder(root):
        yield from iterate_defect_folder(root, split, broken)
        return
    empty = True
    for induct_id in split_ids(root, split):
        for note in _notes(root / "data" / induct_id, broken):
            try:
                sample = read_sample(note)
            except DatasetError as error:
                if broken is None:
                    raise
                broken.add(note, error)
                continue
            empty = False
            yield sample
    if empty:
        raise DatasetError(f"the split {split!r} of {root} is empty.")


def split_ids(root: Path, split: str) -> list[str]:
    """The folders of a split, as its csv lists them, each once.

    Raises:
        DatasetError: If the csv is missing, or an id cannot be the name of a folder.
    """
    own_val = (root / "val.csv").is_file()
    name = "train" if split == "val" and not own_val else split
    ids = list(dict.fromkeys(raw_ids(root / f"{name}.csv")))
    if not own_val and split != "test":
        ids = [i for i in ids if is_validation(i) == (split == "val")]
    return ids


def raw_ids(path: Path) -> list[str]:
    """The ids of a csv as they stand there, one listed twice included.

    Raises:
        DatasetError: If it cannot be read, or an id cannot be the name of a folder.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if ids[:1] == ["id"]:  # a header, where there is one
        ids = ids[1:]
    return [safe_name(name, str(path)) for name in ids]


def _notes(folder: Path, broken: BrokenFiles | None) -> list[Path]:
    notes = sorted(folder.glob("*.json"))
    if not notes:
        error = DatasetError(f"{folder} has no annotation (*.json).")
        if broken is None:
            raise error
        broken.add(folder, error)
    return notes


def read_sample(note: Path) -> DefectSample:
    """Read one image's note.

    Args:
        note: JSON with id (file name, with or without .jpg), label, and where the
            picked thing is; the image lies beside it.

    Raises:
        DatasetError: If it is of another form, its label unknown or its image missing.
    """
    try:
        tree = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {note}: {error}") from error
    if not isinstance(tree, dict) or tree.get("label") not in DEFECT_LABELS:
        raise DatasetError(f"{note}: the label must be one of {', '.join(DEFECT_LABELS)}.")
    path = _image_path(note, tree)
    return DefectSample(
        note.parent.name, Picture(path, parse_region(tree, str(note))), tree["label"]
    )


def _image_path(note: Path, tree: Mapping[str, Any]) -> Path:
    name = str(tree.get("id", note.stem))
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise DatasetError(f"{note}: {name!r} cannot be the name of an image.")
    path = note.parent / (name if name.endswith(".jpg") else f"{name}.jpg")
    if not path.is_file():
        path = note.with_suffix(".jpg")
    if not path.is_file():
        raise DatasetError(f"{note} has no image beside it.")
    return path
