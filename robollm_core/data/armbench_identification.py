# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of ARMBench's identification layout (spec section 4).

Sources of the forms: amzn/armbench, identification/{data_format.txt,test.py}:
a pick's item is annotation.json's GT_ID, its manifest is what iterating over
container.json gives, which the real set writes as a mapping of item id to
{text, weight, dimensions}. How the polygons lie in annotation.json is written
down nowhere, so they are looked for by the name of the view or of its file,
at the top or one level down. Our simulator writes {"PickRGB": {"polygons": ...}}.

The split file is a pickle from outside: it is read by an unpickler that
builds dicts, lists, tuples, sets, text and numbers, and refuses all else.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture, parse_region
from robollm_core.errors import DatasetError

VIEWS = ("PickRGB", "OnArmLowRGB", "ToteWallRGB")
"""The views of a pick in the order of the fusion network, which has no FarTrayRGB."""
ALL_VIEWS = (*VIEWS, "FarTrayRGB")
"""Every view there is; the nearest-neighbour protocol of amzn/armbench takes all four."""
REFERENCES = "Reference_Images"
"""Folder with a folder an item, pictures 1.jpg, 2.jpg, ..."""

SPLIT_FILE = "train-test-split.pickle"
_SPLIT_LIMIT = 256 * 2**20
_VAL_SHARE = 20
_SETS = {"set": set, "frozenset": frozenset}


@dataclass(frozen=True, slots=True)
class Pick:
    """One pick.

    Attributes:
        pick_id: name of its folder.
        item_id: the item picked (GT_ID); it may be absent from the manifest.
        manifest: item ids of the container, in the order of the file.
        views: view name to picture, of the views that are on disk.
    """

    pick_id: str
    item_id: str
    manifest: tuple[str, ...]
    views: Mapping[str, Picture]


@dataclass(frozen=True, slots=True)
class IdentificationSplit:
    """One split.

    Attributes:
        picks: in the order of the split file.
        references: item id to its reference pictures, of every item on one of
            the manifests or picked; items without references are left out.
    """

    picks: tuple[Pick, ...]
    references: Mapping[str, tuple[Picture, ...]]


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, text and numbers; anything that names code is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        # Python 2 and protocol 2 call it __builtin__; sets have no opcode of their own there
        if module_name in ("builtins", "__builtin__") and global_name in _SETS:
            return _SETS[global_name]
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside")


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Read train-test-split.pickle without running anything in it.

    Returns:
        Split name to ids, such as "trainset" and "trainset-objects".

    Raises:
        DatasetError: If it is missing, larger than 256 MiB, damaged, names any
            code, or does not hold lists of text.
    """
    try:
        if path.stat().st_size > _SPLIT_LIMIT:
            raise DatasetError(f"{path} is larger than {_SPLIT_LIMIT} bytes.")
        tree = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise DatasetError(f"cannot read the split file {path}: {error}") from error
    except DatasetError:
        raise
    except Exception as error:  # a hostile pickle may raise anything
        raise DatasetError(f"{path} is not a plain pickle of lists: {error}") from error
    if not isinstance(tree, dict):
        raise DatasetError(f"{path} must hold a dict of lists, got {type(tree).__name__}.")
    return {str(name): _id_list(ids, f"{path}: {name}") for name, ids in tree.items()}


def _id_list(ids: Any, source: str) -> list[str]:
    if isinstance(ids, set | frozenset):
        ids = sorted(ids, key=str)  # sets have no order of their own
    if not isinstance(ids, list | tuple) or not all(isinstance(i, str | int) for i in ids):
        raise DatasetError(f"{source} must be a list of ids.")
    return [safe_name(str(name), source) for name in ids]


def safe_name(name: str, source: str) -> str:
    """The name itself, if it can be that of a folder or file and of nothing above it.

    Raises:
        DatasetError: If it cannot; starts with `source`.
    """
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise DatasetError(f"{source}: {name!r} cannot be the name of a folder.")
    return name


def is_validation(item_id: str) -> bool:
    """Whether an item belongs to val where the split file has no val of its own."""
    return int(hashlib.sha256(item_id.encode()).hexdigest(), 16) % _VAL_SHARE == 0


def read_identification(
    root: Path,
    split: str,
    broken: BrokenFiles | None = None,
    views: Sequence[str] = VIEWS,
) -> IdentificationSplit:
    """Read one split at once; see `iterate_picks`.

    Returns:
        Its picks and their references, of which each item's folder was listed.

    Raises:
        DatasetError: If anything is missing or of another form.
    """
    picks = tuple(iterate_picks(root, split, broken, views))
    found = References(root / REFERENCES, wanted_items(picks))
    return IdentificationSplit(picks, dict(found.items()))


def iterate_picks(
    root: Path,
    split: str,
    broken: BrokenFiles | None = None,
    views: Sequence[str] = VIEWS,
) -> Iterator[Pick]:
    """Read one split, a pick at a time; only the list of ids is held.

    Args:
        root: folder with Picks, Reference_Images and train-test-split.pickle.
        split: "train", "val" or "test". Without a "valset" in the split file,
            every 20th item of train, by hash, is val.
        broken: takes the folders of picks that cannot be read, so that the others are.
        views: which are looked for, of `ALL_VIEWS`.

    Yields:
        The picks in the order of the split file; one listed twice comes once.

    Raises:
        DatasetError: If the split is missing or none of its picks can be read; without
            `broken`, at the first pick that is missing or of another form.
    """
    lists, name, own_val = _lists(root, split)
    empty = True
    for pick_id in dict.fromkeys(lists[name]):
        folder = root / "Picks" / pick_id
        try:
            pick = read_pick(folder, views)
        except DatasetError as error:
            if broken is None:
                raise
            broken.add(folder, error)
            continue
        if own_val or split == "test" or is_validation(pick.item_id) == (split == "val"):
            empty = False
            yield pick
    if empty:
        raise DatasetError(f"the split {split!r} of {root} is empty.")


def split_items(root: Path, split: str) -> tuple[str, ...]:
    """Items that the split file lists for a split ("testset-objects"), whether picked or not.

    Args:
        root: folder with train-test-split.pickle.
        split: "train", "val" or "test".

    Returns:
        Item ids in the order of the file; empty when the file lists none.

    Raises:
        DatasetError: If the file is missing or of another form, or lacks the split.
    """
    lists, name, own_val = _lists(root, split)
    items = lists.get(f"{name}-objects", [])
    if not own_val and split != "test":
        items = [item for item in items if is_validation(item) == (split == "val")]
    return tuple(dict.fromkeys(items))


def _lists(root: Path, split: str) -> tuple[dict[str, list[str]], str, bool]:
    """The split file, which of its lists a split is in, and whether val has its own."""
    lists = read_split_file(root / SPLIT_FILE)
    own_val = bool(lists.get("valset"))
    name = "trainset" if split == "val" and not own_val else f"{split}set"
    if name not in lists:
        raise DatasetError(f"{root / SPLIT_FILE} has no {name!r}; it has {sorted(lists)}.")
    return lists, name, own_val


def read_pick(folder: Path, views: Sequence[str] = VIEWS) -> Pick:
    """Read one pick.

    Args:
        folder: with annotation.json, container.json and the views that there are.
        views: which are looked for, of `ALL_VIEWS`.

    Returns:
        The pick; a view without an outline is the whole picture.

    Raises:
        DatasetError: If a file is missing or of another form.
    """
    annotation = _read_json(folder / "annotation.json")
    item_id = annotation.get("GT_ID") if isinstance(annotation, dict) else None
    if not isinstance(item_id, str | int) or isinstance(item_id, bool):
        raise DatasetError(f"{folder / 'annotation.json'} has no GT_ID.")
    pictures = {}
    for view in views:
        path = folder / f"{view}.jpg"
        if path.is_file():
            tree = _outline(annotation, view)
            pictures[view] = Picture(path, parse_region(tree, f"{folder}: {view}"))
    manifest = _manifest_ids(_read_json(folder / "container.json"), folder / "container.json")
    return Pick(folder.name, safe_name(str(item_id), str(folder)), manifest, pictures)


def _outline(annotation: Mapping[str, Any], view: str) -> Any:
    """What an annotation says of a view: at the top, or in a mapping one level down."""
    inner = (value for value in annotation.values() if isinstance(value, dict))
    for tree in (annotation, *inner):
        for name in (view, f"{view}.jpg"):
            if name in tree:
                return tree[name]
    return None


def _manifest_ids(tree: Any, source: Path) -> tuple[str, ...]:
    if not isinstance(tree, dict):
        raise DatasetError(f"{source} must be a mapping of products.")
    products = tree.get("products", tree.get("items"))
    if isinstance(products, list):
        names = [_product_id(product, source) for product in products]
    else:
        names = list(products if isinstance(products, dict) else tree)
    return tuple(dict.fromkeys(safe_name(name, str(source)) for name in names))


def _product_id(product: Any, source: Path) -> str:
    fields = product if isinstance(product, dict) else {"product_id": product}
    name = fields.get("product_id", fields.get("item_id"))
    if not isinstance(name, str):
        raise DatasetError(f"{source} has a product without an id.")
    return name


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def wanted_items(picks: Iterable[Pick]) -> tuple[str, ...]:
    """The items picked or on a manifest, each once, in the order they are met."""
    names = (name for pick in picks for name in (pick.item_id, *pick.manifest))
    return tuple(dict.fromkeys(names))


class References(Mapping[str, tuple[Picture, ...]]):
    """Reference pictures by item; a folder is listed when it is asked for.

    Memory holds the ids, and file names of the items asked for.
    """

    def __init__(self, root: Path, items: Iterable[str]) -> None:
        """Take ids; items without a picture are not in the mapping.

        Args:
            root: the folder Reference_Images.
            items: ids that may be asked for, each once.
        """
        self._root = root
        self._names: dict[str, tuple[str, ...] | None] = dict.fromkeys(items)

    def _files(self, item_id: str) -> tuple[str, ...]:
        names = self._names[item_id]
        if names is None:
            names = tuple(path.name for path in reference_files(self._root / item_id))
            self._names[item_id] = names
        return names

    def __getitem__(self, item_id: str) -> tuple[Picture, ...]:
        names = self._files(item_id)
        if not names:
            raise KeyError(item_id)
        return tuple(Picture(self._root / item_id / name) for name in names)

    def __iter__(self) -> Iterator[str]:
        return (item_id for item_id in self._names if self._files(item_id))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def reference_files(folder: Path) -> list[Path]:
    """The pictures of an item, 2.jpg before 10.jpg."""
    return sorted(folder.glob("*.jpg"), key=lambda path: (len(path.name), path.name))
