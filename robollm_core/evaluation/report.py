# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows what a cell saw, against the truth; no file beside it is needed."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from robollm_core.evaluation.cell import FrameTruth, match
from robollm_core.types import ItemReport, PerceptionResult


@dataclass(frozen=True, slots=True)
class Line:
    """One row beside a frame.

    Attributes:
        truth: what is there, "" when nothing is.
        answer: what was said, "" when nothing was found.
        similarity: of the best candidate, "" when there is none.
        verdict: whether the item is sound, as said.
        mark: "right", "wrong" or "none".
    """

    truth: str
    answer: str
    similarity: str
    verdict: str
    mark: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of the page.

    Attributes:
        title: heading.
        jpeg: base64 text of the drawn frame.
        lines: rows beside it.
    """

    title: str
    jpeg: str
    lines: tuple[Line, ...]


def picture(title: str, jpeg: bytes, result: PerceptionResult, truth: FrameTruth | None) -> Picture:
    """A frame of the page.

    Args:
        title: heading.
        jpeg: the drawn frame.
        result: its answer.
        truth: what it really shows, None when nobody knows.
    """
    lines: list[Line] = []
    free = set(range(len(result.items)))
    if truth is not None:
        for instance, index in zip(truth.instances, match(result, truth), strict=True):
            item = None if index is None else result.items[index]
            free -= {index} if index is not None else set()
            lines.append(_line(instance.item_id, instance.defect, item, truth.item_ids))
    lines += [_line("", "", result.items[index], frozenset()) for index in sorted(free)]
    return Picture(title, base64.b64encode(jpeg).decode("ascii"), tuple(lines))


def _line(item_id: str, defect: str, report: ItemReport | None, item_ids: frozenset[str]) -> Line:
    truth = item_id if defect in ("", "nominal") else f"{item_id}, {defect}"
    if report is None:
        return Line(truth, "not found", "", "", "wrong")
    named = report.identification.item_id
    answer = named or "none of these"
    candidates = report.identification.candidates
    similarity = f"{candidates[0][1]:.2f}" if candidates else ""
    verdict = f"{report.defect.label} ({1 - report.defect.score:.2f} nominal)"
    if not item_id:
        mark = "none"
    elif named == (item_id if item_id in item_ids else ""):
        mark = "right"
    else:
        mark = "wrong"
    return Line(truth, answer, similarity, verdict, mark)


def render(
    title: str,
    lead: str,
    *,
    rows: Mapping[str, object],
    pictures: Sequence[Picture],
    footer: Sequence[str] = (),
) -> str:
    """Render the page.

    Args:
        title: heading.
        lead: one sentence below it.
        rows: the table, printed as given.
        pictures: frames, in order.
        footer: what ran, line by line.

    Returns:
        HTML text; every text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("robollm_core.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(
        title=title, lead=lead, rows=rows.items(), frames=pictures, footer=footer
    )
