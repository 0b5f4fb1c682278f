# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Picks worth seeing: the query, the reference that was chosen and the right one side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robollm_core.data.armbench_identification import VIEWS, Pick
from robollm_core.data.samples import Picture, cut
from robollm_core.evaluation.networks import find
from robollm_core.evaluation.outcome import Exhibit, Request
from robollm_core.evaluation.worst import picture
from robollm_core.images import CropSpec, read_image
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.furniture import crop_spec
from robollm_core.types import Float32Array

WRONG, NARROW = "wrong item", "narrowly right"
MOST_WRONG, MOST_NARROW = 24, 8


class Answered(Protocol):
    """What is shown of an answer; see `identification_protocols.Answer`."""

    @property
    def pick(self) -> Pick:
        """What was asked."""

    @property
    def items(self) -> tuple[str, ...]:
        """The best first."""

    @property
    def confidence(self) -> float:
        """From 0 to 1."""

    @property
    def similarity(self) -> float:
        """Score of the best."""

    @property
    def margin(self) -> float:
        """Lead of the best."""

    @property
    def rank(self) -> int:
        """Place of the true item."""


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """Where the pictures of an exhibit come from.

    Attributes:
        pictures: item to its reference pictures.
        gallery: item to (references, D), of the pictures that could be read.
        queries: view or "fused" to pick id to (D,): any of them may have decided.
        views: views that were asked with.
        crop: how the network sees them; None where that is not a crop of ours.
        broken: paths that could not be read.
        cosine: references are compared by cosine, else by dot product.
    """

    pictures: Mapping[str, Sequence[Picture]]
    gallery: Mapping[str, Float32Array]
    queries: Sequence[Mapping[str, Float32Array]]
    views: Sequence[str] = VIEWS
    crop: CropSpec | None = None
    broken: frozenset[str] = frozenset()
    cosine: bool = False

    def closest(self, pick: Pick, item: str) -> Picture:
        """The reference of an item that resembles the query most."""
        rows = self.gallery[item]
        if self.cosine:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        asked = np.stack([own[pick.pick_id] for own in self.queries if pick.pick_id in own], 1)
        if self.cosine:
            asked = asked / np.maximum(np.linalg.norm(asked, axis=0), 1e-30)
        best = int((rows @ asked).max(axis=1).argmax())
        readable = [one for one in self.pictures[item] if str(one.path) not in self.broken]
        return readable[best]


def crop_of(request: Request) -> CropSpec | None:
    """How the network of a request sees its pictures; None for a peer's encoder."""
    if request.options.get("encoder"):
        return None
    return crop_spec(load_artifact(find(request.models, "identification"))[1])


def exhibits(closed: Sequence[Answered], shelf: Shelf) -> tuple[Exhibit, ...]:
    """Wrong answers, the surest first, then right ones, the narrowest first.

    Args:
        closed: answers to picks whose item is among the items.
        shelf: where pictures come from.
    """
    wrong = sorted((one for one in closed if one.rank != 1), key=lambda one: -one.confidence)
    right = [one for one in closed if one.rank == 1 and len(one.items) > 1]
    narrow = sorted(right, key=lambda one: one.margin)
    return (
        *(_wrong(one, shelf) for one in wrong[:MOST_WRONG]),
        *(_narrow(one, shelf) for one in narrow[:MOST_NARROW]),
    )


def _wrong(one: Answered, shelf: Shelf) -> Exhibit:
    chosen, item = one.items[0], one.pick.item_id
    pictures = (
        *_query(one.pick, shelf),
        (f"chosen: {chosen}", _whole(shelf.closest(one.pick, chosen))),
        (f"right: {item}", _whole(shelf.closest(one.pick, item))),
    )
    note = (
        f"Expected {item}, which came in place {one.rank} of {len(one.items)}; got {chosen} with "
        f"{_scores(one)}."
    )
    return Exhibit(WRONG, f"pick {one.pick.pick_id}", pictures, note)


def _narrow(one: Answered, shelf: Shelf) -> Exhibit:
    chosen, second = one.items[:2]
    pictures = (
        *_query(one.pick, shelf),
        (f"chosen and right: {chosen}", _whole(shelf.closest(one.pick, chosen))),
        (f"runner-up: {second}", _whole(shelf.closest(one.pick, second))),
    )
    note = f"Right, {chosen}, before {second}, with {_scores(one)}."
    return Exhibit(NARROW, f"pick {one.pick.pick_id}", pictures, note)


def _scores(one: Answered) -> str:
    return (
        f"similarity {one.similarity:.3f}, margin {one.margin:.3f}, confidence {one.confidence:.2f}"
    )


def _query(pick: Pick, shelf: Shelf) -> list[tuple[str, bytes]]:
    shown = [view for view in shelf.views if view in pick.views]
    shown = [view for view in shown if str(pick.views[view].path) not in shelf.broken]
    first = shown[0]
    found = [(f"{first}, whole", _whole(pick.views[first]))]
    for view in shown:
        if shelf.crop is not None:
            crop = picture(cut(pick.views[view], shelf.crop))
            found.append((f"{view}, as seen", crop))
        elif view != first:
            found.append((view, _whole(pick.views[view])))
    return found


def _whole(one: Picture) -> bytes:
    return picture(read_image(one.path))
