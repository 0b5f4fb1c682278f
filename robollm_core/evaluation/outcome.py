# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation is asked and what it answers; the same for every stage.

A stage measures and says what is worth seeing, as data; the page that people
look at, the JSON and the files of peers are made of it elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robollm_core.config import Config
from robollm_core.data.broken import BrokenFiles
from robollm_core.evaluation.figure import Figure

Cell = str | int | float | Figure | None
"""A cell of a table; a figure is shown with its interval and sorted by its value."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What to measure.

    Attributes:
        dataset: folder in a layout of ARMBench, or a bag for the whole cell.
        models: folder with the networks of the stages, or one network, x.onnx.
        split: "train", "val" or "test".
        config: runtime and thresholds.
        work: folder for caches that make a second run short, None for none.
        seed: of every random choice, the bootstrap included.
        broken: takes what cannot be read, so that the rest is measured.
        options: what one stage alone is asked, by name, checked by the stage.
    """

    dataset: Path
    models: Path
    split: str = "test"
    config: Config = field(default_factory=Config)
    work: Path | None = None
    seed: int = 0
    broken: BrokenFiles = field(default_factory=BrokenFiles)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table of the report.

    Attributes:
        title: heading.
        columns: their names.
        rows: cells, as many in a row as there are columns.
        note: what a reader has to know to read it rightly: protocol, caveats.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One line, or set of bars, of a plot.

    Attributes:
        name: for the legend.
        x: numbers, or names of categories.
        y: as many numbers.
        low, high: limits of intervals, as many, or empty.
        style: "line", "step", "points" or "bars".
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: str = "line"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A named point of a plot, such as a target."""

    x: float
    y: float
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A plot of the report.

    Attributes:
        title: heading.
        x_label, y_label: with units.
        series: at least one.
        marks: named points.
        x_log: logarithmic x.
        x_limits, y_limits: (low, high), () for the data's own.
        note: protocol, caveats.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    x_log: bool = False
    x_limits: tuple[float, float] | tuple[()] = ()
    y_limits: tuple[float, float] | tuple[()] = (0.0, 1.0)
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A table of counts with a truth a row and an answer a column, drawn as a heat map.

    Attributes:
        title: heading.
        rows, columns: names.
        counts: as many rows of as many numbers.
        note: protocol, caveats.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """One case worth seeing, with its pictures side by side.

    Attributes:
        group: kind of case, such as "wrong item"; the page filters by it.
        title: which sample.
        pictures: (caption, JPEG bytes) each, at least one.
        note: what was expected and what came.
    """

    group: str
    title: str
    pictures: tuple[tuple[str, bytes], ...]
    note: str = ""


Block = Table | Plot | Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What was measured.

    Attributes:
        figures: the section of the JSON file: plain values, each figure with n and
            interval, grouped by protocol; a protocol says in words what it is under
            "protocol": class set, gallery and its size, views, ranks, selection.
        records: one plain mapping a sample with a unique "id", for comparing runs
            in pairs.
        blocks: tables and plots of the report, in order.
        exhibits: pictures that matter, the worst first.
        files: files for others' scripts, by name relative to the output folder.
        networks: what was measured, name of the file to its sha256.
        samples: how many samples were asked for, broken ones included.
    """

    figures: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]] = ()
    blocks: tuple[Block, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0
