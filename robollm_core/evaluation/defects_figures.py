# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of defect detection, each with its protocol.

FPR is nominal images flagged over nominal images. What stands under the
configured threshold was fixed before the split was seen; everything else takes
its threshold from the split itself and describes the ROC, no more.
"""

from typing import Any

import numpy as np

from robollm_core.evaluation.defects_curves import abstain, curves
from robollm_core.evaluation.defects_judged import Judged, confusion, rates_at
from robollm_core.evaluation.defects_official import official_figures
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.intervals import (
    auroc,
    average_precision,
    fpr_at_recall,
    precision_at_fpr,
    precision_at_recall,
    proportion,
    recall_at_fpr,
    threshold_at_fpr,
    threshold_at_recall,
    two_sample,
)
from robollm_core.types import DEFECT_LABELS, Float32Array

RATES = {"fpr_10": 0.10, "fpr_01": 0.01}
TARGET_FPR = 0.01
TARGET_RECALL = 0.95
"""ARMBench wants a recall above this at an FPR below that."""


def figures_of(judged: Judged) -> dict[str, Any]:
    """All figures but the protocol.

    Args:
        judged: the images of a split.

    Returns:
        Plain values; see the page on evaluation for what each is.
    """
    said = judged.probabilities.argmax(axis=1)
    half, point = rates_at(judged, 0.5), rates_at(judged, judged.threshold)
    keeping = at_recall(judged, judged.bad)
    return {
        **{f"{name}_at_threshold": point[name] for name in ("recall", "fpr", "precision")},
        "fpr_at_recall_95": keeping["fpr"],
        **_roc_figures(judged, judged.bad),
        "average_precision": _two(average_precision, judged, judged.bad),
        "thresholds": {name: threshold_at_fpr(judged.good, r) for name, r in RATES.items()},
        "classes": {
            name: {
                **_roc_figures(judged, judged.own(name)),
                "average_precision": _two(average_precision, judged, judged.own(name)),
                "at_recall_95": at_recall(judged, judged.own(name)),
                "at_threshold_0.5": half["classes"][name],
            }
            for name in judged.present
        },
        "at_threshold_0.5": {name: half[name] for name in ("recall", "fpr", "precision")},
        "accuracy": proportion(said == judged.labels),
        "confusion": confusion(said, judged.labels),
        "images": {name: int((judged.labels == i).sum()) for i, name in enumerate(DEFECT_LABELS)},
        "working_point": point,
        "at_fpr_01": at_fpr(judged),
        "at_recall_95": keeping,
        "abstain": abstain(judged),
        "official": official_figures(judged.probabilities, judged.labels),
        "curves": curves(judged),
    }


def _two(statistic: Any, judged: Judged, own: Float32Array, n: int = 0) -> Figure:
    return two_sample(statistic, own, judged.good, n=n, seed=judged.seed)


def _roc_figures(judged: Judged, own: Float32Array) -> dict[str, Any]:
    recalls = {
        f"recall_at_{name}": _two(recall_at_fpr(rate), judged, own, len(own))
        for name, rate in RATES.items()
    }
    return {**recalls, "auroc": _two(auroc, judged, own)}


def at_fpr(judged: Judged) -> dict[str, Any]:
    """The point where the FPR is `TARGET_FPR`; its threshold is of the split itself.

    Returns:
        "threshold" (flagged is what lies above it), "fpr_on_split" that it has,
        "recall", "precision", and in "classes" the recall of each.
    """
    threshold = threshold_at_fpr(judged.good, TARGET_FPR)
    return {
        "threshold": threshold,
        "fpr_on_split": round(float(np.mean(judged.good > threshold)), 6),
        "recall": _two(recall_at_fpr(TARGET_FPR), judged, judged.bad, len(judged.bad)),
        "precision": _two(precision_at_fpr(TARGET_FPR), judged, judged.bad),
        "classes": {
            name: {"recall": _two(recall_at_fpr(TARGET_FPR), judged, own, len(own))}
            for name in judged.present
            for own in (judged.own(name),)
        },
    }


def at_recall(judged: Judged, own: Float32Array) -> dict[str, Any]:
    """The point where the recall of some images is `TARGET_RECALL`.

    Args:
        judged: the images of a split, which the threshold is taken from.
        own: scores of the defective images that are meant.

    Returns:
        "threshold" (flagged is what reaches it), "recall_on_split" that it has,
        "fpr" and "precision" against the nominal images.
    """
    threshold = threshold_at_recall(own, TARGET_RECALL)
    return {
        "threshold": threshold,
        "recall_on_split": round(float(np.mean(own >= threshold)), 6),
        "fpr": _two(fpr_at_recall(TARGET_RECALL), judged, own, len(judged.good)),
        "precision": _two(precision_at_recall(TARGET_RECALL), judged, own),
    }


def protocol_of(judged: Judged, split: str) -> dict[str, Any]:
    """What the figures are, in words."""
    return {
        "class_set": list(DEFECT_LABELS),
        "score": "1 - P(nominal) of the exported network, on the crop as the stage cuts it",
        "recall": "defective images flagged / defective images",
        "fpr": "nominal images flagged / nominal images",
        "precision": f"at this split's own mix, {len(judged.bad)} defective images to "
        f"{len(judged.good)} nominal ones; it changes with the mix",
        "classes": "of a class: recall of its images (flagged as anything), and ROC, PR and "
        "AUROC of its images against the nominal ones; images of the other defect class are "
        "left out. Under working_point and at_threshold_0.5, fpr and precision are of images given "
        "this class's name",
        "working_point": f"flagged from the configured threshold {judged.threshold:g} on "
        "(defects.threshold), which this run did not take from this split; at_threshold_0.5 from "
        "0.5 on",
        "thresholds_from_this_split": "recall_at_fpr_10, recall_at_fpr_01, thresholds, at_fpr_01 "
        "and at_recall_95 take their threshold from the very images they are measured on: they "
        "describe the ROC, a threshold fixed beforehand does a little worse",
        "abstain": "the least certain share is left to a person; certainty is the distance of the "
        "score's log odds to those of the configured threshold",
        "split": split,
        "selection": "nothing was selected on this split but the thresholds named above",
        "intervals": "95 %: Wilson for rates at a fixed threshold; else percentiles of 1000 "
        "bootstrap draws, nominal and defective images drawn anew each",
        "seed": judged.seed,
    }
