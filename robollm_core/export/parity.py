# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Does an exported network answer as the network it was exported from?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ParityError
from robollm_core.types import Engine, Tensors

Outputs = Mapping[str, npt.NDArray[np.generic]]
Compare = Callable[[Outputs, Outputs], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far two networks may lie apart.

    Attributes:
        compare: from the outputs of both to differences by name.
        limit: largest difference allowed, by the same names.
    """

    compare: Compare
    limit: Mapping[str, float]


def check_parity(
    reference: Engine, candidate: Engine, inputs: Sequence[Tensors], limits: Limits
) -> dict[str, float]:
    """Run both on all inputs and compare.

    Args:
        reference: the network that is right.
        candidate: the network that is to be shipped.
        inputs: at least one set.
        limits: what to compare and how strictly.

    Returns:
        The largest difference found, by name.

    Raises:
        ParityError: If there are no inputs, outputs differ in name, shape or
            dtype, hold anything but numbers, or lie further apart than allowed.
    """
    if not inputs:
        raise ParityError("parity needs at least one input to compare on.")
    worst = dict.fromkeys(limits.limit, 0.0)
    for number, tensors in enumerate(inputs):
        expected, got = reference.run(tensors), candidate.run(tensors)
        _check_form(expected, got)
        found = limits.compare(expected, got)
        for name, limit in limits.limit.items():
            # written so that NaN is refused as well
            if not found[name] <= limit:
                raise ParityError(
                    f"{candidate.description} and {reference.description} disagree on input "
                    f"{number}: {name} {found[name]:.3g}, allowed {limit:.3g}. Nothing was written."
                )
            worst[name] = max(worst[name], found[name])
    return worst


def _check_form(expected: Outputs, got: Outputs) -> None:
    forms = [
        {name: (array.shape, str(array.dtype)) for name, array in outputs.items()}
        for outputs in (expected, got)
    ]
    if forms[0] != forms[1]:
        raise ParityError(f"the outputs must be {forms[0]}, got {forms[1]}. Nothing was written.")
    for name, array in got.items():
        if not np.isfinite(array.astype(np.float64)).all():
            raise ParityError(f"output {name} holds NaN or infinity. Nothing was written.")


def largest_difference(expected: Outputs, got: Outputs) -> dict[str, float]:
    """Largest absolute difference, by output."""
    return {
        name: float(np.abs(array.astype(np.float64) - got[name].astype(np.float64)).max())
        for name, array in expected.items()
    }


def direction_difference(expected: Outputs, got: Outputs) -> dict[str, float]:
    """1 - cosine of the worst row, by output; rows are the last axis."""
    result = {}
    for name, array in expected.items():
        left, right = array.astype(np.float64), got[name].astype(np.float64)
        norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        cosine = (left * right).sum(axis=-1) / np.maximum(norms, 1e-12)
        result[name] = float(1.0 - cosine.min())
    return result


def detection_difference(expected: Outputs, got: Outputs) -> dict[str, float]:
    """Compare two detection outputs whose rows may have changed places.

    Equal scores may swap rows, and a pair on the edge of suppression may flip.
    So the sorted scores are compared, and each detection is matched to the
    nearest box of the same label on the other side.

    Args:
        expected: "boxes" (1, K, 4), "scores" (1, K), "labels" (1, K), "masks"
            (1, K, h, w).
        got: the same.

    Returns:
        "scores": largest difference of the sorted scores. "unmatched": share of
        the detections, of either side, without a partner within 0.5 px in
        every box edge, 1e-3 in score and 0.05 in mean mask probability.
    """
    sorted_scores = [
        np.sort(side["scores"].astype(np.float64), axis=None) for side in (expected, got)
    ]
    return {
        "scores": float(np.abs(sorted_scores[0] - sorted_scores[1]).max()),
        "unmatched": max(_unmatched(expected, got), _unmatched(got, expected)),
    }


def _unmatched(left: Outputs, right: Outputs) -> float:
    real = np.flatnonzero(left["scores"][0] > 0.0)
    if not len(real):
        return 0.0
    boxes = left["boxes"][0][real].astype(np.float64)[:, None]
    apart = np.abs(boxes - right["boxes"][0].astype(np.float64)).max(axis=2)
    score = left["scores"][0][real].astype(np.float64)[:, None]
    off = np.abs(score - right["scores"][0].astype(np.float64))
    label = left["labels"][0][real][:, None] != right["labels"][0]
    apart = np.where(label | (off > 1e-3), np.inf, apart)
    partner = apart.argmin(axis=1)
    masks = left["masks"][0][real].astype(np.float64) - right["masks"][0][partner]
    good = (apart.min(axis=1) <= 0.5) & (np.abs(masks).mean(axis=(1, 2)) <= 0.05)
    return float(1.0 - good.mean())
