# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Places of many items for many queries, without their matrix of similarities.

50 000 queries against 750 000 references are 150 GB of float32. Here the
references pass by once, in blocks of whole items, and of every query only what
was counted so far is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.errors import ShapeError
from robollm_core.identification.gallery import item_scores
from robollm_core.types import Float32Array

TIE = 2.0**-18
"""Scores count as equal when they differ by less than this share of the product of the
vectors' lengths: what float32 sums of a few hundred terms, taken in another order, may do."""

Indices = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is held in memory at a time.

    Attributes:
        references: rows in a block; an item with more makes a block of its own.
        similarities: at most so many cells of a similarity matrix, four copies of
            which (float32) exist for a moment.
    """

    references: int = 2048
    similarities: int = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The answer to every query.

    Attributes:
        ranks: (n,) int64, place of the true item among all, from 1, ties against
            it; 0 where a query has no true item in the gallery.
        best: (n,) int64, the item that scores highest; any one of equals.
        best_scores: (n,) float32, its score.
        true_scores: (n,) float32, score of the true item; -inf without one.
    """

    ranks: Indices
    best: Indices
    best_scores: Float32Array
    true_scores: Float32Array


def stack(
    gallery: Mapping[str, Float32Array], items: Sequence[str]
) -> tuple[Float32Array, Indices]:
    """Put the references of items below each other.

    Args:
        gallery: item to (references, D).
        items: which, at least one; their order is that of the indices.

    Returns:
        (R, D) float32 and (I,) int64, row of the first reference of each item.
    """
    rows = [gallery[item] for item in items]
    starts = np.cumsum([0, *(len(own) for own in rows[:-1])], dtype=np.int64)
    return np.concatenate(rows), starts


def rank_all(
    queries: Float32Array,
    truths: Indices,
    references: Vectors,
    starts: Indices,
    scale: float,
    blocks: Blocks | None = None,
) -> Ranking:
    """Rank the true item of every query among all items.

    An item's score is the soft maximum over its references, as the stage takes it
    (`identification.gallery.item_scores`).

    Args:
        queries: (n, D) float32.
        truths: (n,) item index of each, -1 for a query whose item is not there.
        references: (R, D) floating point, in memory or in a file that is mapped;
            grouped by item.
        starts: (I,) row of the first reference of each item, ascending from 0.
        scale: inverse temperature; `inf` takes the best reference alone.
        blocks: what is held in memory at a time; None for the defaults.

    Returns:
        One answer a query.

    Raises:
        ShapeError: If the arrays do not fit each other, or an item has no reference.
    """
    blocks = blocks or Blocks()
    _check(queries, truths, references, starts)
    ends = np.append(starts[1:], len(references))
    own, slack = _true_scores(queries, truths, references, starts, scale, blocks)
    answer = Ranking(
        ranks=(truths >= 0).astype(np.int64),
        best=np.zeros(len(queries), np.int64),
        best_scores=np.full(len(queries), -np.inf, np.float32),
        true_scores=own,
    )
    bar = own - slack
    # seconds pass without a word where there is little to do
    with tqdm(total=len(references), desc="rank", unit="", delay=5.0, mininterval=1.0) as progress:
        for first, last in _item_blocks(starts, ends, blocks.references):
            block = _lay_out(references, starts, ends, (first, last))
            step = max(1, blocks.similarities // len(block.rows))
            for begin in range(0, len(queries), step):
                part = slice(begin, begin + step)
                scores = _scores(queries[part], block, scale)
                _count(answer, part, scores, block, (truths[part], bar[part]))
            progress.update(len(block.rows))
    return answer


def _check(queries: Float32Array, truths: Indices, references: Vectors, starts: Indices) -> None:
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise ShapeError(
            f"queries (n, D) and references (R, D) must share D, got {queries.shape} and "
            f"{references.shape}."
        )
    ends = np.append(starts[1:], len(references))
    if not len(starts) or starts[0] != 0 or (ends <= starts).any():
        raise ShapeError("starts must ascend from 0, and every item needs a reference.")
    if truths.shape != (len(queries),) or (truths < -1).any() or (truths >= len(starts)).any():
        raise ShapeError(f"truths must be {len(queries)} indices of {len(starts)} items, or -1.")


def _item_blocks(starts: Indices, ends: Indices, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of items, each of at most so many rows, or of one item."""
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(ends, starts[first] + rows, side="right"))
        last = max(last, first + 1)
        yield first, last
        first = last


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Some items in the order of how many references they have.

    Attributes:
        rows: (r, D) float32: for each group the first reference of all its items,
            then the second of all, and so on. What belongs together in a sum then
            lies in whole rows, not here and there.
        items: (i,) index of each item.
        columns: (last - first,) where each item went.
        first: index of the first item.
        groups: (references an item, items) of each group.
    """

    rows: Float32Array
    items: Indices
    columns: Indices
    first: int
    groups: tuple[tuple[int, int], ...]


def _lay_out(
    references: Vectors, starts: Indices, ends: Indices, bounds: tuple[int, int]
) -> _Block:
    first, last = bounds
    rows = np.asarray(references[starts[first] : ends[last - 1]], dtype=np.float32)
    counts = (ends - starts)[first:last]
    order = np.argsort(counts, kind="stable")
    sizes, groups = np.unique(counts, return_counts=True)
    places = []
    for size, begin, count in zip(sizes, np.cumsum(groups) - groups, groups, strict=True):
        own = starts[first:last][order[begin : begin + count]] - starts[first]
        places.append((own + np.arange(size)[:, None]).reshape(-1))
    return _Block(
        rows=rows[np.concatenate(places)],
        items=order + first,
        columns=np.argsort(order),
        first=first,
        groups=tuple(zip(sizes.tolist(), groups.tolist(), strict=True)),
    )


def _scores(queries: Float32Array, block: _Block, scale: float) -> Float32Array:
    """(queries, items of the block) float32, what `item_scores` gives."""
    similarity = queries @ block.rows.T
    if block.groups[-1][0] == 1:  # one reference each: its own similarity
        return similarity
    scores = np.empty((len(queries), len(block.items)), np.float32)
    row = column = 0
    for size, count in block.groups:
        own = similarity[:, row : row + size * count].reshape(len(queries), size, count)
        best = scores[:, column : column + count]
        np.max(own, axis=1, out=best)
        if size > 1 and np.isfinite(scale):
            # in place: these are the largest arrays there are
            own -= best[:, None]
            own *= np.float32(scale)
            np.exp(own, out=own)
            best += np.log(own.mean(axis=1)) / np.float32(scale)
        row, column = row + size * count, column + count
    return scores


def _count(
    answer: Ranking,
    part: slice,
    scores: Float32Array,
    block: _Block,
    truth: tuple[Indices, Float32Array],
) -> None:
    """Take the scores (queries, items) of a block into the answer."""
    truths, bar = truth
    reach = scores >= bar[:, None]
    places = truths - block.first
    here = np.flatnonzero((places >= 0) & (places < len(block.items)))
    # the true item itself counts once, from the start
    reach[here, block.columns[places[here]]] = False
    answer.ranks[part] += np.where(truths >= 0, np.count_nonzero(reach, axis=1), 0)
    leader = np.argmax(scores, axis=1)
    value = scores[np.arange(len(scores)), leader]
    better = value > answer.best_scores[part]
    answer.best[part] = np.where(better, block.items[leader], answer.best[part])
    answer.best_scores[part] = np.where(better, value, answer.best_scores[part])


def _true_scores(
    queries: Float32Array,
    truths: Indices,
    references: Vectors,
    starts: Indices,
    scale: float,
    blocks: Blocks,
) -> tuple[Float32Array, Float32Array]:
    """Score of the true item of each query, and by how much less still is a tie."""
    ends = np.append(starts[1:], len(references))
    own = np.full(len(queries), -np.inf, np.float32)
    slack = np.zeros(len(queries), np.float32)
    # queries of one item follow each other, so that a file is read in its own order
    order = np.argsort(truths, kind="stable")
    order = order[truths[order] >= 0]
    counts = (ends - starts)[truths[order]]
    for first, last in _item_blocks(
        np.cumsum(counts) - counts, np.cumsum(counts), blocks.references
    ):
        part, sizes = order[first:last], counts[first:last]
        offsets = np.cumsum(sizes) - sizes
        rows = np.repeat(starts[truths[part]] - offsets, sizes) + np.arange(sizes.sum())
        vectors = np.asarray(references[rows], dtype=np.float32)
        asked = np.repeat(queries[part], sizes, axis=0)
        similarity = np.einsum("rd,rd->r", vectors, asked)[None]
        own[part] = item_scores(similarity, offsets, scale)[0]
        lengths = np.maximum.reduceat(np.linalg.norm(vectors, axis=1), offsets)
        slack[part] = TIE * (lengths * np.linalg.norm(queries[part], axis=1) + 1.0 / scale)
    return own, slack
