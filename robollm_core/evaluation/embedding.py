# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A split of identification as numbers: every picture embedded once, in any order, resumable."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robollm_core.data.armbench_identification import (
    VIEWS,
    IdentificationSplit,
    Pick,
    read_identification,
)
from robollm_core.errors import DatasetError
from robollm_core.evaluation.embedding_cache import EmbeddingCache
from robollm_core.evaluation.embedding_model import Model, load_model
from robollm_core.evaluation.embedding_run import Spread, embed_missing
from robollm_core.evaluation.outcome import Request
from robollm_core.types import Engine, Float32Array

FUSED = "fused"
CACHE = "embeddings.sqlite"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Embedded:
    """Everything of a split as numbers.

    Attributes:
        queries: way of asking (a view name, or "fused") to pick id to (D,); every
            way has the same picks, those whose views could all be read.
        gallery: item id to (references, D); without items of which no reference
            could be read.
        scale: inverse temperature at which an item's references are put together.
        unit: what a score is divided by before a threshold is compared with it: 1,
            or the width D where scores are raw dot products.
        networks: name of each file that answered to its sha256.
        preparation: how pictures were brought to the network, in words.
    """

    queries: Mapping[str, Mapping[str, Float32Array]]
    gallery: Mapping[str, Float32Array]
    scale: float = math.inf
    unit: float = 1.0
    networks: Mapping[str, str] = field(default_factory=dict)
    preparation: str = ""


def embed_split(request: Request) -> Embedded:
    """Embed all picks of a split and their references.

    Args:
        request: `options` may hold "workers" and "ray".

    Raises:
        ArtifactError: If a network is missing or not what it should be.
        DatasetError: If no pick can be asked.
    """
    return embed_samples(read_identification(request.dataset, request.split), request)


def embed_samples(samples: IdentificationSplit, request: Request) -> Embedded:
    """Embed picks and references that were read; like `embed_split`."""
    model = load_model(request)
    views = views_of(samples)
    picks = [pick for pick in samples.picks if all(view in pick.views for view in views)]
    if not picks:
        raise DatasetError(f"the split has no pick with {views[0]}.")
    asked = [pick.views[view] for pick in picks for view in views]
    owners = [name for name, own in samples.references.items() for _ in own]
    shown = [picture for own in samples.references.values() for picture in own]
    with ExitStack() as stack:
        folder = request.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache = stack.enter_context(EmbeddingCache(folder / CACHE, model.source.network))
        spread = Spread.of(request.options)
        keys = embed_missing([*asked, *shown], model.source, cache, spread, request.broken)
        whole = _whole(picks, keys[: len(asked)], len(views))
        queries = _queries(whole, views, model, cache)
        gallery = _gallery(owners, keys[len(asked) :], model, cache)
    width = len(next(iter(gallery.values()))[0]) if gallery else 1
    unit = float(width) if model.raw else 1.0
    return Embedded(queries, gallery, model.scale, unit, model.networks, model.preparation)


def views_of(samples: IdentificationSplit) -> tuple[str, ...]:
    """What picks are asked by: all views, or PickRGB alone where no pick has all."""
    whole = any(all(view in pick.views for view in VIEWS) for pick in samples.picks)
    return VIEWS if whole else VIEWS[:1]


def _whole(
    picks: Sequence[Pick], keys: Sequence[bytes | None], views: int
) -> list[tuple[Pick, list[bytes]]]:
    """The picks of which every view could be read, with their keys."""
    groups = [keys[start : start + views] for start in range(0, len(keys), views)]
    found = []
    for pick, group in zip(picks, groups, strict=True):
        own = [key for key in group if key is not None]
        if len(own) == views:
            found.append((pick, own))
    return found


def _queries(
    whole: Sequence[tuple[Pick, Sequence[bytes]]],
    views: Sequence[str],
    model: Model,
    cache: EmbeddingCache,
) -> dict[str, dict[str, Float32Array]]:
    """Embeddings of the picks by every way of asking."""
    if not whole:
        raise DatasetError("no pick of the split has views that can be read.")
    names = [pick.pick_id for pick, _ in whole]
    queries: dict[str, dict[str, Float32Array]] = {}
    for v, view in enumerate(views if model.query else ()):
        rows = cache.get([keys[v] for _, keys in whole], model.query)
        queries[view] = dict(zip(names, rows, strict=True))
    if model.fusion is not None and tuple(views) == VIEWS:
        rows = _fuse(model.fusion, [keys for _, keys in whole], cache)
        queries[FUSED] = dict(zip(names, rows, strict=True))
    if not queries:
        raise DatasetError("the network asks with three views, and no pick of the split has all.")
    return queries


def _fuse(engine: Engine, keys: Sequence[Sequence[bytes]], cache: EmbeddingCache) -> Float32Array:
    """(n, D) float32 of the three views of n picks."""
    parts: list[Float32Array] = []
    for start in range(0, len(keys), _BATCH):
        part = list(keys[start : start + _BATCH])
        # always as many, see embedding_run
        full = part + [part[-1]] * (_BATCH - len(part))
        features = cache.get([key for own in full for key in own], "feature")
        fused = engine.run({"features": features.reshape(_BATCH, len(VIEWS), -1)})["embedding"]
        parts.append(np.asarray(fused, np.float32)[: len(part)])
    return np.concatenate(parts)


def _gallery(
    owners: Sequence[str], keys: Sequence[bytes | None], model: Model, cache: EmbeddingCache
) -> dict[str, Float32Array]:
    """Embeddings of the references by item; the rows of an item are a view of one array."""
    known = [(owner, key) for owner, key in zip(owners, keys, strict=True) if key is not None]
    if not known:
        return {}
    rows = cache.get([key for _, key in known], model.reference)
    names = [owner for owner, _ in known]
    firsts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    return {
        names[first]: rows[first:last]
        for first, last in zip(firsts, [*firsts[1:], len(names)], strict=True)
    }
