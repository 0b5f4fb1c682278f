# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How values are shown: figures with their intervals, numbers with as many digits as they carry."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.outcome import Cell, Matrix, Plot, Series, Table

NOTHING = "–"
_KEYS = {"value", "n", "low", "high"}
_MANY_ROWS = 12
_MANY_FIGURES = 5
_POINTS = 25


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell as text.

    Attributes:
        text: the value.
        interval: "[low, high]", "" for what has none.
        n: what the figure rests on, "" for what does not say.
        sort: number to sort by as text, "" for text and for nothing.
    """

    text: str
    interval: str = ""
    n: str = ""
    sort: str = ""

    def __str__(self) -> str:
        """Value and interval."""
        return f"{self.text} {self.interval}" if self.interval else self.text


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text.

    Attributes:
        columns: names.
        numeric: whether a column holds numbers alone.
        dense: whether so many columns hold figures that value and interval stand in
            two lines.
        rows: cells.
        long: whether a reader wants to filter it.
    """

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Shown, ...], ...]
    dense: bool
    long: bool


def is_figure(value: object) -> TypeGuard[Figure]:
    """Whether a value is a figure: exactly value, n, low and high."""
    return isinstance(value, Mapping) and set(value) == _KEYS


def show(cell: Cell) -> Shown:
    """A cell as text."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return Shown(NOTHING)
    if is_figure(cell):
        places = _places(cell["value"], cell["low"], cell["high"])
        low, high = (f"{end:.{places}f}" for end in (cell["low"], cell["high"]))
        value = f"{cell['value']:.{places}f}"
        return Shown(value, f"[{low}, {high}]", f"{cell['n']:,}", repr(cell["value"]))
    if isinstance(cell, bool):
        return Shown("yes" if cell else "no")
    if isinstance(cell, int):
        return Shown(f"{cell:,}", sort=str(cell))
    if isinstance(cell, float):
        return Shown(_number(cell), sort=repr(cell))
    return Shown(str(cell))


def _places(*numbers: float) -> int:
    """Decimals so that shares have three and large numbers none that mean nothing."""
    largest = max(abs(number) for number in numbers)
    return 3 if largest < 10 else 1 if largest < 1000 else 0


def _number(number: float) -> str:
    if number and abs(number) < 0.001:
        return f"{number:.2g}"
    return f"{number:,.{_places(number)}f}"


def grid(table: Table) -> Grid:
    """A table as text."""
    rows = tuple(tuple(show(cell) for cell in row) for row in table.rows)
    columns = [[row[index] for row in rows] for index in range(len(table.columns))]
    numeric = tuple(
        any(c.sort for c in column) and all(c.sort or c.text == NOTHING for c in column)
        for column in columns
    )
    figures = sum(any(cell.interval for cell in column) for column in columns)
    return Grid(table.columns, numeric, rows, figures >= _MANY_FIGURES, len(rows) > _MANY_ROWS)


def matrix_table(matrix: Matrix) -> Table:
    """The counts of a matrix as a table."""
    rows = zip(matrix.rows, matrix.counts, strict=True)
    return Table(
        matrix.title,
        ("truth \\ answer", *matrix.columns),
        tuple((name, *counts) for name, counts in rows),
        matrix.note,
    )


def plot_table(plot: Plot) -> Table:
    """The numbers of a plot as a table, long curves thinned evenly."""
    rows = [row for series in plot.series for row in _points(series)]
    thinned = [s.name for s in plot.series if len(s.x) > _POINTS]
    note = f"{_POINTS} points each, evenly, of: {', '.join(thinned)}." if thinned else ""
    rows += [(mark.name, mark.x, mark.y, None, None) for mark in plot.marks]
    names = ("series", plot.x_label, plot.y_label, "low", "high")
    width = 3 if all(row[3] is None for row in rows) else 5
    return Table(plot.title, names[:width], tuple(row[:width] for row in rows), note)


def _points(series: Series) -> Iterator[tuple[Cell, ...]]:
    count = len(series.x)
    shown = min(count, _POINTS)
    for i in (round(place * (count - 1) / max(1, shown - 1)) for place in range(shown)):
        ends = (series.low[i], series.high[i]) if len(series.low) else (None, None)
        yield series.name, series.x[i], float(series.y[i]), *ends


_WORDS = {"auroc": "AUROC", "fpr": "FPR", "iou": "IoU", "map": "mAP", "n1": "N=1", "n3": "N=3",
          "mrr": "MRR", "ece": "ECE", "auprc": "AUPRC"}  # fmt: skip


def label(key: str) -> str:
    """The key of a figure as words: recall_at_fpr_01 is "recall at FPR 0.01"."""
    text = re.sub(r"recall_at_(\d+)(?=_|$)", r"recall@\1", key)
    text = re.sub(r"_(fpr|recall)_(\d)(\d+)(?=_|$)", _rate, text)
    text = re.sub(r"(?<![a-z])m?ap(\d\d)(?=_|$)", lambda m: m[0].replace("ap", "AP"), text)
    text = " ".join(_WORDS.get(word, word) for word in text.split("_"))
    return re.sub(r" (N=\d)$", r" (\1)", text)


def _rate(match: re.Match[str]) -> str:
    # today's keys write 0.10 and 0.01 as 10 and 01
    return f"_{match[1]}_0.{match[2]}{match[3]}"


def headlines(figures: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures that stand alone at the top of an outcome, by their label.

    Where there is none, those one level below, the group's name before theirs.
    """
    found = {label(key): value for key, value in figures.items() if is_figure(value)}
    if found:
        return found
    return {
        f"{label(group)}: {label(key)}": value
        for group, inner in figures.items()
        if isinstance(inner, Mapping)
        for key, value in inner.items()
        if is_figure(value)
    }


def protocol_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The `protocols` of an outcome; words that hold in several places are said once."""
    places: dict[str, list[str]] = {}
    for place, words in protocols(figures):
        places.setdefault(words, []).append(place)
    return [("; ".join(own), words) for words, own in places.items()]


def protocols(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Where an outcome says in words how its figures were obtained: place and words.

    What holds for a group comes before what holds for a part of it.
    """
    told = figures.get("protocol")
    if isinstance(told, Mapping):
        yield from ((f"{path or 'all figures'}: {label(k)}", _words(v)) for k, v in told.items())
    elif told is not None:
        yield path or "all figures", _words(told)
    for key, value in figures.items():
        if key != "protocol" and isinstance(value, Mapping):
            yield from protocols(value, f"{path} › {label(key)}" if path else label(key))


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{label(str(key))}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


_FACTS = ("command", "data", "selection", "seed", "config", "networks", "runtimes", "machine",
          "version")  # fmt: skip
_EMPTY = {"config": "the defaults", "data, synthetic": "not noted"}
_NAMES = {"data, synthetic": "data, simulated"}


def facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where figures come from, name and text, in an order that a reader looks for.

    An empty value says so: nothing differs from the defaults, nothing is simulated.
    The artifact that is among the networks is not said twice.
    """
    order = [name for name in _FACTS if name in provenance]
    order += [name for name in provenance if name not in (*_FACTS, "artifact")]
    if not provenance.get("networks") and "artifact" in provenance:
        order.append("artifact")
    rows: list[tuple[str, str]] = []
    for name in order:
        value = provenance[name]
        if isinstance(value, Mapping) and value:
            rows += [_fact(f"{name}, {key}", inner) for key, inner in value.items()]
        else:
            rows.append(_fact(name, value))
    return rows


def _fact(name: str, value: object) -> tuple[str, str]:
    text = _EMPTY.get(name, "none") if value in ({}, [], "", None) else _words(value)
    return _NAMES.get(name, name), text
