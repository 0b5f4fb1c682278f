# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of ARMBench's defect layout for images (spec section 4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.data.armbench_identification import is_validation
from robollm_core.data.samples import Picture, parse_region
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS


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


def read_defects(root: Path, split: str) -> tuple[DefectSample, ...]:
    """Read one split.

    Args:
        root: folder with data, train.csv and test.csv.
        split: "train", "val" or "test". Without a val.csv, every 20th id of
            train, by hash, is val.

    Returns:
        The samples, in the order of the csv, by file name in a folder; never empty.

    Raises:
        DatasetError: If anything is missing or of another form.
    """
    own_val = (root / "val.csv").is_file()
    name = "train" if split == "val" and not own_val else split
    ids = _read_ids(root / f"{name}.csv")
    if not own_val and split != "test":
        ids = [i for i in ids if is_validation(i) == (split == "val")]
    samples = tuple(sample for i in ids for sample in _read_folder(root / "data" / i))
    if not samples:
        raise DatasetError(f"the split {split!r} of {root} is empty.")
    return samples


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if ids[:1] == ["id"]:  # a header, where there is one
        ids = ids[1:]
    unsafe = [i for i in ids if i in (".", "..") or any(mark in i for mark in "/\\\0")]
    if unsafe:
        raise DatasetError(f"{path}: {unsafe[0]!r} cannot be the name of a folder.")
    return ids


def _read_folder(folder: Path) -> list[DefectSample]:
    notes = sorted(folder.glob("*.json"))
    if not notes:
        raise DatasetError(f"{folder} has no annotation (*.json).")
    return [_read_sample(note) for note in notes]


def _read_sample(note: Path) -> DefectSample:
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
