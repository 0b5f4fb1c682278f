# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Images that a defect network has judged, and what its verdicts amount to."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.errors import DatasetError
from robollm_core.evaluation.intervals import proportion
from robollm_core.types import DEFECT_LABELS, BoolArray, Float32Array

NOMINAL = DEFECT_LABELS.index("nominal")
DEFECTS = tuple(name for name in DEFECT_LABELS if name != "nominal")

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Judged:
    """The images of a split and what the network said of them.

    Attributes:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`.
        labels: (N,) indices into `DEFECT_LABELS`, the truth.
        threshold: score from which an image is flagged.
        seed: of the bootstrap.
    """

    probabilities: Float32Array
    labels: Labels
    threshold: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a split that cannot be measured.

        Raises:
            DatasetError: If there is no nominal image, or none with a defect.
        """
        nominal = int((self.labels == NOMINAL).sum())
        if not 0 < nominal < len(self.labels):
            raise DatasetError(
                f"the split needs nominal and defective images, got {nominal} nominal ones of "
                f"{len(self.labels)}."
            )

    @cached_property
    def scores(self) -> Float32Array:
        """(N,) probability of any defect, 1 - P(nominal)."""
        return np.asarray(1.0 - self.probabilities[:, NOMINAL])

    @cached_property
    def good(self) -> Float32Array:
        """Scores of the nominal images."""
        return np.asarray(self.scores[self.labels == NOMINAL])

    @cached_property
    def bad(self) -> Float32Array:
        """Scores of the images with a defect."""
        return np.asarray(self.scores[self.labels != NOMINAL])

    @cached_property
    def verdicts(self) -> Labels:
        """(N,) what the stage says at the threshold, indices into `DEFECT_LABELS`."""
        return verdicts(self.probabilities, self.threshold)

    @cached_property
    def flagged(self) -> BoolArray:
        """(N,) whether the verdict is a defect."""
        return np.asarray(self.verdicts != NOMINAL)

    @property
    def present(self) -> tuple[str, ...]:
        """The defect classes of which there is an image."""
        return tuple(name for name in DEFECTS if (self.labels == index_of(name)).any())

    def own(self, name: str) -> Float32Array:
        """Scores of the images of a class."""
        return np.asarray(self.scores[self.labels == index_of(name)])


def index_of(name: str) -> int:
    """Place of a class in `DEFECT_LABELS`."""
    return DEFECT_LABELS.index(name)


def verdicts(probabilities: Float32Array, threshold: float) -> Labels:
    """The verdicts of the stage: the likelier defect where the score reaches the threshold.

    Args:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`.
        threshold: of the score 1 - P(nominal), which is taken in double precision.

    Returns:
        (N,) indices into `DEFECT_LABELS`.
    """
    scores = np.clip(1.0 - probabilities[:, NOMINAL].astype(np.float64), 0.0, 1.0)
    flaws = probabilities.copy()
    flaws[:, NOMINAL] = -1.0
    return np.where(scores >= threshold, flaws.argmax(axis=1), NOMINAL).astype(np.int64)


def rates_at(judged: Judged, threshold: float) -> dict[str, Any]:
    """Recall, FPR and precision at a threshold that was fixed before.

    Args:
        judged: the images of a split.
        threshold: score from which an image is flagged.

    Returns:
        "threshold", "recall" (defective images flagged / defective images), "fpr" (nominal
        images flagged / nominal images), "precision" (defective images flagged /
        images flagged), "accuracy" of the three-class verdict and "confusion". In
        "classes", of each: "recall" (flagged as anything), "recall_named" (flagged
        as this class), "fpr" (nominal images flagged as this class) and
        "precision" (of the images flagged as this class).
    """
    labels, said = judged.labels, verdicts(judged.probabilities, threshold)
    flagged = said != NOMINAL
    return {
        "threshold": threshold,
        "recall": proportion(flagged[labels != NOMINAL]),
        "fpr": proportion(flagged[labels == NOMINAL]),
        "precision": proportion(labels[flagged] != NOMINAL),
        "accuracy": proportion(said == labels),
        "classes": {
            name: {
                "recall": proportion(flagged[labels == index_of(name)]),
                "recall_named": proportion(said[labels == index_of(name)] == index_of(name)),
                "fpr": proportion(said[labels == NOMINAL] == index_of(name)),
                "precision": proportion(labels[said == index_of(name)] == index_of(name)),
            }
            for name in judged.present
        },
        "confusion": confusion(said, labels),
    }


def confusion(predicted: Labels, labels: Labels) -> dict[str, dict[str, int]]:
    """True label to predicted label to images."""
    return {
        truth: {
            answer: int(((labels == t) & (predicted == a)).sum())
            for a, answer in enumerate(DEFECT_LABELS)
        }
        for t, truth in enumerate(DEFECT_LABELS)
    }
