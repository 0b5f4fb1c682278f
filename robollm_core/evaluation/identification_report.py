# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of identification, made of its figures and answers."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.evaluation import calibration
from robollm_core.evaluation.identification_figures import (
    Asked,
    Whole,
    places_of,
    scores_named,
    sure_and_right,
)
from robollm_core.evaluation.identification_protocols import (
    CLOSED,
    NO_REFERENCE,
    RANKS,
    STRANGER,
    Ranks,
)
from robollm_core.evaluation.intervals import proportion
from robollm_core.evaluation.outcome import Block, Cell, Plot, Series, Table

WAYS = {"n1": "N=1", "n3": "N=3"}
_GALLERIES = {
    "container": "container",
    "picked_references": "items of the picks",
    "all_references": "all references of the split",
    "whole_gallery": "whole gallery",
}
_CURVE = tuple(range(1, 11))
_POINTS = 200
_RECALLS = tuple(f"R@{k}" for k in RANKS)

Floats = npt.NDArray[np.float64]


def blocks(figures: Mapping[str, Any], asked: Asked, wholes: Mapping[str, Whole]) -> list[Block]:
    """Tables and plots in the order in which they are read.

    Args:
        figures: of the outcome.
        asked: answers by way and group.
        wholes: galleries for all picks by name.
    """
    found: list[Block] = [
        by_gallery(figures),
        recall_curves(asked, {name: wholes[name] for name in wholes if name != _PICKED}),
        by_image(figures),
        picks_table(figures),
        calibration_table(figures),
        reliability(asked),
        risk_coverage(asked),
        abstain_table(figures),
        absent_table(figures),
    ]
    found += [roc(asked, absent) for absent in (STRANGER, NO_REFERENCE) if _has(asked, absent)]
    for name, words in (
        ("by_manifest_size", "items of the manifest that have references"),
        ("by_references", "reference images of the item"),
    ):
        found += [binned_plot(figures[name], words), binned_table(figures[name], words)]
    if len(figures["views"]) > 1:
        found.append(view_table(figures))
    return found


_PICKED = "picked_references"


def _has(asked: Asked, group: str) -> bool:
    return any(groups[group] for groups in asked.values())


def _recall_cells(figures: Mapping[str, Any], end: str = "") -> tuple[Cell, ...]:
    ending = f"_{end}" if end else ""
    return tuple(figures[f"recall_at_{k}{ending}"] for k in RANKS)


def by_gallery(figures: Mapping[str, Any]) -> Table:
    """Recall by item of each gallery and way of asking."""
    rows: list[tuple[Cell, ...]] = []
    for name, words in _GALLERIES.items():
        part = figures if name == "container" else figures.get(name, {})
        items = figures["gallery"]["mean"] if name == "container" else part.get("items")
        rows += [
            (words, WAYS[end], items, *_recall_cells(part, end), part[f"mrr_{end}"])
            for end in WAYS
            if f"mrr_{end}" in part
        ]
    note = (
        f"{figures['protocol']} Items of the container are the mean over the picks. MRR: mean "
        "reciprocal rank. The other galleries are the same for all picks."
    )
    return Table(
        "Recall by item", ("gallery", "asked with", "items", *_RECALLS, "MRR"), tuple(rows), note
    )


def recall_curves(asked: Asked, wholes: Mapping[str, Whole]) -> Plot:
    """Recall at 1 to 10 of the container and of the galleries for all."""
    places = {"container": {end: places_of(groups[CLOSED]) for end, groups in asked.items()}}
    places |= {name: dict(whole.places) for name, whole in wholes.items()}
    return Plot(
        "Recall at k by gallery",
        "k, best items looked at",
        "recall",
        tuple(
            _curve(f"{_GALLERIES[name]}, {WAYS[end]}", own)
            for name, ways in places.items()
            for end, own in ways.items()
        ),
        note="By item, each once. Bars: 95 % intervals of Wilson.",
    )


def _curve(name: str, places: Ranks) -> Series:
    points = [proportion(places <= k) for k in _CURVE]
    return Series(
        name,
        _CURVE,
        [point["value"] for point in points],
        [point["low"] for point in points],
        [point["high"] for point in points],
    )


def by_image(figures: Mapping[str, Any]) -> Table:
    """The same answers by item, by image, and as the released code counts."""
    part = figures["image_level"]
    rows: list[tuple[Cell, ...]] = []
    for end in WAYS:
        if f"mrr_{end}" in figures:
            rows += [
                ("by item", WAYS[end], *_recall_cells(figures, end)),
                ("by image", WAYS[end], *_recall_cells(part["plain"], end)),
                ("released code", WAYS[end], *_recall_cells(part, end)),
            ]
    return Table(
        "The same answers counted in three ways, container",
        ("counted", "asked with", *_RECALLS),
        tuple(rows),
        f"{part['protocol']} By image: {part['plain']['protocol']}",
    )


def picks_table(figures: Mapping[str, Any]) -> Table:
    """How many picks there are of each kind."""
    words = {
        "closed": "item on the manifest, with references: what recall is of",
        "not_on_manifest": "item not on the manifest",
        "no_reference": "on the manifest, item without a reference image",
        "lacks_views": "one of the views is not there",
        "broken": "a view cannot be read",
    }
    rows = tuple((name, words[name], count) for name, count in figures["picks"].items())
    return Table("Picks", ("kind", "what it is", "picks"), rows)


def calibration_table(figures: Mapping[str, Any]) -> Table:
    """Calibration errors of each way of asking."""
    part = figures["calibration"]
    columns = ("ece_equal_width", "ece_equal_mass", "mean_confidence")
    rows = tuple(
        (WAYS[end], *(own[name] for name in columns), figures[f"recall_at_1_{end}"])
        for end, own in _ways_in(part)
    )
    names = ("ECE, equal width", "ECE, equal mass", "mean confidence", "share right")
    note = f"{part['protocol']} Softmax at {part['scale']}."
    return Table("Calibration", ("asked with", *names), rows, note)


def abstain_table(figures: Mapping[str, Any]) -> Table:
    """Risks when the least sure picks are not answered."""
    part = figures["abstain"]
    shares = [round(100 * share) for share in calibration.COVERAGES]
    words = {"closed": "closed", "with_absent": "all, with absent items"}
    rows = tuple(
        (
            words[kind],
            WAYS[end],
            *(own[kind][f"risk_at_coverage_{share}"] for share in shares),
            own[kind]["aurc"],
        )
        for end, own in _ways_in(part)
        for kind in words
    )
    columns = ("picks", "asked with", *(f"{share} %" for share in shares), "AURC")
    return Table("Risk when the least sure are not answered", columns, rows, part["protocol"])


def reliability(asked: Asked) -> Plot:
    """Share of right answers by confidence."""
    series = [Series("confidence is true", (0.0, 1.0), (0.0, 1.0))]
    for end, groups in asked.items():
        bins = calibration.reliability(*sure_and_right(groups[CLOSED]))
        series.append(
            Series(
                WAYS[end],
                [one.confidence for one in bins],
                [one.accuracy["value"] for one in bins],
                [one.accuracy["low"] for one in bins],
                [one.accuracy["high"] for one in bins],
                style="points",
            )
        )
    return Plot(
        "Reliability",
        "mean confidence of the answers",
        "share that is right",
        tuple(series),
        x_limits=(0.0, 1.0),
        note=f"Closed picks in {calibration.BINS} bins of equal width, empty ones left out. Below "
        "the line: surer than right. Bars: 95 % intervals of Wilson.",
    )


def risk_coverage(asked: Asked) -> Plot:
    """Share of wrong answers when only the most confident picks are answered."""
    series = []
    for end, groups in asked.items():
        everything = [*groups[CLOSED], *groups[STRANGER], *groups[NO_REFERENCE]]
        for words, own in (("closed picks", groups[CLOSED]), ("all picks", everything)):
            coverage, risk = calibration.risk_coverage(*sure_and_right(own))
            kept = thinned(len(coverage))
            series.append(
                Series(f"{WAYS[end]}, {words}", coverage[kept].tolist(), risk[kept].tolist())
            )
    return Plot(
        "Risk by coverage",
        "coverage, share of picks answered",
        "risk, share of answers that are wrong",
        tuple(series),
        x_limits=(0.0, 1.0),
        y_limits=(),
        note="The least confident picks are left unanswered. All picks: also those whose item is "
        "not on the manifest or has no reference, where every answer is wrong.",
    )


def thinned(count: int) -> npt.NDArray[np.int64]:
    """At most `_POINTS` places of a long line, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64))


def absent_table(figures: Mapping[str, Any]) -> Table:
    """How well items that are not here are told from those that are."""
    ways = {"n1": "PickRGB", "n3": "fused"}
    rows: list[tuple[Cell, ...]] = []
    for key, words in (
        ("open_set", "not on the manifest"),
        ("open_set_no_reference", "without a reference"),
    ):
        rows += [
            (words, WAYS[end], name, own["auroc"], own["fpr_at_95"], own["threshold_at_95"])
            for end, way in ways.items()
            for name, own in figures[key].get(way, {}).items()
        ]
    columns = ("item", "asked with", "by", "AUROC", "FPR at 95 % TPR", "threshold")
    return Table("Items that are not here", columns, tuple(rows), figures["open_set"]["protocol"])


def roc(asked: Asked, absent: str) -> Plot:
    """Closed picks kept against absent items let through, over all thresholds."""
    series = []
    for end, groups in asked.items():
        for name in ("similarity", "margin"):
            series.append(
                _roc_line(
                    f"{WAYS[end]}, {name}",
                    scores_named(groups[CLOSED], name),
                    scores_named(groups[absent], name),
                )
            )
    words = {STRANGER: "not on the manifest", NO_REFERENCE: "without a reference"}
    return Plot(
        f"Telling items {words[absent]}",
        "share of absent items let through",
        "share of items that are here kept",
        tuple(series),
        x_limits=(0.0, 1.0),
        note=f"{len(next(iter(asked.values()))[absent])} picks with an item {words[absent]}; the "
        "table has the area under each curve with its interval.",
    )


def _roc_line(
    name: str, inside: npt.NDArray[np.float32], outside: npt.NDArray[np.float32]
) -> Series:
    values = np.unique(np.concatenate((inside, outside)))[::-1]
    values = values[thinned(len(values))]
    kept = [float(np.mean(inside >= value)) for value in values]
    passed = [float(np.mean(outside >= value)) for value in values]
    return Series(name, [0.0, *passed], [0.0, *kept], style="step")


def _ways_in(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((end, part[end]) for end in WAYS if end in part)


def binned_plot(part: Mapping[str, Any], words: str) -> Plot:
    """Recall at 1 by a number of the pick."""
    series = tuple(
        Series(
            WAYS[end],
            list(bins),
            [own["recall_at_1"]["value"] for own in bins.values()],
            [own["recall_at_1"]["low"] for own in bins.values()],
            [own["recall_at_1"]["high"] for own in bins.values()],
            style="points",
        )
        for end, bins in _ways_in(part)
    )
    note = "Closed picks, in their containers, by item. Bars: 95 % intervals of Wilson."
    return Plot(f"Recall at 1 by {words}", words, "recall at 1", series, note=note)


def binned_table(part: Mapping[str, Any], words: str) -> Table:
    """Recalls by a number of the pick."""
    rows = tuple(
        (name, WAYS[end], own["mrr"]["n"], *_recall_cells(own), own["mrr"])
        for end, bins in _ways_in(part)
        for name, own in bins.items()
    )
    columns = (words, "asked with", "picks", *_RECALLS, "MRR")
    return Table(f"Recall by {words}", columns, rows, part["protocol"])


def view_table(figures: Mapping[str, Any]) -> Table:
    """Recalls of each view alone."""
    views = {name: own for name, own in figures["views"].items() if name != "protocol"}
    rows = tuple(
        (name, own["mrr"]["n"], *_recall_cells(own), own["mrr"]) for name, own in views.items()
    )
    columns = ("view", "picks", *_RECALLS, "MRR")
    return Table("Recall by view", columns, rows, figures["views"]["protocol"])
