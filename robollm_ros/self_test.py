# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the networks still answer a grey image as they did when the node was configured."""

from dataclasses import dataclass

import numpy as np

from robollm_core.config import Config
from robollm_core.pipeline import Stages
from robollm_core.runtime.artifact import load_artifact
from robollm_core.types import Float32Array
from robollm_ros.status import ERROR, OK, Status
from robollm_ros.worker import grey_frame, grey_instance

TOLERANCE = 1e-3
"""Scores and probabilities of the same network on the same machine differ by less."""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """What the networks make of the grey image.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels of what the segmentation finds on it.
        scores: (N,) float32, of each.
        probabilities: (3,) float32, of the defect classes for its middle.
    """

    boxes: Float32Array
    scores: Float32Array
    probabilities: Float32Array


def golden(stages: Stages) -> Golden:
    """Run all three networks on the grey image.

    Raises:
        RobollmError: If a network cannot.
    """
    frame, instance = grey_frame(), grey_instance()
    found = stages.segmentation.segment(frame)
    stages.identification.warm_up()
    reports = stages.defects.inspect(frame, (instance,))
    return Golden(
        np.array([item.box_xyxy_px for item in found], np.float32).reshape(-1, 4),
        np.array([item.score for item in found], np.float32),
        np.array([report.probabilities for report in reports], np.float32).reshape(-1),
    )


def network_status(stages: Stages, stored: Golden) -> tuple[Status, Status]:
    """Two lines of the self test: the answers are the stored ones, and they are numbers.

    Args:
        stages: as they were when `stored` was made.
        stored: of `golden`.
    """
    try:
        now = golden(stages)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result of the test
        text = f"a network fails on a grey image: {error}"
        return Status("golden image", ERROR, text), Status("finite outputs", ERROR, text)
    parts = (now.boxes, now.scores, now.probabilities)
    finite = all(np.isfinite(part).all() for part in parts)
    numbers = Status(
        "finite outputs",
        OK if finite else ERROR,
        "all outputs are numbers" if finite else "an output is NaN or infinite",
    )
    values = {"instances": len(now.scores), "tolerance": TOLERANCE}
    if why := _difference(now, stored):
        return Status("golden image", ERROR, why, values), numbers
    return Status("golden image", OK, "answered as at configure", values), numbers


def _difference(now: Golden, stored: Golden) -> str:
    if len(now.scores) != len(stored.scores):
        return f"finds {len(now.scores)} instances instead of {len(stored.scores)}"
    pairs = {
        "boxes": (now.boxes, stored.boxes, 1.0),
        "scores": (now.scores, stored.scores, TOLERANCE),
        "defect probabilities": (now.probabilities, stored.probabilities, TOLERANCE),
    }
    for what, (got, kept, limit) in pairs.items():
        # not >: a NaN is a difference, too
        if got.size and not float(np.abs(got - kept).max()) <= limit:
            return f"the {what} differ from those at configure by more than {limit}"
    return ""


def file_status(config: Config) -> Status:
    """One line of the self test: the files of the networks are those of their sidecars."""
    paths = (config.segmentation.artifact, config.identification.artifact, config.defects.artifact)
    try:
        found = [load_artifact(path) for path in paths]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result of the test
        return Status("model files", ERROR, str(error))
    digests = {sidecar.stage: sidecar.sha256 for _, sidecar in found}
    return Status("model files", OK, "as their sidecars say", digests)
