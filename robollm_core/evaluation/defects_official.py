# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the published script for ARMBench's defect images counts, restated.

The script reads output/output.txt, takes the class with the highest probability
of each image and counts each class against the rest: an image of the *other*
defect class is a negative, and a false positive when it gets this class's name.
Its FPR is therefore not the share of nominal images that are flagged. Where a class
is neither true nor said of any image, the script puts its names to the wrong rows;
ours does not.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.evaluation.defects_judged import DEFECTS, NOMINAL, Labels, index_of
from robollm_core.evaluation.intervals import proportion
from robollm_core.types import DEFECT_LABELS, Float32Array

FILE = "output/output.txt"
"""Where the script looks for predictions, below the folder it is given."""
PROTOCOL = (
    "ARMBench's own script takes the likeliest class, without a threshold, and counts each class "
    "against the rest, so FPR counts the other defect class among the negatives and precision "
    "counts it among the false alarms. The script prints recall and FPR of each class, here under "
    "'printed' with all digits. It prints no precision and nothing combined; those are added by "
    "the same rule, combined being any defect class against nominal"
)


def predictions_file(probabilities: Float32Array, labels: Labels) -> bytes:
    """The file that the script accepts.

    Args:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`, which is the script's.
        labels: (N,) indices into `DEFECT_LABELS`.

    Returns:
        JSON with "predictions", N rows of three logits, and "targets". The logits
        are the logarithms of the probabilities: their softmax gives these back.
    """
    smallest = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities.astype(np.float64), smallest))
    return json.dumps({"predictions": logits.tolist(), "targets": labels.tolist()}).encode()


def official_figures(probabilities: Float32Array, labels: Labels) -> dict[str, Any]:
    """The script's figures, with intervals.

    Args:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`.
        labels: (N,) indices into `DEFECT_LABELS`.

    Returns:
        "protocol"; "classes" and "combined" with "recall", "fpr" and "precision";
        "printed", of each class the recall and FPR as the script prints them,
        None where it divides by zero.
    """
    said: Labels = probabilities.argmax(axis=1)
    classes = {
        name: _against_rest(said == index, labels == index)
        for index, name in enumerate(DEFECT_LABELS)
    }
    return {
        "protocol": PROTOCOL,
        "classes": {name: classes[name] for name in DEFECTS},
        "combined": _against_rest(said != NOMINAL, labels != NOMINAL),
        "nominal": classes["nominal"],
        "printed": {
            name: _printed(said == index_of(name), labels == index_of(name))
            for name in DEFECT_LABELS
        },
    }


def _against_rest(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "recall": proportion(said[true]),
        "fpr": proportion(said[~true]),
        "precision": proportion(true[said]),
    }


def _printed(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    hit, missed = float((said & true).sum()), float((~said & true).sum())
    alarm, quiet = float((said & ~true).sum()), float((~said & ~true).sum())
    return {
        "recall": hit / (hit + missed) if hit + missed else None,
        "fpr": alarm / (alarm + quiet) if alarm + quiet else None,
    }
