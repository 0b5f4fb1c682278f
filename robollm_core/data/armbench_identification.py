# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of ARMBench's identification layout (spec section 4).

The split file is a pickle from outside: it is read by an unpickler that
builds dicts, lists, tuples, sets, text and numbers, and refuses all else.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from robollm_core.data.samples import Picture, parse_region
from robollm_core.errors import DatasetError

VIEWS = ("PickRGB", "OnArmLowRGB", "ToteWallRGB")
"""The views of a pick in the order of the fusion network; FarTrayRGB is not used."""

_SPLIT_FILE = "train-test-split.pickle"
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
    return [_safe_name(str(name), source) for name in ids]


def _safe_name(name: str, source: str) -> str:
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise DatasetError(f"{source}: {name!r} cannot be the name of a folder.")
    return name


def is_validation(item_id: str) -> bool:
    """Whether an item belongs to val where the split file has no val of its own."""
    return int(hashlib.sha256(item_id.encode()).hexdigest(), 16) % _VAL_SHARE == 0


def read_identification(root: Path, split: str) -> IdentificationSplit:
    """Read one split.

    Args:
        root: folder with Picks, Reference_Images and train-test-split.pickle.
        split: "train", "val" or "test". Without a "valset" in the split file,
            every 20th item of train, by hash, is val.

    Returns:
        Its picks and their references.

    Raises:
        DatasetError: If anything is missing or of another form.
    """
    lists = read_split_file(root / _SPLIT_FILE)
    own_val = bool(lists.get("valset"))
    name = "trainset" if split == "val" and not own_val else f"{split}set"
    if name not in lists:
        raise DatasetError(f"{root / _SPLIT_FILE} has no {name!r}; it has {sorted(lists)}.")
    picks = tuple(_read_pick(root / "Picks" / pick_id) for pick_id in lists[name])
    if not own_val and split != "test":
        picks = tuple(p for p in picks if is_validation(p.item_id) == (split == "val"))
    if not picks:
        raise DatasetError(f"the split {split!r} of {root} is empty.")
    return IdentificationSplit(picks, _read_references(root / "Reference_Images", picks))


def _read_pick(folder: Path) -> Pick:
    annotation = _read_json(folder / "annotation.json")
    item_id = annotation.get("GT_ID") if isinstance(annotation, dict) else None
    if not isinstance(item_id, str | int) or isinstance(item_id, bool):
        raise DatasetError(f"{folder / 'annotation.json'} has no GT_ID.")
    regions = annotation.get("annotations", annotation.get("polygons", annotation))
    views = {}
    for view in VIEWS:
        path = folder / f"{view}.jpg"
        if path.is_file():
            tree = regions.get(view, regions.get(path.name))
            views[view] = Picture(path, parse_region(tree, f"{folder}: {view}"))
    manifest = _manifest_ids(_read_json(folder / "container.json"), folder / "container.json")
    return Pick(folder.name, _safe_name(str(item_id), str(folder)), manifest, views)


def _manifest_ids(tree: Any, source: Path) -> tuple[str, ...]:
    if not isinstance(tree, dict):
        raise DatasetError(f"{source} must be a mapping of products.")
    products = tree.get("products", tree.get("items"))
    if isinstance(products, list):
        names = [_product_id(product, source) for product in products]
    else:
        names = list(products if isinstance(products, dict) else tree)
    return tuple(dict.fromkeys(_safe_name(name, str(source)) for name in names))


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


def _read_references(root: Path, picks: tuple[Pick, ...]) -> dict[str, tuple[Picture, ...]]:
    wanted = dict.fromkeys(name for pick in picks for name in (pick.item_id, *pick.manifest))
    references = {}
    for item_id in wanted:
        files = sorted((root / item_id).glob("*.jpg"), key=lambda path: (len(path.name), path.name))
        if files:
            references[item_id] = tuple(Picture(path) for path in files)
    return references
