# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The nearest-neighbour protocol of amzn/armbench, for any network that embeds pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robollm_core.data.armbench_identification import (
    ALL_VIEWS,
    VIEWS,
    IdentificationSplit,
    Pick,
    split_items,
)
from robollm_core.errors import ArtifactError, DatasetError
from robollm_core.evaluation import calibration
from robollm_core.evaluation.embedding import Embedded, embed_samples
from robollm_core.evaluation.identification_exhibits import Shelf, crop_of, exhibits
from robollm_core.evaluation.identification_figures import recalls
from robollm_core.evaluation.identification_inputs import check_broken, read_split
from robollm_core.evaluation.identification_peers import (
    Verdict,
    nearest,
    output_csv,
    retrieval,
)
from robollm_core.evaluation.identification_protocols import (
    BROKEN,
    CLOSED,
    LACKS_VIEWS,
    NO_REFERENCE,
    RANKS,
    STRANGER,
)
from robollm_core.evaluation.identification_report import picks_table, thinned
from robollm_core.evaluation.intervals import grouped_mean
from robollm_core.evaluation.outcome import Block, Outcome, Plot, Request, Series, Table
from robollm_core.types import Float32Array

PROTOCOL = (
    "Classes: item ids. As identification/test.py of amzn/armbench: all views of a pick that there "
    "are, each against every reference image of the manifest by cosine distance; items rank by "
    "their nearest image, each once. {gallery} A pick whose manifest has no reference image, or "
    "whose item has none or is not on the manifest, counts as wrong."
)


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A split, asked.

    Attributes:
        samples: the split, with the references that count.
        count: picks that were asked for, broken ones included.
        groups: picks by what can be asked of them.
        verdicts: one a pick that has a view, in the order of the split.
        shelf: where pictures come from.
        embedded: of the references.
        gallery: which references count, a sentence.
    """

    samples: IdentificationSplit
    count: int
    groups: Mapping[str, Sequence[Pick]]
    verdicts: Sequence[Verdict]
    shelf: Shelf
    embedded: Embedded
    gallery: str

    @property
    def closed(self) -> list[Verdict]:
        """Of picks whose item is in the gallery."""
        return [one for one in self.verdicts if one.rank]


def evaluate_nearest(request: Request) -> Outcome:
    """Measure by the nearest reference image over all four views.

    Args:
        request: as for `identification.evaluate`.

    Returns:
        recall_at_K_nearest of all picks that have a view; a pick that cannot be
        right counts as wrong. "closed" has those of picks that can.

    Raises:
        ArtifactError: If the network does not embed single views.
        DatasetError: If the data is not as it should be, too much of it is broken,
            or no pick can be asked.
    """
    looked = _look(request)
    figures = _figures(looked, request.seed)
    return Outcome(
        figures=figures,
        records=_records(looked),
        blocks=_blocks(figures, looked),
        exhibits=exhibits(looked.closed, looked.shelf),
        files={"output.csv": output_csv(looked.verdicts)},
        networks=looked.embedded.networks,
        samples=looked.count,
    )


def _look(request: Request) -> Looked:
    samples, count = read_split(request)
    listed = frozenset(split_items(request.dataset, request.split))
    if listed:
        kept = {name: own for name, own in samples.references.items() if name in listed}
        samples = replace(samples, references=kept)
    embedded, queries = _embed(samples, request)
    check_broken(samples, count, request)
    groups = _sort(samples, queries, embedded)
    asked = [pick for pick in samples.picks if any(pick.pick_id in own for own in queries.values())]
    verdicts = [
        nearest(
            pick,
            [own[pick.pick_id] for own in queries.values() if pick.pick_id in own],
            embedded.gallery,
        )
        for pick in asked
    ]
    shelf = Shelf(
        pictures=samples.references,
        gallery=embedded.gallery,
        queries=list(queries.values()),
        views=list(queries),
        crop=crop_of(request),
        broken=frozenset(entry.path for entry in request.broken.entries),
        cosine=True,
    )
    gallery = (
        "Gallery: items of the manifest that the split file lists as objects of the split."
        if listed
        else "Gallery: items of the manifest; the split file lists no objects."
    )
    return Looked(samples, count, groups, verdicts, shelf, embedded, gallery)


def _embed(
    samples: IdentificationSplit, request: Request
) -> tuple[Embedded, dict[str, Mapping[str, Float32Array]]]:
    """The references, and view to pick id to embedding, of every view there is."""
    queries: dict[str, Mapping[str, Float32Array]] = {}
    embedded: Embedded | None = None
    for view in ALL_VIEWS:
        picks = tuple(
            replace(pick, views={VIEWS[0]: pick.views[view]})
            for pick in samples.picks
            if view in pick.views
        )
        if not picks:
            continue
        own = samples.references if embedded is None else {}
        found = embed_samples(IdentificationSplit(picks, own), request)
        if VIEWS[0] not in found.queries:
            raise ArtifactError(
                "expected a network that embeds single views, as the nearest-neighbour protocol "
                "asks, got one of three views together. Use --protocol item."
            )
        embedded = embedded or found
        queries[view] = found.queries[VIEWS[0]]
    if embedded is None:
        raise DatasetError(f"no pick of {request.dataset} has any of {', '.join(ALL_VIEWS)}.")
    return embedded, queries


def _sort(
    samples: IdentificationSplit,
    queries: Mapping[str, Mapping[str, Float32Array]],
    embedded: Embedded,
) -> dict[str, list[Pick]]:
    groups: dict[str, list[Pick]] = {
        name: [] for name in (CLOSED, STRANGER, NO_REFERENCE, LACKS_VIEWS, BROKEN)
    }
    for pick in samples.picks:
        if not pick.views:
            groups[LACKS_VIEWS].append(pick)
        elif not any(pick.pick_id in own for own in queries.values()):
            groups[BROKEN].append(pick)
        elif pick.item_id not in pick.manifest:
            groups[STRANGER].append(pick)
        else:
            groups[CLOSED if pick.item_id in embedded.gallery else NO_REFERENCE].append(pick)
    return groups


def _figures(looked: Looked, seed: int) -> dict[str, Any]:
    places = np.array([one.rank or np.inf for one in looked.verdicts])
    own = np.array([one.rank for one in looked.closed], np.float64)
    sure, right = _sure(looked.verdicts)
    return {
        **{f"{name}_nearest": figure for name, figure in recalls(places).items()},
        "mrr_nearest": grouped_mean(1.0 / places, seed=seed),
        "protocol": PROTOCOL.format(gallery=looked.gallery),
        "closed": {
            **recalls(own),
            "mrr": grouped_mean(1.0 / own, seed=seed),
            "protocol": f"Picks whose item is in the gallery. {looked.gallery}",
        },
        "picks": {name: len(group) for name, group in looked.groups.items()},
        "abstain": {
            **{
                f"risk_at_coverage_{round(100 * share)}": calibration.risk_at(sure, right, share)
                for share in calibration.COVERAGES
            },
            "protocol": "All picks that have a view, the most confident first; confidence is "
            "1 - p2 / p1 of a softmax over negative distances, 1 for a lone item.",
        },
        "scoring": {"kind": "cosine distance", "preparation": looked.embedded.preparation},
        "peers": {"output.csv": retrieval(looked.verdicts)},
    }


def _sure(verdicts: Sequence[Verdict]) -> tuple[calibration.Floats, calibration.Bools]:
    sure = np.array([one.confidence for one in verdicts], np.float64)
    return sure, np.array([one.right for one in verdicts], np.bool_)


def _records(looked: Looked) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {
        pick.pick_id: {"id": pick.pick_id, "group": group, "item": pick.item_id}
        for group, picks in looked.groups.items()
        for pick in picks
    }
    for one in looked.verdicts:
        rows[one.pick.pick_id] |= {
            "manifest": len(one.items),
            "references": len(looked.embedded.gallery.get(one.pick.item_id, ())),
            "nearest": {
                "rank": one.rank or None,
                "chosen": one.chosen,
                "similarity": round(one.similarity, 6),
                "margin": round(one.margin, 6),
                "confidence": round(one.confidence, 6),
            },
        }
    return [rows[pick.pick_id] for pick in looked.samples.picks]


def _blocks(figures: Mapping[str, Any], looked: Looked) -> tuple[Block, ...]:
    columns = ("picks", *(f"R@{k}" for k in RANKS), "MRR")
    rows = (
        ("all", *(figures[f"recall_at_{k}_nearest"] for k in RANKS), figures["mrr_nearest"]),
        (
            "item in the gallery",
            *(figures["closed"][f"recall_at_{k}"] for k in RANKS),
            figures["closed"]["mrr"],
        ),
    )
    coverage, risk = calibration.risk_coverage(*_sure(looked.verdicts))
    kept = thinned(len(coverage))
    curve = Series("all picks", coverage[kept].tolist(), risk[kept].tolist())
    return (
        Table("Recall by nearest reference", columns, rows, figures["protocol"]),
        picks_table(figures),
        Plot(
            "Risk by coverage",
            "coverage, share of picks answered",
            "risk, share of answers that are wrong",
            (curve,),
            x_limits=(0.0, 1.0),
            y_limits=(),
            note=figures["abstain"]["protocol"],
        ),
    )
