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
        tells: whether an output holds anything to compare; that of the
            reference must for at least one input. None: all do.
    """

    compare: Compare
    limit: Mapping[str, float]
    tells: Callable[[Outputs], bool] | None = None


@dataclass(frozen=True, slots=True)
class Closeness:
    """How near two detections must lie to be the same one.

    Attributes:
        box_px: largest distance of any two box edges, pixels of the network.
        score: largest difference of the scores.
        mask_iou: least overlap of the masks. Of probabilities: the sum of the
            lesser over the sum of the greater, which for masks of 0 and 1 is
            the IoU, and needs no threshold.
    """

    box_px: float
    score: float
    mask_iou: float


SAME = Closeness(box_px=0.5, score=1e-3, mask_iou=0.99)
"""The same weights on another runtime."""

ROUNDED = Closeness(box_px=1.0, score=0.05, mask_iou=0.95)
"""Weights in half precision. Of the tiny network on 16 trial pictures, with four
draws of weights that round to the shipped ones, this moved edges by up to 0.05 px,
scores by 0.001 and masks by 0.0004; in one picture of the 64 two boxes of nearly
equal score changed places in suppression, and with them a fifth of its detections."""

FEW_BITS = Closeness(box_px=8.0, score=0.2, mask_iou=0.8)
"""Arithmetic in fewer bits: the same thing, found with nearly the same outline."""


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
            dtype, hold anything but numbers, or lie further apart than allowed;
            or if the reference has nothing to tell on any input.
    """
    if not inputs:
        raise ParityError("parity needs at least one input to compare on.")
    worst = dict.fromkeys(limits.limit, 0.0)
    told = limits.tells is None
    for number, tensors in enumerate(inputs):
        expected, got = reference.run(tensors), candidate.run(tensors)
        check_form(expected, got)
        told = told or bool(limits.tells and limits.tells(expected))
        found = limits.compare(expected, got)
        for name, limit in limits.limit.items():
            # written so that NaN is refused as well
            if not found[name] <= limit:
                raise ParityError(
                    f"{candidate.description} and {reference.description} disagree on input "
                    f"{number}: {name} {found[name]:.3g}, allowed {limit:.3g}. Nothing was written."
                )
            worst[name] = max(worst[name], found[name])
    if not told:
        raise ParityError(
            f"{reference.description} finds nothing on any of the {len(inputs)} trial inputs, so "
            "nothing was compared. Train it for longer, or lower the score_threshold of its "
            "recipe. Nothing was written."
        )
    return worst


def check_form(expected: Outputs, got: Outputs) -> None:
    """Refuse outputs of another form, or that are no numbers.

    Raises:
        ParityError: If names, shapes or dtypes differ, or a value is NaN or infinite.
    """
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


def has_detections(outputs: Outputs) -> bool:
    """Whether any slot is in use, that is, has a score above 0."""
    return bool((outputs["scores"].astype(np.float64) > 0.0).any())


def detection_difference(
    expected: Outputs, got: Outputs, near: Closeness = SAME
) -> dict[str, float]:
    """Compare two detection outputs whose rows may have changed places.

    Equal scores may swap rows, and a pair on the edge of suppression may flip.
    So the sorted scores are compared, and each detection is matched to the
    nearest box of the same label on the other side.

    Args:
        expected: "boxes" (1, K, 4), "scores" (1, K), "labels" (1, K), "masks"
            (1, K, h, w); a row of score 0 is an unused slot.
        got: the same.
        near: what makes two detections partners.

    Returns:
        "scores": largest difference of the sorted scores. "unmatched": share of
        the detections, of either side, without a partner; 0 for none at all.
    """
    sorted_scores = [
        np.sort(side["scores"].astype(np.float64), axis=None) for side in (expected, got)
    ]
    return {
        "scores": float(np.abs(sorted_scores[0] - sorted_scores[1]).max()),
        "unmatched": max(_unmatched(expected, got, near), _unmatched(got, expected, near)),
    }


def paired_detections(expected: Outputs, got: Outputs, near: Closeness) -> tuple[Outputs, Outputs]:
    """The detections that have a partner, row by row beside it.

    Args:
        expected: as for `detection_difference`.
        got: the same.
        near: what makes two detections partners.

    Returns:
        The same outputs of both sides with as many rows as there are pairs.
    """
    real = np.flatnonzero(expected["scores"][0] > 0.0)
    good, partner = _partners(expected, got, near)
    rows = {name: array[:, real[good]] for name, array in expected.items()}
    return rows, {name: array[:, partner[good]] for name, array in got.items()}


def _unmatched(left: Outputs, right: Outputs, near: Closeness) -> float:
    good, _ = _partners(left, right, near)
    return float(1.0 - good.mean()) if len(good) else 0.0


def _partners(
    left: Outputs, right: Outputs, near: Closeness
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Of each detection on the left, whether it has a partner, and the row of the nearest."""
    real = np.flatnonzero(left["scores"][0] > 0.0)
    if not len(real):
        return np.zeros(0, np.bool_), np.zeros(0, np.intp)
    boxes = left["boxes"][0][real].astype(np.float64)[:, None]
    apart = np.abs(boxes - right["boxes"][0].astype(np.float64)).max(axis=2)
    score = left["scores"][0][real].astype(np.float64)[:, None]
    off = np.abs(score - right["scores"][0].astype(np.float64))
    label = left["labels"][0][real][:, None] != right["labels"][0]
    unused = right["scores"][0] <= 0.0
    apart = np.where(label | unused | (off > near.score), np.inf, apart)
    partner = apart.argmin(axis=1)
    overlap = _mask_overlap(left["masks"][0][real], right["masks"][0][partner])
    return (apart.min(axis=1) <= near.box_px) & (overlap >= near.mask_iou), partner


def _mask_overlap(
    left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """(N,) overlap of the (N, h, w) masks of a row, as `Closeness` defines it; empty ones are 1."""
    pair = np.stack((left, right)).astype(np.float64)
    lesser, greater = pair.min(axis=0).sum(axis=(1, 2)), pair.max(axis=0).sum(axis=(1, 2))
    return np.where(greater > 0.0, lesser / np.maximum(greater, 1e-12), 1.0)
