# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of engines for people: a table, the same in Markdown, and bars."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from robollm_core.bench.targets import PUBLISHED, sentence

_COLUMNS = (
    "size stage runtime precision batch ms p99 min spread items/s GFLOP GFLOP/s peak "
    "xtorch xcompile"
).split()
_TEXT_COLUMNS = 4
_NAMED = 5
"""Columns that say what a row is about; the batch is the last."""
_COLOURS = {
    "torch": "#6b7280",
    "torch-compile": "#a3a9b3",
    "onnx": "#0072b2",
    "openvino": "#d55e00",
    "tensorrt": "#009d8a",
    "tensorrt_rtx": "#86336a",
}
_DISTURBED = "~"

Figures = Mapping[str, Any]


def table(figures: Figures) -> str:
    """Rows, peaks, targets and notes as lines of text."""
    cells = [_COLUMNS, *(_cells(row) for row in figures["rows"])]
    # the error of a row that did not run ends its line, and widens no column
    whole = [row for row in cells if len(row) == len(_COLUMNS)]
    named = [row[:_NAMED] for row in cells]
    widths = [
        max(len(row[i]) for row in (named if i < _NAMED else whole)) for i in range(len(_COLUMNS))
    ]
    lines = [_aligned(row, widths) for row in cells]
    return "\n".join([*lines, "", *_remarks(figures)])


def markdown(figures: Figures) -> str:
    """The same as a page."""
    head = [_COLUMNS, [":--" if i < _TEXT_COLUMNS else "--:" for i in range(len(_COLUMNS))]]
    told = [[cell.replace("|", "\\|") for cell in _cells(row)] for row in figures["rows"]]
    rows = [*head, *told]
    lines = ["| " + " | ".join([*row, *[""] * (len(_COLUMNS) - len(row))]) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in _remarks(figures))]) + "\n"


def _cells(row: Figures) -> list[str]:
    start = [str(row[key]) for key in ("size", "stage", "runtime", "precision", "batch")]
    if "error" in row:
        return [*start, row["error"]]
    return [
        *start,
        f"{row['ms']:.2f}",
        f"{row['ms_p99']:.2f}",
        f"{row['ms_min']:.2f}",
        f"{row['spread']:.0%}" + (_DISTURBED if row["disturbed"] else ""),
        f"{row['items_per_s']:.1f}",
        _number(row["gflop"], ".2f"),
        _number(row["gflops"], ".0f"),
        _number(row["peak_fraction"], ".0%"),
        _number(row["ratio_to_torch"], ".2f"),
        _number(row["ratio_to_torch_compile"], ".2f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, numbers to the right; the error of a row as it is."""
    failed = len(row) < len(widths)
    parts = [
        cell.ljust(width) if i < _TEXT_COLUMNS else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        if not (failed and i == len(row) - 1)
    ]
    return "  ".join([*parts, *(row[-1:] if failed else [])]).rstrip()


def _remarks(figures: Figures) -> list[str]:
    machine = figures["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{' '.join(machine['flags'])}; load {machine['load'][0]} before, "
        f"{machine['load_end'][0]} after",
        f"GFLOP: {figures['counts']}; peak: share of the best product of square matrices in the "
        "same precision and measurement, medians both; xtorch: torch eager fp32 over this; "
        "xcompile: torch.compile fp32 over this",
    ]
    lines += [_peak(kind, peak) for kind, peak in figures["peaks"].items()]
    if any(row.get("disturbed") for row in figures["rows"]):
        lines.append(
            f"{_DISTURBED} disturbed: the middle half of the times spreads over more than 10 % of "
            "their median; measure again on a quiet machine"
        )
    lines += figures["notes"]
    if figures["settings"]["device"] == "cuda":
        lines.append(PUBLISHED)
    return [*lines, *(sentence(target) for target in figures["targets"])]


def _peak(kind: str, peak: Figures) -> str:
    if peak["gflops"] is None:
        return f"peak {kind}: no library multiplied: {peak['errors']}"
    return (
        f"peak {kind}: {peak['gflops']:.0f} GFLOP/s, {peak['library']} at {peak['size']} "
        f"(best run {peak['gflops_best']:.0f})"
    )


def draw(figures: Figures) -> bytes:
    """A bar a row: median ms, and its share of the peak; one panel a network and batch, as PNG."""
    from matplotlib.figure import Figure

    groups: dict[tuple[str, str, int], list[Figures]] = {}
    for row in figures["rows"]:
        if "error" not in row:
            groups.setdefault((row["size"], row["stage"], row["batch"]), []).append(row)
    heights = [0.28 * len(rows) + 0.8 for rows in groups.values()] or [1.0]
    figure = Figure(figsize=(8.0, sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, ((size, stage, batch), rows) in zip(panels, groups.items(), strict=False):
        _bars(panel, rows)
        panel.set_title(f"{size} {stage}, batch {batch}", loc="left", fontsize=10)
    panels[-1].set_xlabel("ms a run, median; line to the 99th percentile")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


def _bars(panel: Any, rows: Sequence[Figures]) -> None:
    names = [f"{row['runtime']} {row['precision']}" for row in rows]
    times = [row["ms"] for row in rows]
    panel.barh(names, times, color=[_COLOURS.get(row["runtime"], "#14181c") for row in rows])
    for place, row in enumerate(rows):
        panel.plot([row["ms"], row["ms_p99"]], [place, place], color="black", linewidth=0.8)
        share = _number(row["peak_fraction"], ".0%")
        text = f"{row['ms']:.1f} ms, {share} of peak" + (_DISTURBED if row["disturbed"] else "")
        panel.annotate(
            text,
            (max(row["ms"], row["ms_p99"]), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    panel.invert_yaxis()
    panel.set_xlim(0, 1.35 * max(row["ms_p99"] for row in rows))
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
