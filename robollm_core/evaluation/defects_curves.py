# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of defect detection: ROC, precision and recall, and abstaining."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from robollm_core.evaluation.defects_judged import NOMINAL, Judged
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import proportion
from robollm_core.types import Float32Array

POINTS = 200
"""Points of a curve, at most."""
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the images that the network answers, of the table."""

_STEP = 0.02
_DIGITS = 6
_ODDS_LIMIT = 1e-9

Floats = npt.NDArray[np.float64]


def curves(judged: Judged) -> dict[str, Any]:
    """Both curves of all defects together and of each class against the nominal images.

    Returns:
        "roc" and "pr", each from "combined" and the class names to lists of at
        most `POINTS` numbers: "fpr" and "recall", ascending; "recall", descending,
        and "precision".
    """
    groups = {"combined": judged.bad} | {name: judged.own(name) for name in judged.present}
    return {
        "roc": {name: roc(scores, judged.good) for name, scores in groups.items()},
        "pr": {name: precision_recall(scores, judged.good) for name, scores in groups.items()},
    }


def roc(positive: Float32Array, negative: Float32Array) -> dict[str, list[float]]:
    """The ROC curve, dense where the FPR is low.

    Args:
        positive: (a,) scores of defective images, a at least 1.
        negative: (b,) scores of nominal images, b at least 1.

    Source:
        scikit-learn's roc_curve.
    """
    fpr, recall, _ = roc_curve(*_together(positive, negative))
    targets = np.concatenate(
        (np.linspace(0, 1, POINTS // 2), np.geomspace(1 / len(negative), 1, POINTS // 2 - 1))
    )
    # the last point of each target is the best recall that its FPR allows
    chosen = np.searchsorted(fpr, targets + 1e-12, side="right") - 1
    kept = np.unique(np.concatenate(([0], chosen)))
    return {"fpr": _listed(fpr[kept]), "recall": _listed(recall[kept])}


def precision_recall(positive: Float32Array, negative: Float32Array) -> dict[str, list[float]]:
    """The precision and recall curve at the samples' own mix.

    Args:
        positive: (a,) scores of defective images, a at least 1.
        negative: (b,) scores of nominal images.

    Source:
        scikit-learn's precision_recall_curve.
    """
    precision, recall, _ = precision_recall_curve(*_together(positive, negative))
    if len(recall) > POINTS:
        targets = np.linspace(0, 1, POINTS)
        kept = np.unique(np.searchsorted(-recall, -targets, side="left").clip(0, len(recall) - 1))
        precision, recall = precision[kept], recall[kept]
    return {"recall": _listed(recall), "precision": _listed(precision)}


def abstain(judged: Judged) -> dict[str, Any]:
    """Recall and FPR among the answered when the least certain share is left to a person.

    An image is the less certain, the closer the odds of its score lie to the odds
    of the threshold.

    Returns:
        "curve" with lists "coverage" (descending), "recall", "fpr" and "error" (wrong
        flags / answered), which ends where no nominal or no defective image is
        answered any more; "table" with the coverages of `COVERAGES` as figures.
    """
    order = np.argsort(-certainty(judged), kind="stable")
    grid = np.round(np.arange(1.0, _STEP / 2, -_STEP), 4)
    rows = [_answered(judged, order, share) for share in grid]
    known = [row for row in rows if row["recall"]["n"] and row["fpr"]["n"]]
    names = ("recall", "fpr", "error")
    return {
        "curve": {
            "coverage": [row["coverage"] for row in known],
            **{name: [row[name]["value"] for row in known] for name in names},
        },
        "table": [_answered(judged, order, share) for share in COVERAGES],
    }


def certainty(judged: Judged) -> Floats:
    """(N,) distance of the log odds of the scores to those of the threshold."""
    return np.abs(_log_odds(judged.scores) - _log_odds(np.asarray(judged.threshold)))


def _answered(judged: Judged, order: npt.NDArray[np.intp], share: float) -> dict[str, Any]:
    kept = order[: max(1, round(share * len(order)))]
    defective, flagged = judged.labels[kept] != NOMINAL, judged.flagged[kept]
    figures: dict[str, Figure] = {
        "recall": proportion(flagged[defective]),
        "fpr": proportion(flagged[~defective]),
        "error": proportion(flagged != defective),
    }
    return {"coverage": float(share), "answered": len(kept), **figures}


def _log_odds(probability: npt.NDArray[np.floating]) -> Floats:
    clear = np.clip(probability.astype(np.float64), _ODDS_LIMIT, 1 - _ODDS_LIMIT)
    return np.asarray(np.log(clear) - np.log1p(-clear))


def _together(positive: Float32Array, negative: Float32Array) -> tuple[Floats, Floats]:
    truth = np.concatenate((np.ones(len(positive)), np.zeros(len(negative))))
    return truth, np.concatenate((positive, negative)).astype(np.float64)


def _listed(values: Floats) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
