# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Is a data set whole? Looked into before hours are spent on it.

The layout is told from what is on disk; one folder may hold several, such as the
index files of RoboLLM beside ARMBench's picks. Every list and every picture is
looked at; nothing is changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robollm_core.data.check_defects import (
    check_defect_folder,
    check_defects,
    defect_splits,
    folder_splits,
)
from robollm_core.data.check_identification import (
    check_identification,
    check_index,
    index_splits,
    pick_splits,
)
from robollm_core.data.check_ledger import KINDS, Ledger
from robollm_core.data.check_segmentation import check_segmentation, coco_files
from robollm_core.errors import DatasetError


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a layout is told, and how it is checked."""

    splits: Callable[[Path], tuple[str, ...]]
    check: Callable[[Path, tuple[str, ...], Ledger], None]
    form: str


LAYOUTS = {
    "segmentation": _Layout(
        lambda root: tuple(coco_files(root)),
        check_segmentation,
        "mix-object-tote/{images/,test.json}",
    ),
    "identification": _Layout(
        pick_splits, check_identification, "Picks/, Reference_Images/, train-test-split.pickle"
    ),
    "released index": _Layout(
        index_splits, check_index, "all_test_data.json, test_data_3t1.json beside Picks/"
    ),
    "defects": _Layout(defect_splits, check_defects, "data/, train.csv, test.csv"),
    "class folders": _Layout(
        folder_splits, check_defect_folder, "imagenet/test/{multi_pick,nominal,package_defect}/"
    ),
}
"""The layouts by name, in the order in which they are checked."""


def find_layouts(root: Path) -> dict[str, tuple[str, ...]]:
    """The layouts that a folder has, to their splits.

    Raises:
        DatasetError: If it has none; says what was looked for.
    """
    found = {name: layout.splits(root) for name, layout in LAYOUTS.items()}
    found = {name: splits for name, splits in found.items() if splits}
    if not found:
        forms = "; ".join(f"{name}: {layout.form}" for name, layout in LAYOUTS.items())
        raise DatasetError(f"{root} has no layout that is known. Looked for {forms}.")
    return found


def check_dataset(root: Path, split: str = "", decode: bool = False) -> Ledger:
    """Look at a data set.

    Args:
        root: its folder.
        split: only this split; "" for all that are on disk.
        decode: decode every picture. Else only its first and last bytes and its size
            are looked at, and it is decoded only if they are not as they should be.

    Returns:
        What was found; its facts say the layouts.

    Raises:
        DatasetError: If the folder has no known layout, or lacks the split.
    """
    found = find_layouts(root)
    chosen = {name: tuple(s for s in splits if split in ("", s)) for name, splits in found.items()}
    if not any(chosen.values()):
        every = sorted({s for splits in found.values() for s in splits})
        raise DatasetError(f"{root} has no split {split!r}; it has {', '.join(every)}.")
    ledger = Ledger(root, decode)
    ledger.facts["layouts"] = {name: list(splits) for name, splits in chosen.items() if splits}
    for name, splits in chosen.items():
        if splits:
            LAYOUTS[name].check(root, splits, ledger)
    ledger.close()
    return ledger


def describe(ledger: Ledger, first: int = 3) -> list[str]:
    """What was found, as lines to read.

    Args:
        ledger: of `check_dataset`.
        first: how many findings of a kind are shown.

    Returns:
        Lines: layouts, samples, shares that are not 0, findings by kind, verdict.
    """
    lines = [f"{ledger.root}: {', '.join(ledger.facts['layouts'])}"]
    for name, tally in ledger.tallies.items():
        lines.append(f"{name}: {tally.samples} samples, {tally.broken} cannot be used")
    for split, counted in ledger.facts.get("index", {}).items():
        said = "disjoint" if counted["disjoint"] else f"{counted['both']} in both"
        lines.append(
            f"index {split}: {counted['one_view']} picks in the one-view file, "
            f"{counted['three_views']} in the three-view file, {said}"
        )
    for name, share in ledger.shares.items():
        if share.count:
            lines.append(f"{name}: {share.count} of {share.of} ({share.count / share.of:.1%})")
    for kind, count in ledger.counts().items():
        lines.append(f"{kind}: {count} ({KINDS[kind]})")
        shown = [finding for finding in ledger.findings if finding.kind == kind][:first]
        lines += [f"  {finding.path}: {finding.detail}" for finding in shown]
        lines += [f"  and {count - first} more"] if count > first else []
    verdict = "can be used" if ledger.usable else "cannot be used: too much is broken"
    return [*lines, verdict]
