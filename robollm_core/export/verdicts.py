# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The parity table: what the gate found, for people and as JSON."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.evaluation.provenance import machine
from robollm_core.export.gate import FUSION, Verdict
from robollm_core.files import write_file

COLUMNS = (
    "stage",
    "precision",
    "runtime",
    "kept in fp32",
    "largest difference",
    "least cosine",
    "distance (allowed)",
    "metric: reference to candidate",
    "verdict",
)


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a Markdown table, its columns aligned."""
    rows = [COLUMNS, *(_cells(one) for one in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join((lines[0], rule, *lines[1:])) + "\n"


def refused(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What was refused for good: not the attempts that more layers in fp32 made good."""
    good = {_subject(one) for one in verdicts if one.passed and one.islands}
    return [one for one in verdicts if not (one.passed or (one.islands and _subject(one) in good))]


def _subject(one: Verdict) -> tuple[str, str, str]:
    return one.stage, one.precision, one.runtime


def _cells(one: Verdict) -> tuple[str, ...]:
    found = one.outputs.items()
    apart = ", ".join(f"{_short(name)} {figures['max_abs']:.1e}" for name, figures in found)
    cosine = min((figures["cosine"] for _, figures in found), default=None)
    distance = "" if one.distance is None else f"{one.distance:.2g}"
    if one.limits is not None and distance:
        distance += f" ({one.limits.distance:g})"
    metrics = ", ".join(
        f"{name} {left:.4f} to {right:.4f}" for name, (left, right) in one.metrics.items()
    )
    return (
        one.stage,
        one.precision,
        one.runtime,
        one.islands,
        apart,
        "" if cosine is None else f"{cosine:.6f}",
        distance,
        metrics,
        one.reason or one.note or "passed",
    )


def _short(name: str) -> str:
    network, _, output = name.rpartition(".")
    return f"fused {output}" if network == FUSION else output


def facts(verdicts: Sequence[Verdict], sets: Mapping[str, str]) -> dict[str, Any]:
    """What stands in the JSON file.

    Args:
        verdicts: in the order of the table.
        sets: stage to the data set that its metric was measured on.
    """
    return {
        "rows": [one.to_json() for one in verdicts],
        "sets": dict(sets),
        "machine": machine(),
        "command": shlex.join(["robollm", *sys.argv[1:]]),
        "version": __version__,
    }


def write_report(
    verdicts: Sequence[Verdict], sets: Mapping[str, str], report: Path | None, figures: Path | None
) -> None:
    """Write the table as Markdown and the facts as JSON, where a file is named.

    Raises:
        OutputError: If a file cannot be written.
    """
    if report is not None:
        write_file(report, table(verdicts).encode())
    if figures is not None:
        text = json.dumps(facts(verdicts, sets), indent=2, sort_keys=True, allow_nan=False)
        write_file(figures, (text + "\n").encode())
