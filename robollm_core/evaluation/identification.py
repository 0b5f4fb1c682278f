# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Identification, judged as it ships: exported graph, stage's crop, unique items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robollm_core.data.armbench_identification import (
    ALL_VIEWS,
    VIEWS,
    IdentificationSplit,
    Pick,
)
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.evaluation import identification_figures as figures_of
from robollm_core.evaluation.embedding import FUSED, Embedded, embed_samples, views_of
from robollm_core.evaluation.identification_exhibits import Shelf, crop_of, exhibits
from robollm_core.evaluation.identification_figures import Asked, Whole
from robollm_core.evaluation.identification_inputs import (
    check_broken,
    embed_view,
    index_facts,
    read_split,
    released_lists,
    with_every_reference,
)
from robollm_core.evaluation.identification_nearest import evaluate_nearest
from robollm_core.evaluation.identification_peers import (
    Verdict,
    output_csv,
    retrieval,
    verdict_of,
)
from robollm_core.evaluation.identification_protocols import (
    CLOSED,
    NO_REFERENCE,
    STRANGER,
    Answer,
    answers,
    rank_of,
    ranks,
    scores_of,
    sort_picks,
    ways_of,
)
from robollm_core.evaluation.identification_report import blocks
from robollm_core.evaluation.outcome import Outcome, Request

__all__ = [
    "FUSED", "Embedded", "evaluate", "rank_of", "ranks", "scores_of", "sort_picks", "views_of",
]  # fmt: skip

PROTOCOLS = ("item", "nearest")
_ASKED = (CLOSED, STRANGER, NO_REFERENCE)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A split, asked.

    Attributes:
        samples: the split, with every reference image of the data set.
        count: picks that were asked for, broken ones included.
        embedded: the numbers.
        groups: picks by what can be asked of them.
        asked: n1 and n3 to group to answers.
        views: view to the answers of closed picks.
        wholes: galleries for all picks, by name.
    """

    samples: IdentificationSplit
    count: int
    embedded: Embedded
    groups: Mapping[str, Sequence[Pick]]
    asked: Asked
    views: Mapping[str, Sequence[Answer]]
    wholes: Mapping[str, Whole]


def evaluate(request: Request) -> Outcome:
    """Measure an identification network, or a peer's encoder.

    Args:
        request: a data set in ARMBench's identification layout. `options`:
            "protocol", "item" or amzn's "nearest"; "index", a folder with the
            released index files, for the galleries of the count as the released
            code does it; "galleries", "all" or "split", without the whole one;
            and those of `embedding.embed_samples`.

    Returns:
        recall_at_K_n1 asks with PickRGB, recall_at_K_n3 with the three views
        fused, of the same picks. Where no pick has all views, as in a cell with
        one camera, PickRGB alone is asked.

    Raises:
        ArtifactError: If a network is missing or not what it should be.
        ConfigError: If there is no such protocol.
        DatasetError: If the data is not as it should be, too much of it is broken,
            or no pick can be asked in all ways.
    """
    protocol = request.options.get("protocol", "item")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    if protocol == "nearest":
        return evaluate_nearest(request)
    measured = measure(request)
    figures = _figures(measured, request)
    verdicts = _verdicts(measured)
    figures["peers"] = {name: retrieval(own) for name, own in verdicts.items()}
    best = list(measured.asked)[-1]
    return Outcome(
        figures=figures,
        records=records(measured),
        blocks=tuple(blocks(figures, measured.asked, measured.wholes)),
        exhibits=exhibits(measured.asked[best][CLOSED], _shelf(measured, request)),
        files={name: output_csv(own) for name, own in verdicts.items()},
        networks=measured.embedded.networks,
        samples=measured.count,
    )


def measure(request: Request) -> Measured:
    """Embed a split and ask for every pick; see `evaluate`."""
    split, count = read_split(request)
    samples = with_every_reference(split, request)
    embedded = embed_samples(samples, request)
    groups = sort_picks(samples, embedded)
    if not groups[CLOSED]:
        raise DatasetError(
            f"no pick of {request.dataset} has its views and a known item on its manifest."
        )
    scale = confidence_scale(embedded)
    lists = released_lists(request)
    ways = dict(ways_of(embedded))
    asked = {
        end: {group: answers(groups[group], embedded, way, scale, lists) for group in _ASKED}
        for end, way in ways.items()
    }
    galleries = {
        "picked_references": list(dict.fromkeys(pick.item_id for pick in groups[CLOSED])),
        "all_references": [name for name in split.references if name in embedded.gallery],
        "whole_gallery": list(embedded.gallery),
    }
    if samples.references is split.references:
        del galleries["whole_gallery"]
    views = _views(samples, groups[CLOSED], embedded, request)
    check_broken(samples, count, request)
    wholes = {
        name: figures_of.rank_in(groups[CLOSED], embedded, items, ways)
        for name, items in galleries.items()
    }
    return Measured(samples, count, embedded, groups, asked, views, wholes)


def confidence_scale(embedded: Embedded) -> float:
    """The inverse temperature of confidences: the network's own, or 1 where it names none."""
    return embedded.scale if np.isfinite(embedded.scale) else 1.0


def _views(
    samples: IdentificationSplit, closed: Sequence[Pick], embedded: Embedded, request: Request
) -> dict[str, list[Answer]]:
    """Answers of each view alone; FarTrayRGB is part of no way of asking, so it comes extra."""
    scale = confidence_scale(embedded)
    found = {
        view: answers(closed, embedded, view, scale) for view in VIEWS if view in embedded.queries
    }
    if len(found) == len(VIEWS):
        for view in ALL_VIEWS[len(VIEWS) :]:
            extra = replace(embedded, queries={view: embed_view(samples, request, view)})
            found[view] = answers(closed, extra, view, scale)
    return {view: own for view, own in found.items() if own}


def _figures(measured: Measured, request: Request) -> dict[str, Any]:
    asked, embedded, seed = measured.asked, measured.embedded, request.seed
    ways = dict(ways_of(embedded))
    closed = next(iter(asked.values()))[CLOSED]
    words = {
        "picked_references": "Gallery: the items that the picks of the split picked.",
        "all_references": "Gallery: all items with references that a manifest or a pick of the "
        "split names.",
        "whole_gallery": "Gallery: all items of the data set that have references.",
    }
    return {
        **figures_of.headline(asked, seed),
        "views": figures_of.by_view(measured.views, seed),
        "gallery": figures_of.gallery(closed),
        **{
            name: figures_of.whole_gallery(whole, words[name], seed)
            for name, whole in measured.wholes.items()
        },
        "image_level": _image_level(asked, request),
        "picks": {name: len(group) for name, group in measured.groups.items()},
        "open_set": figures_of.open_set(asked, ways, STRANGER, seed),
        "open_set_no_reference": figures_of.open_set(asked, ways, NO_REFERENCE, seed),
        "calibration": figures_of.calibrated(asked, _scale(embedded), seed),
        "abstain": figures_of.abstaining(asked, seed),
        "by_manifest_size": figures_of.binned(asked, figures_of.SIZES, "manifest", seed),
        "by_references": figures_of.binned(asked, figures_of.REFERENCES, "references", seed),
        "scoring": {
            "kind": "dot products of the embeddings, cosines where those are of unit length",
            "unit": embedded.unit,
            "over_references": "best"
            if np.isinf(embedded.scale)
            else f"soft maximum at inverse temperature {embedded.scale:g}",
            "preparation": embedded.preparation,
        },
    }


def _image_level(asked: Asked, request: Request) -> dict[str, Any]:
    if not request.options.get("index"):
        return figures_of.image_level(asked, "Gallery: the manifest, items with references.")
    lists = "Galleries: the lists of the released index files; picks they lack are left out."
    return figures_of.image_level(asked, lists) | {"index_files": index_facts(request)}


def _scale(embedded: Embedded) -> str:
    if np.isfinite(embedded.scale):
        return f"inverse temperature {embedded.scale:g}, learned by the network"
    return "inverse temperature 1: the network names none, so its confidences mean little"


def _verdicts(measured: Measured) -> dict[str, list[Verdict]]:
    """Rows of output.csv, of the best way of asking; those of a lesser way in a folder.

    The official script wants this very name, so each has a folder of its own.
    """
    order = {pick.pick_id: place for place, pick in enumerate(measured.samples.picks)}
    found = {}
    for end, groups in measured.asked.items():
        last = end == list(measured.asked)[-1]
        own = [verdict_of(one) for group in _ASKED for one in groups[group]]
        answered = {one.pick.pick_id for one in own}
        # a manifest without any reference is answered with nothing, which is wrong
        asked = [pick for group in _ASKED for pick in measured.groups[group]]
        own += [Verdict(pick) for pick in asked if pick.pick_id not in answered]
        name = "output.csv" if last else f"{end}/output.csv"
        found[name] = sorted(own, key=lambda one: order[one.pick.pick_id])
    return found


def _shelf(measured: Measured, request: Request) -> Shelf:
    embedded = measured.embedded
    way = ways_of(embedded)[-1][1]
    return Shelf(
        pictures=measured.samples.references,
        gallery=embedded.gallery,
        queries=[embedded.queries[way]],
        views=VIEWS if way == FUSED else VIEWS[:1],
        crop=crop_of(request),
        broken=frozenset(entry.path for entry in request.broken.entries),
    )


def records(measured: Measured) -> list[dict[str, Any]]:
    """One a pick, in the order of the split."""
    rows: dict[str, dict[str, Any]] = {
        pick.pick_id: {"id": pick.pick_id, "group": group, "item": pick.item_id}
        for group, picks in measured.groups.items()
        for pick in picks
    }
    for end, groups in measured.asked.items():
        for group in _ASKED:
            for one in groups[group]:
                rows[one.pick.pick_id] |= _facts(one) | {end: _answer(one)}
    return [rows[pick.pick_id] for pick in measured.samples.picks]


def _facts(one: Answer) -> dict[str, int]:
    return {"manifest": len(one.items), "references": one.references}


def _answer(one: Answer) -> dict[str, Any]:
    return {
        "rank": one.rank or None,
        "chosen": one.chosen,
        "similarity": round(one.similarity, 6),
        "margin": round(one.margin, 6),
        "confidence": round(one.confidence, 6),
    }
