# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of identification, grouped by protocol, each group with its protocol in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.data.armbench_identification import Pick
from robollm_core.evaluation import calibration
from robollm_core.evaluation.embedding import Embedded
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.identification_protocols import (
    CLOSED,
    NO_REFERENCE,
    RANKS,
    STRANGER,
    Answer,
    Ranks,
)
from robollm_core.evaluation.intervals import (
    auroc,
    fpr_at_recall,
    grouped_mean,
    proportion,
    threshold_at_recall,
    two_sample,
)
from robollm_core.evaluation.ranking import TIE, rank_all, stack

SIZES = ((1, 1), (2, 5), (6, 10), (11, 15), (16, 20), (21, 30), (31, 50), (51, 0))
"""Bins of manifests by items with references; 0 is no upper limit."""
REFERENCES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 0))
"""Bins of items by reference images."""

BY_ITEM = (
    "Rank by item: each item once, scored over all its references; a tie counts against the true "
    "item."
)
CLOSED_PICKS = (
    "Picks with all views, whose item is on the manifest and has references; the others are "
    "counted apart."
)
CONTAINER = "Gallery: items of the pick's manifest that have references."

Asked = Mapping[str, Mapping[str, Sequence[Answer]]]
"""From n1 or n3 to a group of picks to their answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """Closed picks ranked in one gallery for all.

    Attributes:
        items: items of the gallery.
        images: their reference images.
        places: n1 or n3 to the place of each pick's item.
        image_places: the same, of the best image of the item among all images.
    """

    items: int
    images: int
    places: Mapping[str, Ranks]
    image_places: Mapping[str, Ranks]


def places_of(answers: Sequence[Answer]) -> Ranks:
    """Ranks by item, (n,) int64."""
    return np.array([one.rank for one in answers], np.int64)


def recalls(places: npt.ArrayLike) -> dict[str, Figure]:
    """Recall at each of `RANKS`, with Wilson's interval."""
    found = np.asarray(places)
    return {f"recall_at_{k}": proportion(found <= k) for k in RANKS}


def headline(asked: Asked, seed: int) -> dict[str, Any]:
    """Recalls and mean reciprocal rank of closed picks in their containers, and the protocol."""
    figures: dict[str, Any] = {}
    for end, groups in asked.items():
        figures |= _with_ending(recalls(places_of(groups[CLOSED])), end)
    for end, groups in asked.items():
        figures[f"mrr_{end}"] = grouped_mean(1.0 / places_of(groups[CLOSED]), seed=seed)
    figures["protocol"] = (
        f"Classes: item ids. {CLOSED_PICKS} n1 asks with PickRGB, n3 with PickRGB, OnArmLowRGB and "
        f"ToteWallRGB fused, of the same picks. {CONTAINER} {BY_ITEM}"
    )
    return figures


def _with_ending(figures: Mapping[str, Figure], end: str) -> dict[str, Figure]:
    return {f"{name}_{end}": figure for name, figure in figures.items()}


def gallery(closed: Sequence[Answer]) -> dict[str, Any]:
    """How large the galleries of the containers are."""
    sizes = [len(one.items) for one in closed]
    return {
        "kind": "items of the pick's manifest that have references",
        "mean": round(float(np.mean(sizes)), 2),
        "min": min(sizes),
        "max": max(sizes),
    }


def by_view(views: Mapping[str, Sequence[Answer]], seed: int) -> dict[str, Any]:
    """Each view alone, of the closed picks that have it."""
    figures: dict[str, Any] = {
        view: recalls(places_of(own)) | {"mrr": grouped_mean(1.0 / places_of(own), seed=seed)}
        for view, own in views.items()
    }
    figures["protocol"] = f"Each view asked alone. {CLOSED_PICKS} {CONTAINER} {BY_ITEM}"
    return figures


def rank_in(
    picks: Sequence[Pick], embedded: Embedded, items: Sequence[str], ways: Mapping[str, str]
) -> Whole:
    """Rank closed picks among many items, in blocks.

    Args:
        picks: at least one, whose items are among the items.
        embedded: the numbers.
        items: the gallery, each with references.
        ways: n1 or n3 to the way of asking.
    """
    references, starts = _stacked(embedded, items)
    index = {name: place for place, name in enumerate(items)}
    truths = np.array([index[pick.item_id] for pick in picks], np.int64)
    places, image_places = {}, {}
    for end, way in ways.items():
        queries = np.stack([embedded.queries[way][pick.pick_id] for pick in picks])
        places[end] = rank_all(queries, truths, references, starts, embedded.scale).ranks
        best, equals = _best_images(queries, truths, references, starts)
        rows = np.arange(len(references))
        found = rank_all(queries, best, references, rows, float("inf")).ranks
        image_places[end] = found - equals
    return Whole(len(items), len(references), places, image_places)


def _stacked(embedded: Embedded, items: Sequence[str]) -> tuple[npt.NDArray[np.float32], Ranks]:
    """The references of items below each other; of all items without a copy where they lie so."""
    sizes = [len(embedded.gallery[name]) for name in items]
    base = embedded.gallery[items[0]].base
    if list(items) == list(embedded.gallery) and base is not None and len(base) == sum(sizes):
        return base, np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    return stack(embedded.gallery, items)


def _best_images(
    queries: npt.NDArray[np.float32],
    truths: Ranks,
    references: npt.NDArray[np.float32],
    starts: Ranks,
) -> tuple[Ranks, Ranks]:
    """The row of the best image of each true item, and how many of its others equal it."""
    ends = np.append(starts[1:], len(references))
    best, equals = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    for i, truth in enumerate(truths):
        own = references[starts[truth] : ends[truth]]
        similarity = own @ queries[i]
        top = int(similarity.argmax())
        slack = TIE * float(np.linalg.norm(own[top]) * np.linalg.norm(queries[i]))
        best[i] = starts[truth] + top
        equals[i] = np.count_nonzero(similarity >= similarity[top] - slack) - 1
    return best, equals


def whole_gallery(whole: Whole, kind: str, seed: int) -> dict[str, Any]:
    """Figures of closed picks in one gallery for all.

    Args:
        whole: the places.
        kind: what the gallery holds, a sentence.
        seed: of the bootstrap.
    """
    figures: dict[str, Any] = {"items": whole.items, "images": whole.images}
    for end, places in whole.places.items():
        figures |= _with_ending(recalls(places), end)
        figures[f"mrr_{end}"] = grouped_mean(1.0 / places, seed=seed)
    plain: dict[str, Any] = {"protocol": f"{CLOSED_PICKS} {kind} {_BY_IMAGE}"}
    for end, places in whole.image_places.items():
        plain |= _with_ending(recalls(places), end)
    figures["image_level"] = plain
    figures["protocol"] = f"{CLOSED_PICKS} {kind} {BY_ITEM}"
    return figures


_BY_IMAGE = (
    "Rank by image: each reference image is a column; recall at k asks whether the item is among "
    "the k best columns, which may all be of one item. A tie counts against the true item."
)
_BY_COLUMN = (
    "As the released RoboLLM code counts: an item with n images is listed n times, each time with "
    "all its images, so it fills n * n columns; recall at k asks whether the item is among the k "
    "best columns. Not touched at k = 1, too low above. For comparison with published rows only."
)


def image_level(asked: Asked, lists: str) -> dict[str, Any]:
    """Recalls as the released code counts, and those of the plain count by image under "plain".

    Args:
        asked: closed picks.
        lists: where the released code's galleries are from, a sentence.
    """
    closed = {end: groups[CLOSED] for end, groups in asked.items()}
    plain: dict[str, Any] = {"protocol": f"{CLOSED_PICKS} {CONTAINER} {_BY_IMAGE}"}
    figures: dict[str, Any] = {"protocol": f"{CLOSED_PICKS} {lists} {_BY_COLUMN}", "plain": plain}
    for end, own in closed.items():
        figures |= _with_ending(
            recalls([one.released_rank for one in own if one.released_rank]), end
        )
        plain |= _with_ending(recalls([one.image_rank for one in own]), end)
    return figures


def open_set(asked: Asked, ways: Mapping[str, str], absent: str, seed: int) -> dict[str, Any]:
    """How well similarity and lead tell items that are here from items that are not.

    Args:
        asked: answers of closed picks and of the `absent` group.
        ways: n1 or n3 to the name under which the figures stand.
        absent: "not_on_manifest" or "no_reference".
        seed: of the bootstrap.
    """
    kinds = {
        STRANGER: "picks whose item is not on the manifest",
        NO_REFERENCE: "picks whose item is on the manifest but has no reference",
    }
    figures: dict[str, Any] = {
        ways[end]: _apart(groups[CLOSED], groups[absent], seed) for end, groups in asked.items()
    }
    figures["protocol"] = (
        f"Closed picks against {kinds[absent]}. {CONTAINER} Similarity is the score of the best "
        "item, margin its lead over the runner-up. fpr_at_95: share of the absent that pass the "
        "threshold which 95 % of the closed picks reach."
    )
    return figures


def _apart(known: Sequence[Answer], absent: Sequence[Answer], seed: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in ("similarity", "margin"):
        inside, outside = scores_named(known, name), scores_named(absent, name)
        figures[name] = {
            "auroc": two_sample(auroc, inside, outside, seed=seed),
            "fpr_at_95": two_sample(
                fpr_at_recall(0.95), inside, outside, n=len(outside), seed=seed
            ),
            "threshold_at_95": round(threshold_at_recall(inside, 0.95), 6),
        }
    return figures


def scores_named(answers: Sequence[Answer], name: str) -> npt.NDArray[np.float32]:
    """Similarity, margin or confidence of answers, (n,) float32."""
    return np.array([getattr(one, name) for one in answers], np.float32)


def sure_and_right(
    answers: Sequence[Answer],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Confidence and whether the answer is right, (n,) each."""
    confidence = np.array([one.confidence for one in answers], np.float64)
    return confidence, np.array([one.right for one in answers], np.bool_)


def calibrated(asked: Asked, scale: str, seed: int) -> dict[str, Any]:
    """Whether the confidence of closed picks is true.

    Args:
        asked: closed picks.
        scale: at which inverse temperature confidences are taken, in words.
        seed: of the bootstrap.
    """
    figures: dict[str, Any] = {"scale": scale}
    for end, groups in asked.items():
        sure, right = sure_and_right(groups[CLOSED])
        figures[end] = {
            "ece_equal_width": calibration.calibration_error(
                sure, right, calibration.equal_width, seed
            ),
            "ece_equal_mass": calibration.calibration_error(
                sure, right, calibration.equal_mass, seed
            ),
            "mean_confidence": grouped_mean(sure, seed=seed),
        }
    figures["protocol"] = (
        f"Expected calibration error over {calibration.BINS} bins, of equal width and of equal "
        f"mass. {CLOSED_PICKS} {CONTAINER} Confidence: softmax over the items of the gallery, of "
        "the best one. The error is biased upwards, in the draws of the bootstrap more than in "
        "the sample."
    )
    return figures


def abstaining(asked: Asked, seed: int) -> dict[str, Any]:
    """Risk at several coverages: of closed picks, and with the picks that cannot be right."""
    figures: dict[str, Any] = {}
    for end, groups in asked.items():
        known = list(groups[CLOSED])
        everything = [*known, *groups[STRANGER], *groups[NO_REFERENCE]]
        figures[end] = {"closed": _risks(known, seed), "with_absent": _risks(everything, seed)}
    figures["protocol"] = (
        "Risk: share of wrong answers among the most confident ones; coverage: share of picks "
        f"answered; aurc: mean risk over all coverages. {CONTAINER} closed: picks whose item is "
        "there; with_absent: also those whose item is not on the manifest or has no reference, "
        "where every answer is wrong."
    )
    return figures


def _risks(answers: Sequence[Answer], seed: int) -> dict[str, Figure]:
    sure, right = sure_and_right(answers)
    figures = {
        f"risk_at_coverage_{round(100 * share)}": calibration.risk_at(sure, right, share)
        for share in calibration.COVERAGES
    }
    figures["aurc"] = calibration.resampled(calibration.area_under_risk, (sure, right), seed)
    return figures


def binned(asked: Asked, bins: Sequence[tuple[int, int]], of: str, seed: int) -> dict[str, Any]:
    """Recalls of closed picks by a number, in the order of the bins; empty ones are left out.

    Args:
        asked: closed picks.
        bins: first and last number of each, 0 for no last.
        of: "manifest" for items in the gallery, "references" for images of the true item.
        seed: of the bootstrap.
    """
    figures: dict[str, Any] = {}
    for end, groups in asked.items():
        figures[end] = {}
        for first, last in bins:
            own = [one for one in groups[CLOSED] if _within(number_of(one, of), first, last)]
            if own:
                places = places_of(own)
                figures[end][_bin_name(first, last)] = recalls(places) | {
                    "mrr": grouped_mean(1.0 / places, seed=seed)
                }
    words = {
        "manifest": "By the number of items of the manifest that have references.",
        "references": "By the number of reference images of the true item.",
    }
    figures["protocol"] = f"{words[of]} {CLOSED_PICKS} {CONTAINER} {BY_ITEM}"
    return figures


def number_of(answer: Answer, of: str) -> int:
    """Items in the gallery of an answer, or references of its true item."""
    return len(answer.items) if of == "manifest" else answer.references


def _within(number: int, first: int, last: int) -> bool:
    return first <= number and (not last or number <= last)


def _bin_name(first: int, last: int) -> str:
    if not last:
        return f"{first}+"
    return str(first) if first == last else f"{first}-{last}"
