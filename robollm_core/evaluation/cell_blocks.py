# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of a whole cell for the report."""

from collections.abc import Mapping
from typing import Any

from robollm_core.evaluation.cell_figures import RATES
from robollm_core.evaluation.outcome import Block, Matrix, Plot, Series, Table
from robollm_core.types import DEFECT_LABELS

_HEADLINE = ("found", "found_and_named", "all_right")


def blocks_of(figures: Mapping[str, Any]) -> tuple[Block, ...]:
    """What the report shows, in order.

    Args:
        figures: made by `cell_figures.figures_of`.
    """
    return (_rates(figures), _headline(figures), _fates(figures), _defects(figures),
            _latency(figures))  # fmt: skip


def _rates(figures: Mapping[str, Any]) -> Table:
    rows = [
        (name.replace("_", " "), figures[name], figures["over_instances"][name], words)
        for name, (_, words) in RATES.items()
        if name in figures
    ]
    if "false_instances_per_frame" in figures:
        false = figures["false_instances_per_frame"]
        rows.append(("false instances a frame", false, None, "instances that cover no thing"))
    return Table(
        "Verdicts against the truth",
        ("what", "interval over frames", "interval over instances (Wilson)", "hits / trials"),
        tuple(rows),
        "Instances of one frame are not independent: the interval over frames is the one to "
        "believe, Wilson's over instances is too narrow.",
    )


def _headline(figures: Mapping[str, Any]) -> Plot:
    names = [name for name in _HEADLINE if name in figures]
    own = [figures[name] for name in names]
    series = Series(
        "share of all instances",
        [name.replace("_", " ") for name in names],
        [figure["value"] for figure in own],
        [figure["low"] for figure in own],
        [figure["high"] for figure in own],
        style="bars",
    )
    note = "Each includes those to its left; bars: 95 % over frames."
    return Plot("From found to all right", "", "share of all instances", (series,), note=note)


def _fates(figures: Mapping[str, Any]) -> Table:
    groups = {
        "on_manifest": "item on the manifest",
        "off_manifest": "item not on the manifest",
        "without_manifest_or_item": "no manifest, or item unknown",
    }
    columns = ("instances", "not_found", "named_right", "named_wrong", "none_of_these")
    rows = tuple(
        (words, *(figures["counts"][name][column] for column in columns))
        for name, words in groups.items()
    )
    return Table(
        "What became of the instances",
        ("", *(column.replace("_", " ") for column in columns)),
        rows,
        'Counts. Off the manifest "none of these" is the right answer.',
    )


def _defects(figures: Mapping[str, Any]) -> Matrix:
    counts = tuple(
        tuple(figures["confusion"][truth][said] for said in DEFECT_LABELS)
        for truth in DEFECT_LABELS
    )
    note = "Instances found. Rows: what is true; columns: the verdict of the stage."
    return Matrix("Defect verdicts", DEFECT_LABELS, DEFECT_LABELS, counts, note)


def _latency(figures: Mapping[str, Any]) -> Table:
    rows = tuple(
        (stage, *(values[name] for name in ("p50", "p90", "p99")))
        for stage, values in figures["latency_ms"].items()
    )
    note = "Milliseconds of wall time on the machine that ran this; not a figure to compare."
    return Table("Latency", ("stage", "p50", "p90", "p99"), rows, note)
