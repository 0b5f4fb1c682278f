# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Identification, judged as it ships: exported graph, stage's crop, unique items."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from robollm_core.config import Config, RuntimeConfig
from robollm_core.data.armbench_identification import (
    VIEWS,
    IdentificationSplit,
    Pick,
    read_identification,
)
from robollm_core.data.samples import Picture, cut
from robollm_core.errors import DatasetError
from robollm_core.evaluation.intervals import (
    Figure,
    auroc,
    fpr_at_recall,
    proportion,
    threshold_at_recall,
    two_sample,
)
from robollm_core.identification.gallery import item_scores
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import (
    RELEASED,
    check_stage,
    crop_spec,
    has_output,
    reference_output,
    reference_scale,
    scoring,
)
from robollm_core.types import Engine, Float32Array

RANKS = (1, 2, 3, 5)
FUSED = "fused"
_BATCH = 32

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Everything of a split as numbers.

    Attributes:
        queries: way of asking (a view name, or "fused") to pick id to (D,).
        gallery: item id to (references, D).
        scale: inverse temperature at which an item's references are put together.
        unit: what a score is divided by before a threshold is compared with it: 1,
            or the width D where scores are raw dot products.
    """

    queries: Mapping[str, Mapping[str, Float32Array]]
    gallery: Mapping[str, Float32Array]
    scale: float = math.inf
    unit: float = 1.0


def evaluate(
    artifact: Path, data: Path, split: str = "test", config: Config | None = None
) -> dict[str, Any]:
    """Measure an identification artifact.

    Args:
        artifact: x.onnx; x_fusion.onnx lies beside it.
        data: folder in ARMBench's identification layout.
        split: "train", "val" or "test".
        config: says on which runtime; None for the defaults.

    Returns:
        The section of metrics.json. recall_at_K_n1 asks with PickRGB,
        recall_at_K_n3 with the three views fused, of the same picks. Where no
        pick has all views, as in a cell with one camera, PickRGB alone is asked.

    Raises:
        ArtifactError: If an artifact is missing or not what it should be.
        DatasetError: If the data is, or no pick can be asked in all ways.
    """
    samples = read_identification(data, split)
    embedded = embed(artifact, samples, (config or Config()).runtime)
    groups = sort_picks(samples)
    if not groups["closed"]:
        raise DatasetError(f"no pick of {data} has its views and a known item on its manifest.")
    sizes = [sum(name in embedded.gallery for name in p.manifest) for p in groups["closed"]]
    section: dict[str, Any] = {
        **_headline(groups["closed"], embedded),
        "views": {
            view: _recalls(groups["closed"], embedded, view)
            for view in VIEWS
            if view in embedded.queries
        },
        "gallery": {
            "kind": "items of the pick's manifest that have references",
            "mean": round(float(np.mean(sizes)), 2),
            "min": min(sizes),
            "max": max(sizes),
        },
        "all_references": _whole_gallery(groups["closed"], embedded),
        "picks": {name: len(group) for name, group in groups.items()},
        "open_set": {way: _open_set(groups, embedded, way) for _, way in _ways(embedded)},
    }
    return section


def views_of(samples: IdentificationSplit) -> tuple[str, ...]:
    """What picks are asked by: all views, or PickRGB alone where no pick has all."""
    whole = any(all(view in pick.views for view in VIEWS) for pick in samples.picks)
    return VIEWS if whole else VIEWS[:1]


def _ways(embedded: Embedded) -> list[tuple[str, str]]:
    """The ways of asking that count, with the ending of their figures."""
    return [(end, way) for end, way in (("n1", VIEWS[0]), ("n3", FUSED)) if way in embedded.queries]


def sort_picks(samples: IdentificationSplit) -> dict[str, list[Pick]]:
    """Sort picks by what can be asked of them.

    Returns:
        "closed": all of `views_of`, item on the manifest and with references;
        "not_on_manifest": all views, item absent from the manifest;
        "no_reference": on the manifest, but the item has no reference;
        "lacks_views": one of the views is missing.
    """
    views = views_of(samples)
    groups: dict[str, list[Pick]] = {
        name: [] for name in ("closed", "not_on_manifest", "no_reference", "lacks_views")
    }
    for pick in samples.picks:
        if any(view not in pick.views for view in views):
            groups["lacks_views"].append(pick)
        elif pick.item_id not in pick.manifest:
            groups["not_on_manifest"].append(pick)
        elif pick.item_id not in samples.references:
            groups["no_reference"].append(pick)
        else:
            groups["closed"].append(pick)
    return groups


def embed(artifact: Path, samples: IdentificationSplit, runtime: RuntimeConfig) -> Embedded:
    """Run the exported networks over all pictures of a split.

    Raises:
        ArtifactError: If an artifact is missing or not what it should be.
        DatasetError: If no pick has PickRGB, or the network asks with three views
            and none has all.
    """
    path, sidecar = load_artifact(artifact)
    check_stage(sidecar, "identification")
    spec = crop_spec(sidecar)
    engine = load_engine(path, runtime)
    # a network of single views has no features to fuse
    fusion = _fusion_engine(path, runtime) if has_output(sidecar, "feature") else None
    views = views_of(samples)
    picks = [p for p in samples.picks if all(view in p.views for view in views)]
    if not picks:
        raise DatasetError(f"the split has no pick with {VIEWS[0]}.")
    pictures = [p.views[view] for p in picks for view in views]
    owners = [name for name, own in samples.references.items() for _ in own]
    pictures += [picture for own in samples.references.values() for picture in own]
    answers = _run(engine, pictures, spec)
    count = len(picks) * len(views)
    by_pick = {
        name: rows[:count].reshape(len(picks), len(views), -1) for name, rows in answers.items()
    }
    queries: dict[str, dict[str, Float32Array]] = {}
    if "embedding" in by_pick:
        for v, view in enumerate(views):
            queries[view] = {p.pick_id: by_pick["embedding"][i, v] for i, p in enumerate(picks)}
    if fusion is not None and views == VIEWS:
        fused = _fuse(fusion, by_pick["feature"])
        queries[FUSED] = {pick.pick_id: fused[i] for i, pick in enumerate(picks)}
    if not queries:
        raise DatasetError("the network asks with three views, and no pick of the split has all.")
    references = answers[reference_output(sidecar)][count:]
    unit = float(references.shape[1]) if scoring(sidecar) == RELEASED else 1.0
    return Embedded(queries, _by_item(owners, references), reference_scale(sidecar), unit)


def _fusion_engine(path: Path, runtime: RuntimeConfig) -> Engine:
    fusion_path, sidecar = load_artifact(path.with_name(f"{path.stem}_fusion.onnx"))
    check_stage(sidecar, "identification_fusion")
    return load_engine(fusion_path, runtime)


def _by_item(owners: Sequence[str], rows: Float32Array) -> dict[str, Float32Array]:
    gallery: dict[str, list[Float32Array]] = {}
    for name, row in zip(owners, rows, strict=True):
        gallery.setdefault(name, []).append(row)
    return {name: np.stack(own) for name, own in gallery.items()}


def _run(engine: Engine, pictures: Sequence[Picture], spec: Any) -> dict[str, Float32Array]:
    """Every output of the network, (pictures, ...) each."""
    parts: dict[str, list[Float32Array]] = {}
    for start in tqdm(range(0, len(pictures), _BATCH), desc="embed", mininterval=1.0):
        crops = np.stack([cut(picture, spec) for picture in pictures[start : start + _BATCH]])
        for name, rows in engine.run({"images": crops}).items():
            parts.setdefault(name, []).append(np.asarray(rows, np.float32))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _fuse(engine: Engine, features: Float32Array) -> Float32Array:
    parts = [
        np.asarray(engine.run({"features": features[start : start + _BATCH]})["embedding"])
        for start in range(0, len(features), _BATCH)
    ]
    return np.concatenate(parts).astype(np.float32)


def scores_of(query: Float32Array, items: Sequence[str], embedded: Embedded) -> dict[str, float]:
    """Similarity of a query to every item, as the stage scores it, each item once.

    Items without a reference are left out.
    """
    names = [name for name in dict.fromkeys(items) if name in embedded.gallery]
    if not names:
        return {}
    rows = [embedded.gallery[name] for name in names]
    starts = np.cumsum([0, *(len(own) for own in rows[:-1])], dtype=np.int64)
    similarity = (np.concatenate(rows) @ query)[None]
    scores = item_scores(similarity, starts, embedded.scale)[0]
    return dict(zip(names, scores.tolist(), strict=True))


def rank_of(item_id: str, scores: Mapping[str, float]) -> int:
    """Place of an item, from 1; a tie counts against it."""
    own = scores[item_id]
    return sum(score >= own for score in scores.values())


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


def _recalls(picks: Sequence[Pick], embedded: Embedded, way: str) -> dict[str, Figure]:
    places = ranks(picks, embedded, way)
    return {f"recall_at_{k}": proportion(places <= k) for k in RANKS}


def _headline(picks: Sequence[Pick], embedded: Embedded) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for suffix, way in _ways(embedded):
        for name, figure in _recalls(picks, embedded, way).items():
            figures[f"{name}_{suffix}"] = figure
    return figures


def _whole_gallery(picks: Sequence[Pick], embedded: Embedded) -> dict[str, Any]:
    items = list(embedded.gallery)
    figures: dict[str, Any] = {"items": len(items)}
    for suffix, way in _ways(embedded):
        places = ranks(picks, embedded, way, items)
        figures |= {f"recall_at_{k}_{suffix}": proportion(places <= k) for k in (1, 5)}
    return figures


def _open_set(groups: Mapping[str, Sequence[Pick]], embedded: Embedded, way: str) -> dict[str, Any]:
    """How well similarity and lead tell items of the manifest from strangers."""
    known = _confidence(groups["closed"], embedded, way)
    strangers = _confidence(groups["not_on_manifest"], embedded, way)
    figures: dict[str, Any] = {}
    for column, name in enumerate(("similarity", "margin")):
        inside, outside = known[:, column], strangers[:, column]
        figures[name] = {
            "auroc": two_sample(auroc, inside, outside),
            "fpr_at_95": two_sample(fpr_at_recall(0.95), inside, outside, n=len(outside)),
            "threshold_at_95": round(threshold_at_recall(inside, 0.95), 6),
        }
    return figures


def _confidence(picks: Sequence[Pick], embedded: Embedded, way: str) -> Float32Array:
    """(n, 2) float32: best similarity, and its lead over the runner-up, in `unit`."""
    rows = []
    for pick in picks:
        query = embedded.queries[way][pick.pick_id]
        known = scores_of(query, pick.manifest, embedded).values()
        scores = sorted((score / embedded.unit for score in known), reverse=True)
        if scores:
            rows.append((scores[0], scores[0] - scores[1] if len(scores) > 1 else 2.0))
    return np.asarray(rows, dtype=np.float32).reshape(-1, 2)
