# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which items meet in a batch, and which pictures of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robollm_core.data.armbench_identification import VIEWS, IdentificationSplit
from robollm_core.data.samples import Picture
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.types import Float32Array

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PickTable:
    """The picks of a split as numbers, over one list of pictures.

    Attributes:
        pictures: all pictures, each once.
        items: item ids that have both a pick and a reference.
        picks: by item, rows of view indices into `pictures` in the order of
            `VIEWS`, -1 where a view is absent.
        references: by item, indices into `pictures`.
        mates: by item, numbers of items that shared a container with it.
    """

    pictures: tuple[Picture, ...]
    items: tuple[str, ...]
    picks: tuple[Indices, ...]
    references: tuple[Indices, ...]
    mates: tuple[Indices, ...]


def build_table(split: IdentificationSplit) -> PickTable:
    """Number the pictures of a split.

    Raises:
        DatasetError: If fewer than two items have a pick and a reference.
    """
    pictures: list[Picture] = []
    by_item: dict[str, list[list[int]]] = {}
    for pick in split.picks:
        if pick.item_id not in split.references or not pick.views:
            continue
        row = []
        for view in VIEWS:
            row.append(len(pictures) if view in pick.views else -1)
            pictures += [pick.views[view]] if view in pick.views else []
        by_item.setdefault(pick.item_id, []).append(row)
    items = tuple(by_item)
    if len(items) < 2:
        raise DatasetError(f"training needs two items with pick and reference, got {len(items)}.")
    references = []
    for item in items:
        pictures += split.references[item]
        references.append(np.arange(len(pictures) - len(split.references[item]), len(pictures)))
    return PickTable(
        tuple(pictures),
        items,
        tuple(np.asarray(by_item[item], dtype=np.int64) for item in items),
        tuple(references),
        _container_mates(split, items),
    )


def _container_mates(split: IdentificationSplit, items: Sequence[str]) -> tuple[Indices, ...]:
    number = {item: index for index, item in enumerate(items)}
    mates: list[set[int]] = [set() for _ in items]
    for pick in split.picks:
        if pick.item_id in number:
            mates[number[pick.item_id]] |= {number[i] for i in pick.manifest if i in number}
    return tuple(
        np.asarray(sorted(group - {index}), dtype=np.int64) for index, group in enumerate(mates)
    )


class ItemMemory:
    """The last embedding of every item: finds look-alikes for the next batches."""

    def __init__(self, count: int, width: int) -> None:
        """Start empty."""
        self.vectors: Float32Array = np.zeros((count, width), dtype=np.float32)
        self.filled = np.zeros(count, dtype=np.bool_)

    def store(self, items: Indices, vectors: Float32Array) -> None:
        """Remember (N, D) unit vectors of items (N,)."""
        self.vectors[items] = vectors
        self.filled[items] = True

    def nearest(self, item: int, count: int) -> Indices:
        """The items that look most like one, nearest first; empty when it is unknown."""
        if not self.filled[item]:
            return np.zeros(0, dtype=np.int64)
        scores = np.where(self.filled, self.vectors @ self.vectors[item], -np.inf)
        scores[item] = -np.inf
        count = min(count, int(np.isfinite(scores).sum()))
        return np.argsort(-scores, kind="stable")[:count].astype(np.int64)


def draw_items(
    table: PickTable, memory: ItemMemory, count: int, group: int, rng: np.random.Generator
) -> Indices:
    """Draw distinct items in groups of hard neighbours.

    Every group has an anchor drawn at random; half of the others look like it
    (by memory), the rest shared a container with it.

    Args:
        table: the items.
        memory: what they looked like last.
        count: items in the batch; fewer when there are not as many.
        group: items in a group, 1 for a plain random batch.
        rng: where chance comes from.

    Returns:
        (n,) int64, distinct.
    """
    total = len(table.items)
    chosen: dict[int, None] = {}
    for anchor in rng.permutation(total):
        if len(chosen) >= min(count, total):
            break
        if int(anchor) in chosen:
            continue
        alike = memory.nearest(int(anchor), 3 * group)
        alike = rng.permutation(alike)[: group // 2]
        mates = rng.permutation(table.mates[int(anchor)])
        members = [int(anchor), *alike.tolist(), *mates.tolist()]
        fresh = [member for member in dict.fromkeys(members) if member not in chosen][:group]
        chosen.update(dict.fromkeys(fresh))
    return np.fromiter(chosen, dtype=np.int64)[:count]


def draw_pictures(
    table: PickTable, items: Indices, references: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Draw one pick and some references of every item.

    Returns:
        (n, 3) view indices, -1 where absent, and (n, references) indices.
    """
    views = [table.picks[i][rng.integers(len(table.picks[i]))] for i in items]
    chosen = []
    for item in items:
        pool = table.references[item]
        # with fewer pictures than wanted some come twice, augmented differently
        chosen.append(rng.choice(pool, size=references, replace=len(pool) < references))
    return np.stack(views), np.stack(chosen)


SAMPLERS = ("lookalike", "random", "pk")


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a batch is drawn.

    Attributes:
        name: "lookalike" draws groups of look-alikes (by the last embeddings of
            their references) and container mates, "random" any items, "pk" any
            items too but with `views` pictures each, from all their picks.
        items: items in a batch.
        group: items in a group of look-alikes.
        references: reference pictures of an item.
        views: pictures of picks an item brings under "pk".
    """

    name: str
    items: int
    group: int
    references: int
    views: int

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            ConfigError: If there is no such sampler, or a count is below 1.
        """
        if self.name not in SAMPLERS:
            raise ConfigError(f"no sampler {self.name!r}; the samplers are {', '.join(SAMPLERS)}.")
        if min(self.items, self.group, self.references, self.views) < 1:
            raise ConfigError("batch_items, group, references and views_per_item start at 1.")

    def draw(
        self, table: PickTable, memory: ItemMemory, rng: np.random.Generator
    ) -> tuple[Indices, Indices, Indices]:
        """Draw a batch.

        Returns:
            (n,) items; (n, K) pictures of picks, -1 where absent, K = 3 but for
            "pk"; (n, references) pictures. The first three of K are the views
            of one pick, in order, wherever K is 3 or more.
        """
        group = self.group if self.name == "lookalike" else 1
        items = draw_items(table, memory, self.items, group, rng)
        views, references = draw_pictures(table, items, self.references, rng)
        if self.name == "pk":
            views = np.stack(
                [
                    _more_views(table.picks[i], row, self.views, rng)
                    for i, row in zip(items, views, strict=True)
                ]
            )
        return items, views, references


def _more_views(picks: Indices, pick: Indices, count: int, rng: np.random.Generator) -> Indices:
    """A pick's views and others of its item's, (count,); fewer than a pick's come from all."""
    everything = picks[picks >= 0]
    if count < len(pick):
        few: Indices = rng.choice(everything, size=count, replace=len(everything) < count)
        return few
    extra = count - len(pick)
    pool = np.setdiff1d(everything, pick)
    pool = pool if len(pool) else everything
    # with fewer pictures than wanted some come twice, augmented differently
    chosen = rng.choice(pool, size=extra, replace=len(pool) < extra)
    views: Indices = np.concatenate((pick, chosen))
    return views
