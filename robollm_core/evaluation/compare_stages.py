# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is compared of each stage: figures of two runs on the same samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.errors import DatasetError
from robollm_core.evaluation import compare_statistics as pairs
from robollm_core.evaluation.compare_runs import Pair, Record
from robollm_core.evaluation.compare_statistics import (
    BOOTSTRAP,
    FLIPS,
    MCNEMAR,
    Difference,
    Resampling,
    Statistic,
)
from robollm_core.evaluation.intervals import auroc, recall_at_fpr
from robollm_core.evaluation.precision import IOUS, Row, accumulate, from_json, pruned, row
from robollm_core.types import DEFECT_LABELS

RANKS = (1, 2, 3, 5)
WAYS = ("n1", "n3", "nearest")
PRECISIONS = {"mask_map": IOUS, "mask_map50": (0.5,), "mask_map75": (0.75,)}
RATES = {"recall_at_fpr_10": 0.10, "recall_at_fpr_01": 0.01}

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def identification(pair: Pair, how: Resampling) -> list[Difference]:
    """Recall and reciprocal rank of each way of asking; a pick is a unit.

    A pick counts where its item is in the gallery, that is, where it has a rank.
    """
    differences: list[Difference] = []
    for way in WAYS:
        a, b = (_ranks(run, way) for run in (pair.a, pair.b))
        closed = [i for i in range(len(a)) if _both(a[i], b[i], str(pair.a[i]["id"]))]
        if closed:
            ranks = tuple(np.array([own[i] for i in closed], np.float64) for own in (a, b))
            differences += _of_ranks(ranks[0], ranks[1], way, how)
    if not differences:
        raise DatasetError("no pick has a rank in both runs; there is nothing to compare.")
    return differences


def _ranks(records: Sequence[Record], way: str) -> list[int | None]:
    return [(record.get(way) or {}).get("rank") for record in records]


def _both(a: int | None, b: int | None, name: str) -> bool:
    if (a is None) != (b is None):
        raise DatasetError(
            f"pick {name!r} has a rank in one run only: its item was in one gallery and not in the "
            "other. Evaluate both on the same data, with the same options."
        )
    return a is not None


def _of_ranks(a: Floats, b: Floats, way: str, how: Resampling) -> list[Difference]:
    right = [{k: own <= k for k in RANKS} for own in (a, b)]
    columns = [np.stack([*(own <= k for k in RANKS), 1 / own], axis=1) for own in (a, b)]
    units = np.ones(len(a))
    drawn = pairs.resample(pairs.ratio((columns[0], columns[1]), (units, units)), units, how)
    found = [
        _right_or_wrong(f"recall_at_{k}_{way}", drawn, column, (right[0][k], right[1][k]))
        for column, k in enumerate(RANKS)
    ]
    last = len(RANKS)
    p = pairs.swaps(1 / b - 1 / a, how)
    figure = drawn.difference(last, len(a))
    mrr = Difference(f"mrr_{way}", float(drawn.a[last]), float(drawn.b[last]), figure, p, FLIPS)
    return [*found, mrr]


def _right_or_wrong(
    name: str, drawn: pairs.Sampled, column: int, right: tuple[Bools, Bools]
) -> Difference:
    discordant = pairs.discordance(*right)
    return Difference(
        name,
        float(drawn.a[column]),
        float(drawn.b[column]),
        drawn.difference(column, len(right[0])),
        pairs.mcnemar(discordant),
        MCNEMAR,
        discordant,
    )


def defects(pair: Pair, how: Resampling) -> list[Difference]:
    """Recall at two rates of false alarms, AUROC, and images flagged rightly; an image is a unit.

    Nominal and defective images are drawn apart, so their numbers stay.
    """
    nominal = DEFECT_LABELS.index("nominal")
    bad = np.array([record["label"] != DEFECT_LABELS[nominal] for record in pair.a], np.bool_)
    if bad.all() or not bad.any():
        raise DatasetError("the samples need nominal and defective images, to compare recalls.")
    scores = [
        np.array([1.0 - record["probabilities"][nominal] for record in run], np.float64)
        for run in (pair.a, pair.b)
    ]
    drawn = pairs.resample(_of_scores(scores[0], scores[1], bad), bad, how)
    names = (*RATES, "auroc")
    count = int(bad.sum())
    found = [
        _by_bootstrap(name, drawn, column, len(bad) if name == "auroc" else count)
        for column, name in enumerate(names)
    ]
    flagged = [np.array([bool(r["flagged"]) for r in run], np.bool_) for run in (pair.a, pair.b)]
    return [*found, _means("flagged_right", (flagged[0] == bad, flagged[1] == bad), how)]


def _by_bootstrap(name: str, drawn: pairs.Sampled, column: int, n: int) -> Difference:
    a, b = float(drawn.a[column]), float(drawn.b[column])
    return Difference(name, a, b, drawn.difference(column, n), drawn.p_value(column), BOOTSTRAP)


def _means(name: str, right: tuple[Bools, Bools], how: Resampling) -> Difference:
    units = np.ones(len(right[0]))
    statistic = pairs.ratio((right[0][:, None], right[1][:, None]), (units, units))
    return _right_or_wrong(name, pairs.resample(statistic, units, how), 0, right)


def _of_scores(a: Floats, b: Floats, bad: Bools) -> Statistic:
    measures = [*(recall_at_fpr(rate) for rate in RATES.values()), auroc]
    rows_bad, rows_good = np.flatnonzero(bad), np.flatnonzero(~bad)

    def statistic(counts: pairs.Counts) -> tuple[Floats, Floats]:
        ill = np.repeat(rows_bad, counts[rows_bad])
        good = np.repeat(rows_good, counts[rows_good])
        first, second = (
            np.array([measure(scores[ill], scores[good]) for measure in measures])
            for scores in (a, b)
        )
        return first, second

    return statistic


def segmentation(pair: Pair, how: Resampling) -> list[Difference]:
    """AP, AP50 and AP75 of masks, object alone, of each subset; an image is a unit."""
    differences: list[Difference] = []
    subsets = dict.fromkeys(str(record.get("subset", "")) for record in pair.a)
    for subset in subsets:
        rows = [_rows_of(run, subset) for run in (pair.a, pair.b)]
        if not any(len(one["gtIgnore"]) for one in rows[0]):
            continue
        drawn = pairs.resample(_of_rows(rows[0], rows[1]), np.ones(len(rows[0])), how)
        start = f"{subset}." if len(subsets) > 1 else ""
        differences += [
            _by_bootstrap(start + name, drawn, column, len(rows[0]))
            for column, name in enumerate(PRECISIONS)
        ]
    if not differences:
        raise DatasetError("no image has an object to find; there is nothing to compare.")
    return differences


def _rows_of(run: Sequence[Record], subset: str) -> list[Row]:
    own = [from_json(record) for record in run if str(record.get("subset", "")) == subset]
    return [row(one) for one in pruned(own)]


def _of_rows(a: Sequence[Row], b: Sequence[Row]) -> Statistic:
    """Precisions by pycocotools, which draws the curves of each resample."""
    columns = [[IOUS.index(iou) for iou in ious] for ious in PRECISIONS.values()]

    def statistic(counts: pairs.Counts) -> tuple[Floats, Floats]:
        chosen = np.repeat(np.arange(len(counts)), counts)
        first, second = (
            accumulate([[rows[i] for i in chosen]]).eval["precision"].reshape(len(IOUS), -1)
            for rows in (a, b)
        )
        found = []
        for curves in (first, second):
            # pycocotools writes -1 where no truth is
            own = np.where(curves < 0, np.nan, curves).mean(axis=1)
            found.append(np.array([own[column].mean() for column in columns]))
        return found[0], found[1]

    return statistic


def cell(pair: Pair, how: Resampling) -> list[Difference]:
    """Shares of the things that were found, named and judged rightly; a frame is a unit.

    Each of all things of which the truth is known, so that a thing not found is also
    not named: the runs are compared on the same things.
    """
    frames = [str(record["id"]).rpartition("/")[0] for record in pair.a]
    units = np.unique(frames, return_inverse=True)[1]
    measures: dict[str, Callable[[Record], bool | None]] = {
        "found": lambda record: bool(record["found"]),
        "item_right": lambda record: record["item_right"],
        "defect_right": _defect_right,
        "all_right": lambda record: record["all_right"],
    }
    differences = []
    for name, measure in measures.items():
        answers = [(measure(a), measure(b)) for a, b in zip(pair.a, pair.b, strict=True)]
        known = np.array([None not in both for both in answers], np.bool_)
        if known.any():
            right = np.array([[bool(x) for x in both] for both in answers], np.bool_)
            differences.append(_in_frames(name, right[known], units[known], how))
    if not differences:
        raise DatasetError("nothing is known to be true of any thing; there is nothing to compare.")
    return differences


def _defect_right(record: Record) -> bool | None:
    if not record["defect_truth"]:
        return None
    return bool(record["found"]) and record["defect"] == record["defect_truth"]


def _in_frames(
    name: str, right: Bools, frames: npt.NDArray[np.intp], how: Resampling
) -> Difference:
    """Compare (n, 2) answers of A and B whose things come in frames, (n,)."""
    number = np.unique(frames, return_inverse=True)[1]
    sums = [np.bincount(number, weights=right[:, column])[:, None] for column in (0, 1)]
    things = np.bincount(number).astype(np.float64)
    drawn = pairs.resample(
        pairs.ratio((sums[0], sums[1]), (things, things)), np.ones(len(things)), how
    )
    return _right_or_wrong(name, drawn, 0, (right[:, 0], right[:, 1]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How runs of a stage are compared.

    Attributes:
        differences: figures of both runs.
        truths: fields of a record that say what is true, the first of which is always
            there; both runs must agree on them.
        unit: what is drawn, in the plural.
        resamples: how many, unless asked otherwise.
    """

    differences: Callable[[Pair, Resampling], list[Difference]]
    truths: tuple[str, ...]
    unit: str
    resamples: int = 2000


COMPARISONS = {
    "segmentation": Comparison(segmentation, ("positives", "subset"), "images", 1000),
    "identification": Comparison(identification, ("item", "group", "manifest"), "picks"),
    "defects": Comparison(defects, ("label",), "images"),
    "cell": Comparison(cell, ("item", "on_manifest", "defect_truth"), "frames"),
}
"""Stage to its comparison. Drawing curves anew takes longer than counting, hence fewer."""
