# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The index files that the authors of RoboLLM released, over ARMBench's pictures.

    all_{split}_data.json, {split}_data_3t1.json
        pick id -> {pickimg_paths, [pickimg_3t1_paths], ref_id, refimg_path,
                    ref_gallary_paths, ref_gallary_ids}
    all_labels.json                   pick id -> item id
    all_{split}_ref_img_paths.json    item id -> [file names]

The spelling "gallary" is theirs. ref_gallary_ids has one id an image, so an item
with n pictures stands there n times. The paths come from other machines: they are
laid over the data root by their last parts and never lead out of it.

Source: longkukuhi/RoboLLM, armbench/armbench_datasets.py, which reads them, and the
notebook armbench/not_using_imagefolder.ipynb of its history, which wrote them: a
pick with fewer than three views other than FarTrayRGB goes to the first file, one
with all three to the second. So N=1 and N=3 may have been measured on different
picks; `count_index` says whether that is so.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ijson

from robollm_core.data.armbench_identification import (
    REFERENCES,
    VIEWS,
    IdentificationSplit,
    Pick,
    is_validation,
    safe_name,
)
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture
from robollm_core.errors import DatasetError

LABELS = "all_labels.json"
FILES = ("all_{split}_data.json", "{split}_data_3t1.json")
"""The files of picks: for one view, and for three."""
REFERENCE_FILE = "all_{split}_ref_img_paths.json"


@dataclass(frozen=True, slots=True)
class IndexedPick:
    """One pick as an index file lists it.

    Attributes:
        pick: as from ARMBench itself; pictures whole, without an outline, and the
            manifest made of the items of the gallery, each once, so that items
            without references are not on it.
        gallery_ids: item id of each picture of the gallery in the order of the file,
            repeated as there.
        gallery: the pictures, as many.
        file: name of the index file.
    """

    pick: Pick
    gallery_ids: tuple[str, ...]
    gallery: tuple[Picture, ...]
    file: str


@dataclass(frozen=True, slots=True)
class IndexCount:
    """How the picks of a split lie in the two files.

    Attributes:
        one_view: picks in all_{split}_data.json.
        three_views: picks in {split}_data_3t1.json.
        both: picks in both.
    """

    one_view: int
    three_views: int
    both: int

    @property
    def disjoint(self) -> bool:
        """Whether no pick is in both files."""
        return not self.both

    def to_json(self) -> dict[str, int | bool]:
        """The counts as plain JSON values."""
        return {
            "one_view": self.one_view,
            "three_views": self.three_views,
            "both": self.both,
            "disjoint": self.disjoint,
        }


def index_files(index: Path, split: str) -> tuple[Path, ...]:
    """The files of picks of a split that are there, one view first."""
    names = (index / name.format(split=split) for name in FILES)
    return tuple(path for path in names if path.is_file())


def count_index(index: Path, split: str) -> IndexCount:
    """Count the picks of the two files of a split.

    Args:
        index: folder of the files.
        split: "train", "val" or "test"; the files of just this name.

    Raises:
        DatasetError: If neither is there, or one is not such a JSON.
    """
    _need_files(index, split)
    counted = []
    for name in FILES:
        path = index / name.format(split=split)
        counted.append({key for key, _ in _items(path)} if path.is_file() else set())
    one, three = counted
    return IndexCount(len(one), len(three), len(one & three))


def read_indexed(
    root: Path, split: str, index: Path | None = None, broken: BrokenFiles | None = None
) -> IdentificationSplit:
    """Read one split as from ARMBench itself; see `iterate_indexed`.

    Returns:
        Its picks, and the pictures of every gallery and of the reference file,
        each once, by item.

    Raises:
        DatasetError: As `iterate_indexed`, and if a reference is not on disk.
    """
    folder = root if index is None else index
    picks, names = [], _listed_references(root, folder, split)
    for indexed in iterate_indexed(root, split, index, broken):
        picks.append(indexed.pick)
        for item_id, picture in zip(indexed.gallery_ids, indexed.gallery, strict=True):
            names.setdefault(item_id, {})[picture.path.name] = None
    return IdentificationSplit(tuple(picks), _on_disk(root, names, broken))


def iterate_indexed(
    root: Path,
    split: str,
    index: Path | None = None,
    broken: BrokenFiles | None = None,
    views: Sequence[str] = VIEWS,
) -> Iterator[IndexedPick]:
    """Read the index files of one split, a pick at a time.

    Args:
        root: ARMBench's folder with Picks and Reference_Images.
        split: "train", "val" or "test". Without files of val, every 20th item of
            train, by hash, is val.
        index: folder of the index files; None for the root.
        broken: takes folders of picks that cannot be used, so that the others are.
        views: which are looked for.

    Yields:
        The picks of the one-view file, then those of the three-view file that are
        not in the first, each in the order of the file; memory holds ids and labels.

    Raises:
        DatasetError: If there is no file or no pick can be read; without `broken`, at
            the first pick whose pictures are missing, or of another form.
    """
    folder = root if index is None else index
    own_val = bool(index_files(folder, "val"))
    name = "train" if split == "val" and not own_val else split
    _need_files(folder, name)
    labels = dict(_items(folder / LABELS)) if (folder / LABELS).is_file() else {}
    seen: set[str] = set()
    empty = True
    for path in index_files(folder, name):
        for pick_id, tree in _items(path):
            if pick_id in seen:
                continue
            seen.add(pick_id)
            try:
                indexed = _read(root, path, (pick_id, tree, labels.get(pick_id)), views)
            except DatasetError as error:
                if broken is None:
                    raise
                broken.add(root / "Picks" / pick_id, error)
                continue
            item_id = indexed.pick.item_id
            if own_val or split == "test" or is_validation(item_id) == (split == "val"):
                empty = False
                yield indexed
    if empty:
        raise DatasetError(f"the split {split!r} of the index files in {folder} is empty.")


def lay_over(root: Path, text: str, count: int, source: str) -> Path:
    """A path of another machine, laid over a folder by its last parts.

    Args:
        root: the folder.
        text: the path, with slashes or backslashes, absolute or not.
        count: how many of its last parts count.
        source: for the error.

    Returns:
        `root` and those parts.

    Raises:
        DatasetError: If it has fewer parts, or one that leads out of the root.
    """
    parts = [part for part in re.split(r"[\\/]+", text) if part not in ("", ".")][-count:]
    if len(parts) < count:
        raise DatasetError(f"{source}: the path {text!r} needs {count} parts.")
    return root.joinpath(*(safe_name(part, source) for part in parts))


def _need_files(folder: Path, split: str) -> None:
    if not index_files(folder, split):
        names = " or ".join(name.format(split=split) for name in FILES)
        raise DatasetError(f"there is no {names} in {folder}; unpack the index files there.")


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of a JSON mapping, one at a time."""
    with _parsing(path), path.open("rb") as stream:
        if next(ijson.basic_parse(stream), ("", None))[0] != "start_map":
            raise DatasetError(f"{path} must hold a JSON mapping.")
        stream.seek(0)
        yield from ijson.kvitems(stream, "", use_float=True)


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ijson.JSONError) as error:
        raise DatasetError(f"cannot read the index file {path}: {error}") from error


def _read(root: Path, path: Path, entry: tuple[str, Any, Any], views: Sequence[str]) -> IndexedPick:
    """One entry (pick id, what the file says, its label or None)."""
    pick_id, tree, label = entry
    source = f"{path}: {pick_id}"
    safe_name(pick_id, source)
    if not isinstance(tree, dict):
        raise DatasetError(f"{source} must be a mapping, got {type(tree).__name__}.")
    item_id = tree.get("ref_id", label)
    if not isinstance(item_id, str):
        raise DatasetError(f"{source} has no ref_id, and {LABELS} has no label of it.")
    if label is not None and label != item_id:
        raise DatasetError(f"{source} is of item {item_id!r}, {LABELS} says {label!r}.")
    ids = _texts(tree, "ref_gallary_ids", source)
    gallery = _gallery(root / REFERENCES, ids, _texts(tree, "ref_gallary_paths", source), source)
    pick = Pick(
        pick_id,
        safe_name(item_id, source),
        tuple(dict.fromkeys(ids)),
        _views(root / "Picks" / pick_id, tree, views, source),
    )
    return IndexedPick(pick, ids, gallery, path.name)


def _texts(tree: Mapping[str, Any], name: str, source: str) -> tuple[str, ...]:
    """A list of text of an entry; absent, none."""
    value = tree.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DatasetError(f"{source}: {name} must be a list of text.")
    return tuple(value)


def _views(
    folder: Path, tree: Mapping[str, Any], views: Sequence[str], source: str
) -> dict[str, Picture]:
    """Pictures by view: the order of the file is that of some file system."""
    listed = _texts(tree, "pickimg_paths", source) + _texts(tree, "pickimg_3t1_paths", source)
    paths = {path.stem: path for path in (lay_over(folder, text, 1, source) for text in listed)}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise DatasetError(f"{source} lists {missing[0].name}, but there is no {missing[0]}.")
    return {view: Picture(paths[view]) for view in views if view in paths}


def _gallery(
    root: Path, ids: tuple[str, ...], paths: tuple[str, ...], source: str
) -> tuple[Picture, ...]:
    if len(ids) != len(paths):
        raise DatasetError(f"{source}: {len(ids)} ref_gallary_ids for {len(paths)} paths.")
    found = tuple(lay_over(root, text, 2, source) for text in paths)
    for item_id, path in zip(ids, found, strict=True):
        if path.parent.name != item_id:
            raise DatasetError(f"{source}: the picture {path.name} of {item_id!r} is at {path}.")
    return tuple(Picture(path) for path in found)


def _listed_references(root: Path, folder: Path, split: str) -> dict[str, dict[str, None]]:
    """File names by item, of the split's reference file where there is one."""
    path = folder / REFERENCE_FILE.format(split=split)
    names: dict[str, dict[str, None]] = {}
    for item_id, files in _items(path) if path.is_file() else ():
        source = f"{path}: {item_id}"
        texts = _texts({"files": files}, "files", source)
        under = root / REFERENCES / safe_name(item_id, source)
        names[item_id] = dict.fromkeys(lay_over(under, text, 1, source).name for text in texts)
    return names


def _on_disk(
    root: Path, names: Mapping[str, Mapping[str, None]], broken: BrokenFiles | None
) -> dict[str, tuple[Picture, ...]]:
    references = {}
    for item_id, files in names.items():
        pictures = []
        for name in sorted(files, key=lambda name: (len(name), name)):
            path = root / REFERENCES / item_id / name
            if path.is_file():
                pictures.append(Picture(path))
            elif broken is None:
                raise DatasetError(f"the index lists the reference {path}, which is missing.")
            else:
                broken.add(path, f"the index lists the reference {path}, which is missing.")
        if pictures:
            references[item_id] = tuple(pictures)
    return references
