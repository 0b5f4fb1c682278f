# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of ARMBench's identification layout, and of the released index files over it."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from robollm_core.data.armbench_identification import (
    ALL_VIEWS,
    REFERENCES,
    SPLIT_FILE,
    VIEWS,
    Pick,
    read_pick,
    read_split_file,
    reference_files,
)
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.check_ledger import Ledger
from robollm_core.data.released_index import (
    IndexedPick,
    count_index,
    index_files,
    iterate_indexed,
)
from robollm_core.errors import DatasetError

SPLITS = ("train", "val", "test")
_FILES = ("annotation.json", "container.json")


class _Items:
    """Items met so far, to whether they have a reference; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.folder = root / REFERENCES
        self.known: dict[str, bool] = {}

    def has(self, item_id: str) -> bool:
        if item_id not in self.known:
            self.known[item_id] = bool(reference_files(self.folder / item_id))
        return self.known[item_id]


def pick_splits(root: Path) -> tuple[str, ...]:
    """The splits that the split file lists picks of; none without the file.

    Raises:
        DatasetError: If the file cannot be read.
    """
    if not (root / SPLIT_FILE).is_file():
        return ()
    lists = read_split_file(root / SPLIT_FILE)
    return tuple(split for split in SPLITS if lists.get(f"{split}set"))


def check_identification(root: Path, splits: tuple[str, ...], ledger: Ledger) -> None:
    """Look at every pick of some splits, and at every reference they need.

    Args:
        root: folder with Picks, Reference_Images and the split file.
        splits: of `pick_splits`.
        ledger: takes what is found.
    """
    lists = read_split_file(root / SPLIT_FILE)
    _check_overlap(lists, ledger)
    items = _Items(root)
    for split in splits:
        tally = f"identification {split}"
        listed = lists[f"{split}set"]
        seen: set[str] = set()
        for pick_id in ledger.progress(listed, len(listed), tally):
            if pick_id in seen:
                ledger.note("duplicate id", pick_id, f"the pick is listed twice in {split}set.")
                continue
            seen.add(pick_id)
            ledger.sample(tally, _check_pick(root / "Picks" / pick_id, items, ledger))
        for item_id in lists.get(f"{split}set-objects", []):
            items.has(item_id)
    _check_references(items, ledger)


def _check_overlap(lists: dict[str, list[str]], ledger: Ledger) -> None:
    for end, what in (("set", "pick"), ("set-objects", "item")):
        named = {split: set(lists.get(f"{split}{end}", [])) for split in SPLITS}
        for one, two in combinations(SPLITS, 2):
            for name in sorted(named[one] & named[two]):
                ledger.note("in two splits", name, f"the {what} is in {one} and in {two}.")


def _check_pick(folder: Path, items: _Items, ledger: Ledger) -> bool:
    """Whether a pick can be used."""
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        ledger.note("missing", folder, f"there is no {' and no '.join(missing)}.")
        return False
    try:
        pick = read_pick(folder, ALL_VIEWS)
    except DatasetError as error:
        ledger.note("broken", folder, error)
        return False
    if not pick.manifest:
        ledger.note("empty", folder, "its manifest lists no item.")
    _count_manifest(pick, folder, items, ledger)
    return _check_views(pick, folder, ledger)


def _count_manifest(pick: Pick, where: Path, items: _Items, ledger: Ledger) -> None:
    listed = pick.item_id in pick.manifest
    if not listed:
        ledger.note("not on manifest", where, f"it is of item {pick.item_id}, which is not listed.")
    ledger.share("picks whose item is not on the manifest", not listed)
    ledger.share("picks whose item has no reference", not items.has(pick.item_id))
    lacking = [name for name in pick.manifest if not items.has(name)]
    ledger.share("picks with an item without reference on the manifest", bool(lacking))


def _check_views(pick: Pick, where: Path, ledger: Ledger) -> bool:
    for view in ALL_VIEWS:
        ledger.share(f"picks without {view}", view not in pick.views)
    ledger.share("picks without all three views of N=3", not set(VIEWS) <= set(pick.views))
    outlined = any(picture.region is not None for picture in pick.views.values())
    ledger.share("picks without an outline (whole pictures)", not outlined)
    if not pick.views:
        ledger.note("missing", where, f"it has no view of {', '.join(ALL_VIEWS)}.")
        return False
    usable = [ledger.picture(picture.path, picture.region) for picture in pick.views.values()]
    return all(usable)


def _check_references(items: _Items, ledger: Ledger) -> None:
    folders = sorted(items.known)
    for item_id in ledger.progress(folders, len(folders), "references"):
        files = reference_files(items.folder / item_id)
        ledger.share("items without a reference", not files)
        if not files:
            ledger.note("no references", items.folder / item_id, f"item {item_id} has no picture.")
        for path in files:
            ledger.share("references that cannot be used", not ledger.picture(path))


def index_splits(root: Path) -> tuple[str, ...]:
    """The splits that there are released index files of."""
    return tuple(split for split in SPLITS if index_files(root, split))


def check_index(root: Path, splits: tuple[str, ...], ledger: Ledger) -> None:
    """Look at every pick of the released index files, and at the pictures they name.

    Args:
        root: folder with the index files, Picks and Reference_Images.
        splits: of `index_splits`.
        ledger: takes what is found; its facts say how the two files overlap.
    """
    pictures: set[Path] = set()
    seen: dict[str, str] = {}
    for split in splits:
        tally = f"index {split}"
        try:
            counted = count_index(root, split)
            ledger.facts.setdefault("index", {})[split] = counted.to_json()
            total = counted.one_view + counted.three_views - counted.both
            broken = BrokenFiles()
            picks = iterate_indexed(root, split, None, broken, ALL_VIEWS)
            for indexed in ledger.progress(picks, total, tally):
                ledger.sample(tally, _check_indexed(root, indexed, pictures, ledger))
                _check_split(indexed.pick.pick_id, split, seen, ledger)
        except DatasetError as error:  # a broken file, or one without a pick that can be read
            ledger.note("broken", root, error)
            ledger.sample(tally, usable=False)
        for entry in broken.entries:
            kind = "broken" if Path(entry.path).is_dir() else "missing"
            ledger.note(kind, entry.path, entry.reason)
            ledger.sample(tally, usable=False)


def _check_split(pick_id: str, split: str, seen: dict[str, str], ledger: Ledger) -> None:
    other = seen.setdefault(pick_id, split)
    if other != split:
        ledger.note("in two splits", pick_id, f"the pick is in {other} and in {split}.")


def _check_indexed(root: Path, indexed: IndexedPick, seen: set[Path], ledger: Ledger) -> bool:
    pick = indexed.pick
    where = root / "Picks" / pick.pick_id
    if not indexed.gallery:
        ledger.note("empty", where, f"its gallery in {indexed.file} has no picture.")
    listed = pick.item_id in pick.manifest
    if not listed:
        said = f"{indexed.file} says item {pick.item_id}, which is not in its gallery."
        ledger.note("not on manifest", where, said)
    ledger.share("index: picks whose item is not in the gallery", not listed)
    _check_new((picture.path for picture in indexed.gallery), seen, ledger)
    usable = [ledger.picture(picture.path) for picture in pick.views.values()]
    return bool(usable) and all(usable)


def _check_new(paths: Iterable[Path], seen: set[Path], ledger: Ledger) -> None:
    for path in paths:
        if path not in seen:
            seen.add(path)
            ledger.share("index: references that cannot be used", not ledger.picture(path))
