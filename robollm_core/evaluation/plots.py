# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a report as SVG elements that take their ink from the page around them.

Lines of axes and all text are drawn in the colour of the surrounding text, the
background is left out, and the colours of series are readable on white and on
black alike. The same numbers give the same bytes.
"""

import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter

from robollm_core.evaluation.outcome import Mark, Matrix, Plot, Series

COLOURS = ("#0072b2", "#d55e00", "#009d8a", "#86336a", "#95281f", "#14181c")
"""Of series on white, told apart with any colour vision; the page has lighter ones for the dark."""

_MARKERS = "osD^vP"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1)))
_HATCHES = ("", "///", "...", "xxx")
_INK, _RULE, _PAPER = "#010203", "#040506", "#070809"
_OF_PAGE = {
    _INK: "currentColor",
    _RULE: "var(--rule, currentColor)",
    _PAPER: "var(--paper, transparent)",
    # the page may choose lighter ones for the dark
    **{colour: f"var(--series-{i}, {colour})" for i, colour in enumerate(COLOURS, 1)},
}
_STYLE: Mapping[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.0,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "robollm",
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.color": _INK,
    "ytick.major.width": 0.6,
}
_INCHES = (5.6, 3.5)
_LEGEND_ROW = 0.17
_FEW_POINTS = 12
_MATRIX_TEXT = 20
_NAME = 28
_HEAT = 0.5
"""Opacity of a full cell of a matrix; text on it stays readable on both backgrounds."""


def draw(block: Plot | Matrix, key: str) -> str:
    """One plot as an <svg> element for a page.

    Args:
        block: what to draw.
        key: prefix of every id inside, so that elements of several plots do not
            meet in one page.

    Returns:
        The element: role "img", `describe` as its label.
    """
    with _style():
        figure = _matrix(block) if isinstance(block, Matrix) else _plot(block)
        data = io.BytesIO()
        figure.savefig(data, format="svg", transparent=True, metadata=_NO_METADATA)
    return _element(data.getvalue(), key, describe(block))


def describe(block: Plot | Matrix) -> str:
    """What a plot shows, for whoever cannot see it; its numbers stand in a table beside it."""
    if isinstance(block, Matrix):
        return (
            f"{block.title}: counts of {len(block.rows)} truths (rows) by "
            f"{len(block.columns)} answers (columns)."
        )
    names = ", ".join(series.name for series in block.series)
    marks = "".join(f" Marked: {mark.name} at {mark.x:g}, {mark.y:g}." for mark in block.marks)
    return f"{block.title}: {block.y_label} over {block.x_label}, of {names}.{marks}"


_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def _style() -> Iterator[None]:
    """Our settings alone; those of the user do not reach the page."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _plot(plot: Plot) -> Figure:
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    categories = _categories(plot.series)
    handles = [_draw_series(axes, plot.series, index, categories) for index in _indices(plot)]
    axes.set_xlabel(_wrap(plot.x_label, 64))
    axes.set_ylabel(_wrap(plot.y_label, 40))
    _limit(axes, plot, categories)
    for mark in plot.marks:
        _draw_mark(axes, mark)
    if len(plot.series) > 1:
        # a name that begins with _ would be left out of the legend
        names = [_wrap(f"\u200b{series.name}", 42) for series in plot.series]
        longest = max(len(line) for name in names for line in name.split("\n"))
        columns = max(1, min(len(names), 72 // (longest + 6)))
        rows = -(-sum(name.count("\n") + 1 for name in names) // columns)
        # the legend must not take its height from the axes
        figure.set_figheight(_INCHES[1] + _LEGEND_ROW * (rows - 1))
        figure.legend(handles, names, loc="outside lower center", ncols=columns)
    return figure


def _indices(plot: Plot) -> range:
    return range(len(plot.series))


def _categories(series: Sequence[Series]) -> Mapping[str, int]:
    """Names on the x axis to places, in order of first appearance; empty for numbers."""
    if not any(isinstance(x, str) for one in series for x in one.x):
        return {}
    return {name: i for i, name in enumerate(dict.fromkeys(str(x) for s in series for x in s.x))}


def _draw_series(
    axes: Axes, series: Sequence[Series], index: int, categories: Mapping[str, int]
) -> Any:
    one, colour = series[index], COLOURS[index % len(COLOURS)]
    x = np.array([categories[str(v)] if categories else float(v) for v in one.x])
    y = np.asarray(one.y, dtype=float)
    low, high = np.asarray(one.low, float), np.asarray(one.high, float)
    if one.style == "bars":
        return _draw_bars(axes, series, index, (x, y, low, high))
    if one.style == "points":
        # beside each other, so that intervals do not hide one another
        shift = 0.12 * (index - (len(series) - 1) / 2) if categories else 0.0
        marker = _MARKERS[index % len(_MARKERS)]
        return axes.errorbar(
            x + shift, y, yerr=_lengths(y, low, high), fmt=marker, color=colour, capsize=2
        )
    stepped = one.style == "step"
    if len(low):
        axes.fill_between(
            x, low, high, color=colour, alpha=0.16, linewidth=0, step="post" if stepped else None
        )
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        linestyle=_DASHES[index % len(_DASHES)],
        marker=_MARKERS[index % len(_MARKERS)] if len(x) <= _FEW_POINTS else "",
        drawstyle="steps-post" if stepped else "default",
    )
    return line


def _draw_bars(axes: Axes, series: Sequence[Series], index: int, data: Sequence[Any]) -> Any:
    x, y, low, high = data
    bars = [i for i, one in enumerate(series) if one.style == "bars"]
    steps = np.diff(np.unique(x))
    width = 0.8 * (float(steps.min()) if len(steps) else 1.0) / len(bars)
    places = x + width * (bars.index(index) - (len(bars) - 1) / 2)
    colour = COLOURS[index % len(COLOURS)]
    hatch = _HATCHES[bars.index(index) % len(_HATCHES)]
    area = axes.bar(places, y, width * 0.92, color=(colour, 0.45))
    # apart, as a hatched patch would lose its transparency
    edge = axes.bar(places, y, width * 0.92, color="none", edgecolor=colour, hatch=hatch)
    if len(low):
        axes.errorbar(
            places, y, yerr=_lengths(y, low, high), fmt="none", color=_INK, ecolor=_INK, capsize=2
        )
    return area, edge


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


def _short(names: Iterable[str]) -> list[str]:
    """Names that leave room for the plot; the table of its numbers has them whole."""
    return [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in names]


def _lengths(y: Any, low: Any, high: Any) -> Any:
    """Error bars as matplotlib wants them; an estimate outside its interval has one side only."""
    return np.stack((y - low, high - y)).clip(min=0.0) if len(low) else None


def _limit(axes: Axes, plot: Plot, categories: Mapping[str, int]) -> None:
    if categories:
        turned = sum(map(len, categories)) > 56
        names = _short(categories)
        axes.set_xticks(range(len(names)), names, rotation=30 if turned else 0,
                        ha="right" if turned else "center")  # fmt: skip
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.6, len(names) - 0.4)
    elif _counts(plot.series):
        axes.set_xticks(sorted({float(x) for one in plot.series for x in one.x}))
    elif plot.x_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if plot.x_limits and not categories:
        axes.set_xlim(*(plot.x_limits if plot.x_log else _padded(*plot.x_limits)))
    if plot.y_limits:
        axes.set_ylim(*_padded(*plot.y_limits))
        if any(one.style == "bars" for one in plot.series):
            axes.set_ylim(bottom=plot.y_limits[0])


def _counts(series: Sequence[Series]) -> bool:
    """Whether x is a few small whole numbers, such as ranks: no tick stands between them."""
    places = {x for one in series for x in one.x}
    return all(isinstance(x, int) and 0 <= x <= _FEW_POINTS for x in places)


def _padded(low: float, high: float) -> tuple[float, float]:
    """A little more than asked for, so that a line along the edge is seen."""
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _draw_mark(axes: Axes, mark: Mark) -> None:
    across, up = axes.transLimits.transform(axes.transScale.transform((mark.x, mark.y)))
    left, below = across > 0.6, up > 0.85
    axes.plot([mark.x], [mark.y], marker="*", markersize=9, color=_INK, zorder=5)
    axes.annotate(
        _wrap(mark.name, 36),
        (mark.x, mark.y),
        xytext=(-7 if left else 7, -6 if below else 6),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top" if below else "bottom",
        # so that a curve behind the name does not strike it out
        bbox={"facecolor": _PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
    )


def _matrix(matrix: Matrix) -> Figure:
    rows, columns = len(matrix.rows), len(matrix.columns)
    size = (min(7.0, max(3.4, 1.6 + 0.85 * columns)), min(7.0, max(2.2, 1.0 + 0.55 * rows)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for row, counts in enumerate(matrix.counts):
        whole = sum(counts)
        for column, count in enumerate(counts):
            share = count / whole if whole else 0.0
            _draw_cell(axes, (column, row), share)
            if max(rows, columns) <= _MATRIX_TEXT:
                text = f"{count}\n{share:.0%}" if columns <= 8 else f"{count}"
                axes.text(column, row, text, ha="center", va="center", fontsize=8)
    turned = max(map(len, matrix.columns), default=0) * columns > 60
    axes.set_xticks(range(columns), _short(matrix.columns), rotation=30 if turned else 0,
                    ha="right" if turned else "center")  # fmt: skip
    axes.set_yticks(range(rows), _short(matrix.rows))
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(visible=False)
    return figure


def _draw_cell(axes: Axes, place: tuple[int, int], share: float) -> None:
    corner = (place[0] - 0.5, place[1] - 0.5)
    colour = (COLOURS[0], round(_HEAT * share, 3))
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor=_RULE, linewidth=0.6))


_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def _element(svg: bytes, key: str, label: str) -> str:
    """What matplotlib wrote, as an element of a page of HTML."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            # the style sheet inside would hold for the whole page
            if _bare(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for one in root.iter():
        one.tag = _bare(one.tag)
        one.attrib = {_bare(k): _own(_bare(k), value, key) for k, value in one.attrib.items()}
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    width = math.ceil(float(root.attrib["viewBox"].split()[2]))
    root.attrib |= {"role": "img", "aria-label": label, "style": f"--width: {width}"}
    return ElementTree.tostring(root, encoding="unicode")


def _bare(name: str) -> str:
    """A name without its namespace; HTML knows that of <svg>."""
    return name.rpartition("}")[2]


def _own(name: str, value: str, key: str) -> str:
    """A value of an attribute with ids of this plot alone and colours of the page."""
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value.removeprefix('#')}"
    value = _REFERENCE.sub(rf"url(#{key}-\1)", value)
    for drawn, colour in _OF_PAGE.items():
        value = value.replace(drawn, colour)
    return value
