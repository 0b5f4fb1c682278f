# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the output folders of two evaluations, and sees that they may be compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.errors import DatasetError

RESULT, RECORDS = "result.json", "records.jsonl"

MAY_DIFFER = ("seed", "working_point", "precision")
"""Parts of a protocol that do not change what a sample's record says, or are what is compared."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One evaluation as it lies on disk.

    Attributes:
        folder: what --out named.
        stage: what was measured.
        figures: of the whole run.
        provenance: where they are from.
        records: by id, in the order of the file.
    """

    folder: Path
    stage: str
    figures: Mapping[str, Any]
    provenance: Mapping[str, Any]
    records: Mapping[str, Record]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The samples of two runs, in one order.

    Attributes:
        stage: what was measured.
        a, b: their records, one a sample, (n,) each.
        only_a, only_b: samples that one run alone has.
    """

    stage: str
    a: tuple[Record, ...]
    b: tuple[Record, ...]
    only_a: int = 0
    only_b: int = 0


def read_run(folder: Path) -> Run:
    """Read what `robollm evaluate STAGE ... --out FOLDER` wrote.

    Raises:
        DatasetError: If a file is missing or is not of that form.
    """
    try:
        tree = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        lines = (folder / RECORDS).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        records = {str(row["id"]): row for row in rows}
        run = Run(folder, tree["stage"], tree["figures"], tree["provenance"], records)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder} is not the output of an evaluation: {error!r}. Expected {RESULT} and "
            f"{RECORDS}, as `robollm evaluate STAGE DATASET --models M --out {folder}` writes them."
        ) from error
    if len(records) != len(rows) or not records:
        raise DatasetError(
            f"{folder / RECORDS} has {len(rows)} lines and {len(records)} different ids; expected "
            "one line a sample. Evaluate again."
        )
    return run


def pair_runs(a: Run, b: Run, truths: Mapping[str, Sequence[str]], *, common: bool = False) -> Pair:
    """Put the samples of two runs side by side.

    Args:
        a: one run.
        b: the other.
        truths: stage to the fields of a record that say what is true.
        common: leave out what one run alone has, instead of refusing.

    Raises:
        DatasetError: If they are of other stages, splits, protocols, samples or truths.
    """
    if a.stage != b.stage or a.stage not in truths:
        raise DatasetError(
            f"{a.folder} is of {a.stage!r} and {b.folder} of {b.stage!r}; expected two runs of "
            f"the same stage, one of {', '.join(truths)}."
        )
    _check_split(a, b)
    _check_protocols(a, b)
    shared = [name for name in a.records if name in b.records]
    only_a, only_b = len(a.records) - len(shared), len(b.records) - len(shared)
    if not shared or ((only_a or only_b) and not common):
        raise DatasetError(
            f"the runs are of different data: {len(shared)} samples are in both, {only_a} only in "
            f"{a.folder}, {only_b} only in {b.folder}. "
            + ("Evaluate both on the same data." if not shared else "")
            + ("Evaluate both on the same data, or compare what is in both with --common."
               if shared else "")
        )  # fmt: skip
    rows = [(a.records[name], b.records[name]) for name in shared]
    _check_truths(a.stage, rows, truths[a.stage])
    return Pair(a.stage, tuple(x for x, _ in rows), tuple(y for _, y in rows), only_a, only_b)


def _check_split(a: Run, b: Run) -> None:
    splits = [run.provenance.get("data", {}).get("split", "") for run in (a, b)]
    if splits[0] != splits[1]:
        raise DatasetError(
            f"{a.folder} is of the split {splits[0]!r}, {b.folder} of {splits[1]!r}. Evaluate both "
            "with the same --split."
        )


def _check_protocols(a: Run, b: Run) -> None:
    """Refuse where what is compared was obtained in another way."""
    ours, theirs = _protocol(a), _protocol(b)
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if name not in MAY_DIFFER and one != other:
            raise DatasetError(
                f"the protocols differ in {name}: {_brief(one)} in {a.folder}, {_brief(other)} in "
                f"{b.folder}. Evaluate both with the same version and options."
            )


def _protocol(run: Run) -> Mapping[str, Any]:
    protocol = run.figures.get("protocol", {})
    return protocol if isinstance(protocol, Mapping) else {"words": protocol}


def _check_truths(stage: str, rows: Sequence[tuple[Record, Record]], fields: Sequence[str]) -> None:
    for a, b in rows:
        if fields[0] not in a or fields[0] not in b:
            raise DatasetError(
                f"the record {a['id']!r} of {stage} has no {fields[0]!r}. Evaluate again with this "
                "version."
            )
        for name in fields:
            one, other = a.get(name), b.get(name)
            if one != other:
                raise DatasetError(
                    f"the runs do not agree on what is true: {name} of {a['id']!r} is "
                    f"{_brief(one)} in one and {_brief(other)} in the other. The labels have "
                    "changed between the runs; evaluate both again."
                )


def _brief(tree: Any) -> str:
    text = json.dumps(tree, sort_keys=True)
    return text if len(text) <= 160 else f"{text[:150]} ..."
