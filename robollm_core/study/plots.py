# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The plots of a study's page, small enough to live beside it."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from robollm_core.study.maps import Layout, cosines, draw_map
from robollm_core.study.plan import CLEAN
from robollm_core.study.summary import deciding

matplotlib.use("Agg")

_DPI = 80
_SHADES = 64
_ACROSS = 3
_GAP = {"mean": np.nan, "low": np.nan, "high": np.nan}
_COLOURS = matplotlib.color_sequences["tab10"]


def lines(results: Mapping[str, Any], kinds: Sequence[str]) -> bytes:
    """A measure over label noise, a panel a kind of noise; PNG bytes.

    Args:
        results: of `summary.summarise`; conditions "clean" and "KIND P%".
        kinds: names of the kinds, one panel each.
    """
    measure = deciding(results)
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        steps = [c for c in results["conditions"] if c == CLEAN or c.startswith(f"{kind} ")]
        places = [0.0 if c == CLEAN else float(c.split()[1].rstrip("%")) for c in steps]
        for index, arm in enumerate(results["arms"]):
            # beside each other, so that intervals do not hide one another
            shifted = np.asarray(places) + 0.25 * (index - len(results["arms"]) / 2)
            _points(panel, shifted, _column(results, steps, arm, measure), arm, index)
        panel.set_xlabel(f"{kind} wrong labels, %")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(measure["title"])
    panels[-1].legend(fontsize="small")
    return _png(figure)


def _column(
    results: Mapping[str, Any], conditions: Sequence[str], arm: str, measure: Mapping[str, Any]
) -> list[Mapping[str, float]]:
    """What an arm has under conditions; a gap where it has too few runs."""
    places = (results["means"].get(c, {}).get(arm, {}) for c in conditions)
    return [place.get(measure["name"], _GAP) for place in places]


def _points(
    panel: Axes, places: Any, rows: Sequence[Mapping[str, float]], name: str, index: int
) -> None:
    means = np.array([row["mean"] for row in rows])
    below = means - [row["low"] for row in rows]
    above = [row["high"] for row in rows] - means
    colour = _COLOURS[index % len(_COLOURS)]
    panel.errorbar(
        places,
        means,
        yerr=np.stack((below, above)),
        marker="o",
        capsize=2,
        label=name,
        color=colour,
    )


def bars(results: Mapping[str, Any]) -> bytes:
    """Every measure, a panel each, arms side by side in every condition; PNG bytes."""
    measures, arms = results["measures"], results["arms"]
    lines = math.ceil(len(measures) / _ACROSS)
    figure = Figure(figsize=(3.2 * _ACROSS, 3.2 * lines), layout="constrained")
    panels = figure.subplots(lines, _ACROSS, squeeze=False).ravel()
    for empty in panels[len(measures) :]:
        empty.remove()
    width = 0.8 / len(arms)
    for panel, measure in zip(panels, measures, strict=False):
        for index, arm in enumerate(arms):
            rows = _column(results, results["conditions"], arm, measure)
            places = np.arange(len(rows)) + width * (index - (len(arms) - 1) / 2)
            _points(panel, places, rows, arm, index)
            panel.lines[-1].set_linestyle("none")
        panel.set_xticks(range(len(results["conditions"])), results["conditions"], fontsize="small")
        panel.set_xlim(-0.6, len(results["conditions"]) - 0.4)
        panel.set_title(measure["title"], fontsize="medium")
        panel.grid(axis="y", alpha=0.3)
    panels[0].legend(fontsize="small")
    return _png(figure)


def maps(layouts: Mapping[str, Layout]) -> bytes:
    """A t-SNE map and the histograms of cosines below it, a column an arm; PNG bytes."""
    figure = Figure(figsize=(2.4 * len(layouts), 4.6), layout="constrained")
    panels = figure.subplots(2, len(layouts), squeeze=False)
    for column, (name, layout) in enumerate(layouts.items()):
        places, items = draw_map(layout)
        panels[0, column].scatter(*places.T, c=items, cmap="tab20", s=4)
        panels[0, column].set(title=name, xticks=[], yticks=[])
        pairs = cosines(layout.vectors, layout.labels)
        for values, label in zip(pairs, ("within", "between"), strict=True):
            panels[1, column].hist(
                values, 50, range=(-1.0, 1.0), density=True, alpha=0.6, label=label
            )
        panels[1, column].set(xlabel="cosine", yticks=[])
    panels[1, 0].legend(fontsize="small")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    # few colours make a small file; no software and no date inside: the same numbers give the
    # same bytes
    Image.open(drawn).convert("RGB").quantize(_SHADES).save(data, format="png", optimize=True)
    return data.getvalue()
