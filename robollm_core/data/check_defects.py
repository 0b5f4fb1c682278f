# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of ARMBench's defect layout, and of its form in a folder a class."""

import json
from pathlib import Path

from robollm_core.data.armbench_defects import SPLITS, DefectSample, raw_ids, read_sample
from robollm_core.data.check_ledger import Ledger
from robollm_core.data.defect_folder import find_defect_folder, image_files, read_image_file
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS


def defect_splits(root: Path) -> tuple[str, ...]:
    """The splits that there is a csv of, beside a folder data."""
    return tuple(split for split in SPLITS if (root / f"{split}.csv").is_file())


def check_defects(root: Path, splits: tuple[str, ...], ledger: Ledger) -> None:
    """Look at every image that the csv files of some splits list.

    Args:
        root: folder with data and the csv files.
        splits: of `defect_splits`.
        ledger: takes what is found.
    """
    owners: dict[str, str] = {}
    for split in splits:
        tally = f"defects {split}"
        try:
            listed = raw_ids(root / f"{split}.csv")
        except DatasetError as error:
            ledger.note("broken", root / f"{split}.csv", error)
            ledger.sample(tally, usable=False)
            continue
        if not listed:
            ledger.note("empty", root / f"{split}.csv", "it lists no id.")
        seen: set[str] = set()
        for induct_id in ledger.progress(listed, len(listed), tally):
            if induct_id in seen:
                ledger.note("duplicate id", induct_id, f"the id is listed twice in {split}.csv.")
                continue
            seen.add(induct_id)
            _own(induct_id, split, owners, ledger)
            _check_id(root / "data" / induct_id, tally, ledger)


def _own(induct_id: str, split: str, owners: dict[str, str], ledger: Ledger) -> None:
    other = owners.setdefault(induct_id, split)
    if other != split:
        ledger.note("in two splits", induct_id, f"the id is in {other} and in {split}.")


def _check_id(folder: Path, tally: str, ledger: Ledger) -> None:
    notes = sorted(folder.glob("*.json"))
    if not notes:
        ledger.note("missing", folder, "there is no such folder, or no annotation (*.json) in it.")
        ledger.sample(tally, usable=False)
        return
    used = set()
    for note in notes:
        sample = _check_note(note, ledger)
        if sample is None:
            used.add(note.with_suffix(".jpg"))
            ledger.sample(tally, usable=False)
            continue
        used.add(sample.picture.path)
        region = sample.picture.region
        ledger.share("images without an outline (taken whole)", region is None)
        ledger.sample(tally, ledger.picture(sample.picture.path, region))
    for path in sorted(set(folder.glob("*.jpg")) - used):
        ledger.note("missing", path, "the image has no annotation (*.json).")


def _check_note(note: Path, ledger: Ledger) -> DefectSample | None:
    """The sample, or None with what is wrong noted."""
    try:
        sample = read_sample(note)
    except DatasetError as error:
        ledger.note(_kind(note), note, error)
        return None
    box = json.loads(note.read_bytes()).get("bbox", [0, 0, 0, 0])
    if sample.picture.region is None and any(box):
        ledger.note("empty", note, f"its box {box} has no area.")
    return sample


def _kind(note: Path) -> str:
    """Why a note cannot be read: which kind of finding it is."""
    try:
        tree = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return "broken"
    if not isinstance(tree, dict) or not isinstance(tree.get("label"), str):
        return "broken"
    if tree["label"] not in DEFECT_LABELS:
        return "unknown class"
    images = (
        note.with_suffix(".jpg"),
        note.parent / f"{str(tree.get('id')).removesuffix('.jpg')}.jpg",
    )
    return "broken" if any(path.is_file() for path in images) else "missing"


def folder_splits(root: Path) -> tuple[str, ...]:
    """The splits that there are folders of classes of."""
    return tuple(split for split in SPLITS if find_defect_folder(root, split) is not None)


def check_defect_folder(root: Path, splits: tuple[str, ...], ledger: Ledger) -> None:
    """Look at every image in the folders of classes of some splits.

    Args:
        root: folder with imagenet, or imagenet itself.
        splits: of `folder_splits`.
        ledger: takes what is found.
    """
    owners: dict[str, str] = {}
    for split in splits:
        folder = find_defect_folder(root, split)
        assert folder is not None
        tally = f"class folders {split}"
        for name in sorted(path.name for path in (folder / split).iterdir() if path.is_dir()):
            if name not in DEFECT_LABELS:
                said = f"expected only {', '.join(DEFECT_LABELS)}."
                ledger.note("unknown class", folder / split / name, said)
        for label in DEFECT_LABELS:
            files = image_files(folder / split / label)
            if not files:
                ledger.note("empty", folder / split / label, "there is no image of the class.")
            for path in ledger.progress(files, len(files), f"{tally} {label}"):
                ledger.sample(tally, _check_file(path, split, owners, ledger))


def _check_file(path: Path, split: str, owners: dict[str, str], ledger: Ledger) -> bool:
    try:
        sample = read_image_file(path)
    except DatasetError as error:
        ledger.note("missing" if path.is_symlink() else "broken", path, error)
        return False
    _own(sample.induct_id, split, owners, ledger)
    return ledger.picture(path)
