# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files and the baseline of ARMBench's own scripts.

`output_csv` is what identification/print_results.py of amzn/armbench reads.
`nearest` is the protocol of its identification/test.py, restated: every view of a
pick against every reference image of its manifest by cosine distance, the item of
the nearest image wins; confidence is 1 - p2 / p1 of a softmax over the negative
distances of the items; a pick whose manifest has no reference image answers
nothing, which counts as wrong, as does a pick whose item has none.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from robollm_core.data.armbench_identification import Pick
from robollm_core.evaluation.identification_protocols import LONE_MARGIN, Answer
from robollm_core.evaluation.intervals import proportion
from robollm_core.types import Float32Array

COLUMNS = (
    "testcase", "predicted-fnsku", "predicted-score", "gt-fnsku", "gt-ref", "manifest-size",
    "effective-manifest", "all-predictions", "all-scores", "confidence",
)  # fmt: skip

Gallery = Mapping[str, Float32Array]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The answer to one pick as a row of output.csv.

    Attributes:
        pick: what was asked.
        items: with references, the nearest first; empty where the manifest has none.
        distances: one an item, ascending.
        confidence: from 0 to 1; 1 where there is one item.
    """

    pick: Pick
    items: tuple[str, ...] = ()
    distances: tuple[float, ...] = ()
    confidence: float = 0.0

    @property
    def chosen(self) -> str:
        """The nearest item, "" without any."""
        return self.items[0] if self.items else ""

    @property
    def right(self) -> bool:
        """Whether the nearest item is the true one."""
        return self.chosen == self.pick.item_id

    @property
    def similarity(self) -> float:
        """1 minus the smallest distance; 0 without any."""
        return 1.0 - self.distances[0] if self.distances else 0.0

    @property
    def margin(self) -> float:
        """Lead of the nearest item over the next."""
        return self.distances[1] - self.distances[0] if len(self.items) > 1 else LONE_MARGIN

    @property
    def rank(self) -> int:
        """Place of the true item, from 1; 0 where it is not among the items."""
        return self.items.index(self.pick.item_id) + 1 if self.pick.item_id in self.items else 0


def nearest(pick: Pick, views: Sequence[Float32Array], gallery: Gallery) -> Verdict:
    """Ask for a pick as amzn's script does.

    Args:
        pick: what is asked.
        views: (D,) each, of the views that the pick has.
        gallery: item to (references, D); items of the manifest that are not in it
            are left out.

    Returns:
        The verdict; of two items as near as each other the true one comes last.
    """
    names = [name for name in dict.fromkeys(pick.manifest) if name in gallery]
    if not names or not views:
        return Verdict(pick)
    queries = _unit(np.stack(views))
    best = np.array([float((1.0 - queries @ _unit(gallery[n]).T).min()) for n in names])
    true = np.array([name == pick.item_id for name in names])
    order = np.lexsort((true, best))
    distances = best[order]
    return Verdict(
        pick,
        tuple(names[index] for index in order),
        tuple(distances.tolist()),
        confidence_of(distances),
    )


def _unit(rows: Float32Array) -> Floats:
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.maximum(length, np.finfo(np.float64).tiny))


def confidence_of(distances: Floats) -> float:
    """1 - p2 / p1 over a softmax of the negative distances, ascending; 1 of a single one."""
    if len(distances) < 2:
        return 1.0
    shares = special.softmax(-distances)
    return float(1.0 - shares[1] / shares[0])


def verdict_of(answer: Answer) -> Verdict:
    """An answer of our own protocol as a row: 1 minus the score stands for the distance."""
    distances = (1.0 - answer.scores.astype(np.float64)).tolist()
    return Verdict(answer.pick, answer.items, tuple(distances), answer.confidence)


def output_csv(verdicts: Iterable[Verdict]) -> bytes:
    """The file that amzn's print_results.py reads, one row a pick that was asked."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(_row(one) for one in verdicts)
    return text.getvalue().encode()


def _row(one: Verdict) -> dict[str, object]:
    return {
        "testcase": one.pick.pick_id,
        "predicted-fnsku": one.chosen,
        "predicted-score": one.distances[0] if one.distances else 0,
        "gt-fnsku": one.pick.item_id,
        "gt-ref": one.pick.item_id in one.items,
        "manifest-size": len(one.pick.manifest),
        "effective-manifest": len(one.items),
        "all-predictions": list(one.items),
        "all-scores": list(one.distances),
        "confidence": one.confidence,
    }


def retrieval(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What print_results.py says of an output.csv, and as a figure with its interval.

    Returns:
        "id_retrieval_rate" in percent, as the script prints it; "share", the same
        from 0 to 1; "protocol".
    """
    right = [one.right for one in verdicts]
    rate = float(sum(right)) / float(len(right)) * 100 if right else 0.0
    return {
        "id_retrieval_rate": rate,
        "share": proportion(right),
        "protocol": "As identification/print_results.py of amzn/armbench counts: of all rows, "
        "those whose item is right; a pick whose item is not among the references is wrong.",
    }
