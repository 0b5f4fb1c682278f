# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The times of frames as a table and as a figure."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from robollm_core.bench.pipeline import OUTSIDE

_COLUMNS = ("total", "engines", "outside", *OUTSIDE)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as lines of text; medians in milliseconds, the minimum of what is outside beside."""
    lines = [
        f"{'frame':>10} {'found':>5} " + " ".join(f"{name[:9]:>9}" for name in _COLUMNS)
        + "  min out   share"
    ]  # fmt: skip
    for row in rows:
        count = row["instances"] or "-"
        parts = " ".join(_number(row.get(f"{name}_ms")) for name in _COLUMNS)
        least = _number(row["outside_ms_min"])
        lines.append(f"{row['size']:>10} {count:>5} {parts}{least} {row['outside_share']:7.1%}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{'absent':>9}" if value is None else f"{value:9.2f}"


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Engines and the parts around them, one bar a case, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 0.32 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [f"{row['size']}, {row['instances'] or 'as found'}" for row in rows]
    engines = [row["engines_ms"] for row in rows]
    left.barh(names, engines, color="lightgrey", label="engines")
    left.barh(
        names, [row["outside_ms"] for row in rows], left=engines, color="firebrick", label="outside"
    )
    start = [0.0] * len(rows)
    for part in OUTSIDE:
        wide = [row.get(f"{part}_ms", 0.0) for row in rows]
        right.barh(names, wide, left=start, label=part)
        start = [a + b for a, b in zip(start, wide, strict=True)]
    left.set(xlabel="ms a frame", ylabel="frame, instances")
    right.set(xlabel="ms a frame outside the engines")
    left.invert_yaxis()
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()
