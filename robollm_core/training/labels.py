# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong labels and fewer items on purpose, to see what training makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.data.armbench_identification import IdentificationSplit, Pick
from robollm_core.data.samples import cut
from robollm_core.errors import ConfigError
from robollm_core.images import CropSpec
from robollm_core.types import Float32Array, UInt8Array

KINDS = ("uniform", "lookalike")

_LOOK = CropSpec(size_px=32, mode="pad", blank=True, margin=0.05)
_BINS = 4
_THUMBNAIL = 8

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingLabels:
    """What was done to a training split.

    Attributes:
        split: as it is trained.
        items: how many items it has picks of.
        changed: how many picks have a wrong item now.
    """

    split: IdentificationSplit
    items: int
    changed: int


def training_labels(
    split: IdentificationSplit, *, share: float, noise: float, kind: str, seed: int
) -> TrainingLabels:
    """Keep a share of the items, then give some picks the label of another item.

    Args:
        split: the training split; a val split never comes here.
        share: of the items that are kept with all their picks, in (0, 1].
        noise: chance of a pick to be given another label, in [0, 1).
        kind: "uniform", any other item, or "lookalike", the item of the same
            container whose references look most alike, as a person errs; a pick
            without such an item keeps its label.
        seed: decides which; a larger share or noise only adds to a smaller one.

    Raises:
        ConfigError: If a value is out of range.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"train_share must be in (0, 1], got {share}.")
    if not 0.0 <= noise < 1.0:
        raise ConfigError(f"label_noise must be in [0, 1), got {noise}.")
    if kind not in KINDS:
        raise ConfigError(f"label_noise_kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    kept = keep_items(split, share, seed) if share < 1.0 else split
    items = _trained(kept)
    if not noise:
        return TrainingLabels(kept, len(items), 0)
    noisy = _relabelled(kept, items, noise, kind, seed)
    pairs = zip(kept.picks, noisy.picks, strict=True)
    return TrainingLabels(noisy, len(items), sum(a.item_id != b.item_id for a, b in pairs))


def keep_items(split: IdentificationSplit, share: float, seed: int) -> IdentificationSplit:
    """The split with a seeded share of the items, at least two, and all their picks."""
    items = _trained(split)
    order = np.random.default_rng((seed, 1)).permutation(len(items))
    count = min(len(items), max(2, round(share * len(items))))
    kept = {items[index] for index in order[:count]}
    return replace(split, picks=tuple(pick for pick in split.picks if pick.item_id in kept))


def noisy_labels(
    labels: Indices, count: int, chance: float, seed: int, rivals: Indices | None = None
) -> Indices:
    """Replace some labels, each with the same chance.

    Args:
        labels: (N,) int64 in 0..count-1.
        count: labels there are, from 2.
        chance: 0 to 1.
        seed: decides which; a larger chance changes the same ones and more.
        rivals: (N,) int64, what a label is mistaken for, -1 for nothing; None
            for any other label, uniformly.

    Returns:
        (N,) int64.
    """
    rng = np.random.default_rng((seed, 2))
    hit = rng.random(len(labels)) < chance
    if rivals is None:
        rivals = (labels + rng.integers(1, count, size=len(labels))) % count
    return np.where(hit & (rivals >= 0), rivals, labels).astype(np.int64)


def look(crops: UInt8Array) -> Float32Array:
    """Describe crops without a trained network: colours, and a small grey picture.

    Args:
        crops: (N, S, S, 3) uint8 RGB.

    Returns:
        (N, F) float32 of unit length. One half is the square root of a 4x4x4
        histogram of RGB (dot products are Bhattacharyya's coefficient), the
        other an 8x8 grey thumbnail without its mean (correlation).
    """
    rows = []
    for pixels in crops:
        bins = (pixels.reshape(-1, 3) // (256 // _BINS)).astype(np.int64)
        code = bins @ np.array([_BINS * _BINS, _BINS, 1])
        colours = np.sqrt(np.bincount(code, minlength=_BINS**3) / len(code))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)
        small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
        small -= small.mean()
        rows.append(np.concatenate((colours, small / max(float(np.linalg.norm(small)), 1e-6))))
    table = np.stack(rows)
    described: Float32Array = table / np.linalg.norm(table, axis=1, keepdims=True)
    return described.astype(np.float32)


def catalogue_looks(split: IdentificationSplit, items: Sequence[str]) -> Float32Array:
    """(I, F) float32, the mean `look` of the references of each item, unit length."""
    rows = []
    for item in items:
        crops = np.stack([cut(picture, _LOOK) for picture in split.references[item]])
        mean = look(crops).mean(axis=0)
        rows.append(mean / max(float(np.linalg.norm(mean)), 1e-6))
    return np.stack(rows).astype(np.float32)


def most_alike(pick: Pick, numbers: Mapping[str, int], looks: Float32Array) -> int:
    """Number of the item in the pick's container that looks most like its own; -1 for none."""
    own = numbers[pick.item_id]
    others = sorted({numbers[name] for name in pick.manifest if name in numbers} - {own})
    if not others:
        return -1
    return others[int(np.argmax(looks[others] @ looks[own]))]


def _trained(split: IdentificationSplit) -> list[str]:
    """Items that have a pick with a view, and a reference, in the order of the picks."""
    names = (pick.item_id for pick in split.picks if pick.views)
    return [name for name in dict.fromkeys(names) if name in split.references]


def _relabelled(
    split: IdentificationSplit, items: list[str], noise: float, kind: str, seed: int
) -> IdentificationSplit:
    numbers = {name: index for index, name in enumerate(items)}
    rows = [index for index, pick in enumerate(split.picks) if pick.item_id in numbers]
    labels = np.array([numbers[split.picks[row].item_id] for row in rows], dtype=np.int64)
    rivals = None
    if kind == "lookalike":
        looks = catalogue_looks(split, items)
        rivals = np.array([most_alike(split.picks[row], numbers, looks) for row in rows])
    wrong = noisy_labels(labels, len(items), noise, seed, rivals)
    picks = list(split.picks)
    for row, label in zip(rows, wrong, strict=True):
        picks[row] = replace(picks[row], item_id=items[label])
    return replace(split, picks=tuple(picks))
