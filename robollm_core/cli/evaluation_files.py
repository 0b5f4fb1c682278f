# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The files an evaluation leaves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import OutputError
from robollm_core.evaluation.outcome import Outcome
from robollm_core.files import write_file

RESULT, RECORDS = "result.json", "records.jsonl"
PAGE, TEXT = "report.html", "report.md"
FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All there is to write of one run.

    Attributes:
        stage: what was measured, or "compare".
        title: heading of the page.
        outcome: what was measured.
        provenance: where it comes from.
        broken: what could not be read.
    """

    stage: str
    title: str
    outcome: Outcome
    provenance: Mapping[str, Any]
    broken: BrokenFiles

    def section(self) -> dict[str, Any]:
        """The figures as a section of a metrics file."""
        broken = {"broken": self.broken.to_json()} if self.broken.entries else {}
        return {**self.outcome.figures, **broken, "provenance": dict(self.provenance)}

    def html(self) -> str:
        """The page."""
        from robollm_core.evaluation.page import render_html

        return render_html(self.title, self.stage, self.outcome, self.provenance, self.broken)

    def markdown(self) -> str:
        """The page without pictures, as Markdown."""
        from robollm_core.evaluation.page import render_markdown

        return render_markdown(self.title, self.stage, self.outcome, self.provenance, self.broken)

    def row(self) -> str:
        """A Markdown table of one row, for documents that list runs."""
        from robollm_core.evaluation.page import ROW_COLUMNS, markdown_row

        head = f"| {' | '.join(ROW_COLUMNS)} |\n|{'---|' * len(ROW_COLUMNS)}"
        return f"{head}\n{markdown_row(self.stage, self.outcome, self.provenance)}\n"


def write_report(report: Report, out: Path) -> None:
    """Write result.json, records.jsonl, report.html, report.md and the files of peers.

    Args:
        report: what to write.
        out: the folder; what is there under these names is replaced.

    Raises:
        OutputError: If one cannot be written; each is whole or as it was.
    """
    tree = {
        "format": FORMAT,
        "stage": report.stage,
        "figures": report.outcome.figures,
        "provenance": report.provenance,
        "samples": report.outcome.samples,
        "broken": report.broken.to_json(),
    }
    for name, data in report.outcome.files.items():
        write_file(out / name, data)
    if report.outcome.records:
        write_file(out / RECORDS, _lines(report.outcome.records))
    write_file(out / PAGE, report.html().encode())
    write_file(out / TEXT, report.markdown().encode())
    # last: who finds it finds the rest
    write_file(out / RESULT, _json(tree))


def _lines(records: Any) -> bytes:
    return "".join(
        json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n" for record in records
    ).encode()


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def merge_section(path: Path, name: str, section: Mapping[str, Any]) -> None:
    """Put one section into a JSON file and leave the others as they are.

    Args:
        path: the file; made when it is not there.
        name: key of the section, replaced as a whole.
        section: plain JSON values; NaN is refused.

    Raises:
        OutputError: If the file holds no JSON object, or cannot be written; the
            old file stays as it is.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(tree, dict):
            raise OutputError(f"{path} must hold a JSON object; choose another --json file.")
        data = _json({**tree, name: section})
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot put the figures into {path}: {error}") from error
    write_file(path, data)
