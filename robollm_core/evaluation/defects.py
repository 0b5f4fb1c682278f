# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect detection, judged as it ships: exported graph and the stage's crop.

FPR is nominal images flagged over nominal images. Thresholds are taken from
the nominal images of the split itself, so the figures describe the ROC.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.config import Config, RuntimeConfig
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.samples import cut
from robollm_core.errors import DatasetError
from robollm_core.evaluation.intervals import (
    auroc,
    proportion,
    recall_at_fpr,
    threshold_at_fpr,
    two_sample,
)
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import check_stage, crop_spec
from robollm_core.types import DEFECT_LABELS, Float32Array

RATES = {"fpr_10": 0.10, "fpr_01": 0.01}
_NOMINAL = DEFECT_LABELS.index("nominal")
_BATCH = 32


def evaluate(
    artifact: Path, data: Path, split: str = "test", config: Config | None = None
) -> dict[str, Any]:
    """Measure a defect artifact.

    Args:
        artifact: the exported network.
        data: folder in ARMBench's defect layout.
        split: "train", "val" or "test".
        config: says on which runtime; None for the defaults.

    Returns:
        The section of metrics.json.

    Raises:
        ArtifactError: If the artifact is missing or not what it should be.
        DatasetError: If the data is, or lacks nominal or defective images.
    """
    probabilities, labels = predict(artifact, data, split, (config or Config()).runtime)
    return summarise(probabilities, labels)


def predict(
    artifact: Path, data: Path, split: str, runtime: RuntimeConfig
) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    """Probabilities (N, 3) and labels (N,) of a split, in the order of its csv."""
    path, sidecar = load_artifact(artifact)
    check_stage(sidecar, "defects")
    spec, engine = crop_spec(sidecar), load_engine(path, runtime)
    samples = read_defects(data, split)
    parts = []
    for start in tqdm(range(0, len(samples), _BATCH), desc="inspect", mininterval=1.0):
        crops = np.stack([cut(s.picture, spec) for s in samples[start : start + _BATCH]])
        parts.append(np.asarray(engine.run({"images": crops})["probabilities"], np.float32))
    labels = np.array([DEFECT_LABELS.index(s.label) for s in samples], dtype=np.int64)
    return np.concatenate(parts), labels


def summarise(probabilities: Float32Array, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The figures of predictions.

    Args:
        probabilities: (N, 3) in the order of `DEFECT_LABELS`.
        labels: (N,) indices into `DEFECT_LABELS`.

    Raises:
        DatasetError: If there is no nominal image, or none with a defect.
    """
    scores = 1.0 - probabilities[:, _NOMINAL]
    good = scores[labels == _NOMINAL]
    bad = scores[labels != _NOMINAL]
    if not len(good) or not len(bad):
        raise DatasetError("the split needs nominal and defective images.")
    section: dict[str, Any] = {
        f"recall_at_{name}": two_sample(recall_at_fpr(rate), bad, good, n=len(bad))
        for name, rate in RATES.items()
    }
    section["auroc"] = two_sample(auroc, bad, good)
    section["thresholds"] = {name: threshold_at_fpr(good, rate) for name, rate in RATES.items()}
    section["classes"] = {
        name: _class_figures(scores, labels, index)
        for index, name in enumerate(DEFECT_LABELS)
        if index != _NOMINAL and (labels == index).any()
    }
    section["at_threshold_0.5"] = {
        "recall": proportion(bad >= 0.5),
        "fpr": proportion(good >= 0.5),
    }
    section["accuracy"] = proportion(probabilities.argmax(axis=1) == labels)
    section["confusion"] = _confusion(probabilities.argmax(axis=1), labels)
    section["images"] = {name: int((labels == i).sum()) for i, name in enumerate(DEFECT_LABELS)}
    return section


def _class_figures(
    scores: Float32Array, labels: npt.NDArray[np.int64], index: int
) -> dict[str, Any]:
    own, good = scores[labels == index], scores[labels == _NOMINAL]
    figures: dict[str, Any] = {
        f"recall_at_{name}": two_sample(recall_at_fpr(rate), own, good, n=len(own))
        for name, rate in RATES.items()
    }
    return {**figures, "auroc": two_sample(auroc, own, good)}


def _confusion(
    predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> dict[str, dict[str, int]]:
    """True label to predicted label to images."""
    return {
        truth: {
            answer: int(((labels == t) & (predicted == a)).sum())
            for a, answer in enumerate(DEFECT_LABELS)
        }
        for t, truth in enumerate(DEFECT_LABELS)
    }
