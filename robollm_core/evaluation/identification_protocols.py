# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How the place of an item is counted: by item, by image, and as the released code counts.

A manifest's gallery is small, so a pick needs its own rows alone; galleries of
all items are ranked in blocks elsewhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.data.armbench_identification import VIEWS, IdentificationSplit, Pick
from robollm_core.evaluation.embedding import FUSED, Embedded, views_of
from robollm_core.identification.gallery import item_scores
from robollm_core.types import Float32Array

RANKS = (1, 2, 3, 5)
CLOSED, STRANGER, NO_REFERENCE = "closed", "not_on_manifest", "no_reference"
LACKS_VIEWS, BROKEN = "lacks_views", "broken"
LONE_MARGIN = 2.0
"""Lead of an answer that has no runner-up: the largest lead that cosines can have."""

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A query against a gallery of items.

    Attributes:
        items: each once, in the order asked, those with references.
        scores: (items,) float32, of an item over its references.
        images: (references,) float32, of every reference image.
        starts: (items,) int64, where in `images` those of an item begin.
    """

    items: tuple[str, ...]
    scores: Float32Array
    images: Float32Array
    starts: npt.NDArray[np.int64]

    def counts(self) -> npt.NDArray[np.int64]:
        """References of each item, (items,) int64."""
        return np.diff(self.starts, append=len(self.images))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network says of a pick, asked in one way against its manifest.

    Attributes:
        pick: what was asked.
        items: with references, the best first; of equals the true item is last.
        scores: (items,) float32 in that order, divided by the unit of scores.
        confidence: share of the best item in the softmax over all of them.
        rank: place of the true item, from 1; a tie counts against it. 0 where it
            is not among the items.
        image_rank: place of the best image of the true item among all images.
        released_rank: the same place among the columns of the released code; 0
            for a pick that its lists do not have.
        references: reference images of the true item.
    """

    pick: Pick
    items: tuple[str, ...]
    scores: Float32Array
    confidence: float
    rank: int
    image_rank: int = 0
    released_rank: int = 0
    references: int = 0

    @property
    def chosen(self) -> str:
        """The best item."""
        return self.items[0]

    @property
    def similarity(self) -> float:
        """Score of the best item."""
        return float(self.scores[0])

    @property
    def margin(self) -> float:
        """Lead of the best item over the runner-up."""
        return float(self.scores[0] - self.scores[1]) if len(self.items) > 1 else LONE_MARGIN

    @property
    def right(self) -> bool:
        """Whether the best item is the true one."""
        return self.rank == 1


def ways_of(embedded: Embedded) -> list[tuple[str, str]]:
    """The ways of asking that count, with the ending of their figures: n1 and n3."""
    return [(end, way) for end, way in (("n1", VIEWS[0]), ("n3", FUSED)) if way in embedded.queries]


def sort_picks(
    samples: IdentificationSplit, embedded: Embedded | None = None
) -> dict[str, list[Pick]]:
    """Sort picks by what can be asked of them.

    Args:
        samples: the split.
        embedded: what could be read of it; None to go by the lists alone.

    Returns:
        "closed": all of `views_of`, item on the manifest and with references;
        "not_on_manifest": all views, item absent from the manifest;
        "no_reference": on the manifest, but the item has no reference;
        "lacks_views": one of the views is missing;
        "broken": has its views, but one of them could not be read.
    """
    views, ways = views_of(samples), ways_of(embedded) if embedded else []
    known = embedded.gallery if embedded else samples.references
    groups: dict[str, list[Pick]] = {
        name: [] for name in (CLOSED, STRANGER, NO_REFERENCE, LACKS_VIEWS, BROKEN)
    }
    for pick in samples.picks:
        if any(view not in pick.views for view in views):
            groups[LACKS_VIEWS].append(pick)
        elif embedded and any(pick.pick_id not in embedded.queries[way] for _, way in ways):
            groups[BROKEN].append(pick)
        elif pick.item_id not in pick.manifest:
            groups[STRANGER].append(pick)
        else:
            groups[CLOSED if pick.item_id in known else NO_REFERENCE].append(pick)
    return groups


def score(query: Float32Array, items: Sequence[str], embedded: Embedded) -> Scored | None:
    """Compare a query with items, as the stage scores them, each item once.

    Args:
        query: (D,) float32.
        items: ids; those without a reference are left out.
        embedded: has the gallery.

    Returns:
        None when none of the items has a reference.
    """
    names = tuple(name for name in dict.fromkeys(items) if name in embedded.gallery)
    if not names:
        return None
    rows = [embedded.gallery[name] for name in names]
    starts = np.cumsum([0, *(len(own) for own in rows[:-1])], dtype=np.int64)
    images = np.concatenate(rows) @ query
    return Scored(names, item_scores(images[None], starts, embedded.scale)[0], images, starts)


def scores_of(query: Float32Array, items: Sequence[str], embedded: Embedded) -> dict[str, float]:
    """Similarity of a query to every item that has references, each item once."""
    found = score(query, items, embedded)
    return dict(zip(found.items, found.scores.tolist(), strict=True)) if found else {}


def rank_of(item_id: str, scores: Mapping[str, float]) -> int:
    """Place of an item, from 1; a tie counts against it."""
    own = scores[item_id]
    return sum(value >= own for value in scores.values())


def ranks(
    picks: Sequence[Pick], embedded: Embedded, way: str, items: Sequence[str] | None = None
) -> Ranks:
    """Place of the true item of every pick.

    Args:
        picks: whose item is in the gallery.
        embedded: the numbers.
        way: a view name or "fused".
        items: the gallery; None for the pick's own manifest.

    Returns:
        (n,) int64, from 1.
    """
    found = [
        rank_of(
            pick.item_id,
            scores_of(embedded.queries[way][pick.pick_id], items or pick.manifest, embedded),
        )
        for pick in picks
    ]
    return np.asarray(found, dtype=np.int64)


def image_rank(found: Scored, item_id: str, copies: Mapping[str, int] | None = None) -> int:
    """Place of the first column of an item, where every image is a column of the gallery.

    The released code looks up all n images of an item once for each of its n
    entries in the pick's list, so an item fills n * n columns and its best image
    stands n times in a row. The first k columns then hold fewer than k items:
    recall at 2 and above comes out too low, recall at 1 is not touched.

    Args:
        found: the query against the gallery.
        item_id: the true item.
        copies: how often the images of an item stand in the gallery; once without.

    Returns:
        From 1; a tie counts against the item. One past the last column when the
        item has none.
    """
    times = np.array([1 if copies is None else copies.get(name, 0) for name in found.items])
    columns = np.repeat(times, found.counts())
    own = np.repeat(np.array([name == item_id for name in found.items]), found.counts())
    if not columns[own].any():
        return int(columns.sum()) + 1
    return 1 + int(columns[~own & (found.images >= found.images[own].max())].sum())


def softmax_of_best(scores: Float32Array, scale: float) -> float:
    """Share of the largest score in a softmax at an inverse temperature; ties share."""
    apart = scale * (scores.astype(np.float64) - float(scores.max()))
    return float(1.0 / np.exp(apart).sum())


def answer(
    pick: Pick,
    query: Float32Array,
    embedded: Embedded,
    scale: float,
    listed: Sequence[str] | None = None,
) -> Answer | None:
    """Ask for one pick among the items of its manifest.

    Args:
        pick: what is asked.
        query: (D,) float32.
        embedded: has the gallery.
        scale: inverse temperature of the confidence.
        listed: item ids, one an image, that the released code would rank; empty
            where its lists lack the pick, None for the manifest with every item as
            often as it has images.

    Returns:
        None when no item of the manifest has a reference.
    """
    found = score(query, pick.manifest, embedded)
    if found is None:
        return None
    true = np.array([name == pick.item_id for name in found.items])
    order = np.lexsort((true, -found.scores))
    names = tuple(found.items[index] for index in order)
    ordered = found.scores[order]
    here = pick.item_id in found.items
    return Answer(
        pick=pick,
        items=names,
        scores=(ordered / embedded.unit).astype(np.float32),
        confidence=softmax_of_best(ordered, scale),
        rank=names.index(pick.item_id) + 1 if here else 0,
        image_rank=image_rank(found, pick.item_id) if here else 0,
        released_rank=_released_rank(found, listed, pick, (query, embedded)),
        references=len(embedded.gallery.get(pick.item_id, ())),
    )


def _released_rank(
    found: Scored,
    listed: Sequence[str] | None,
    pick: Pick,
    asked: tuple[Float32Array, Embedded],
) -> int:
    if listed is None:
        copies = dict(zip(found.items, found.counts().tolist(), strict=True))
        return image_rank(found, pick.item_id, copies) if pick.item_id in found.items else 0
    listing = score(asked[0], listed, asked[1])
    return image_rank(listing, pick.item_id, Counter(listed)) if listing else 0


def answers(
    picks: Sequence[Pick],
    embedded: Embedded,
    way: str,
    scale: float,
    listed: Mapping[str, Sequence[str]] | None = None,
) -> list[Answer]:
    """Ask for picks one by one; those without any reference on the manifest are left out.

    Args:
        picks: what is asked; those that `way` has no query of are left out.
        embedded: the numbers.
        way: a view name or "fused".
        scale: inverse temperature of the confidence.
        listed: pick id to the released code's list; None for the manifests.
    """
    queries = embedded.queries[way]
    found = [
        answer(
            pick,
            queries[pick.pick_id],
            embedded,
            scale,
            None if listed is None else listed.get(pick.pick_id, ()),
        )
        for pick in picks
        if pick.pick_id in queries
    ]
    return [one for one in found if one is not None]
