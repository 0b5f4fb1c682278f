# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The report of one evaluation: a page of HTML that needs no other file, and Markdown.

The page shows what an outcome says, in its order, and knows no stage. The same
outcome gives the same bytes.
"""

import base64
import hashlib
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robollm_core import __version__
from robollm_core.data.broken import BrokenFiles
from robollm_core.evaluation.outcome import Block, Exhibit, Matrix, Outcome, Plot, Table
from robollm_core.evaluation.page_cells import (
    Grid,
    Shown,
    facts,
    grid,
    headlines,
    matrix_table,
    plot_table,
    protocol_rows,
    show,
)
from robollm_core.evaluation.plots import draw
from robollm_core.evaluation.published import is_simulated, published_tables

_ROOM = "robollm_core.evaluation"
_ROW_FIGURES = {"identification": ("recall_at_1_n1", "recall_at_1_n3")}
_MANY = 3
_SHORT_PLOT = 24


@dataclass(frozen=True, slots=True)
class _Part:
    """A block as the template takes it.

    Attributes:
        id: of its element.
        title, note: as given.
        grid: its table, or the numbers of its plot.
        svg: its plot, "" for a table.
        thinned: what the table leaves out of the plot, "" for nothing.
    """

    id: str
    title: str
    note: str
    grid: Grid
    svg: Markup = Markup()
    thinned: str = ""


def render_html(
    title: str,
    stage: str,
    outcome: Outcome,
    provenance: Mapping[str, Any],
    broken: BrokenFiles,
) -> str:
    """The page.

    Args:
        title: heading.
        stage: what was measured; the published results of that stage stand beside ours.
        outcome: what came of it.
        provenance: where it comes from, plain JSON values, printed as given.
        broken: what could not be used.

    Returns:
        HTML; every text is escaped, and nothing is loaded from anywhere.
    """
    script = importlib.resources.files(_ROOM).joinpath("evaluation.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        _environment(autoescape=True)
        .get_template("evaluation.html.j2")
        .render(
            **_content(title, stage, outcome, provenance, broken),
            blocks=[_part(block, f"result-{i}") for i, block in enumerate(outcome.blocks, 1)],
            exhibits=[_exhibit(one) for one in outcome.exhibits],
            groups=list(Counter(one.group for one in outcome.exhibits).items()),
            json=_json(stage, outcome, provenance, broken),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def render_markdown(
    title: str,
    stage: str,
    outcome: Outcome,
    provenance: Mapping[str, Any],
    broken: BrokenFiles,
) -> str:
    """The tables of the page, without its pictures.

    Args:
        title: heading.
        stage: what was measured.
        outcome: what came of it; short plots become tables, long ones are only named.
        provenance: where it comes from.
        broken: what could not be used.

    Returns:
        Markdown with tables as GitHub and Sphinx read them; texts are escaped.
    """
    environment = _environment(autoescape=False)  # Markdown has rules of its own: `plain`
    environment.filters |= {"plain": plain, "value": _value, "code": _code}
    return environment.get_template("evaluation.md.j2").render(
        **_content(title, stage, outcome, provenance, broken),
        blocks=[_text_part(block) for block in outcome.blocks],
    )


ROW_COLUMNS = ("stage", "data", "figures", "network", "version")
"""What `markdown_row` tells, for the head of the table around it."""


def markdown_row(stage: str, outcome: Outcome, provenance: Mapping[str, Any]) -> str:
    """One row of a table of runs.

    Args:
        stage: what was measured.
        outcome: what came of it; its first figures stand in the row.
        provenance: "data", "version".

    Returns:
        The cells of `ROW_COLUMNS`, without a line's end.
    """
    data = provenance.get("data") or {}
    place = ", ".join(str(data[key]) for key in ("folder", "split") if data.get(key))
    place += " (simulated)" if is_simulated(provenance) else ""
    chosen = {k: outcome.figures[k] for k in _ROW_FIGURES.get(stage, ()) if k in outcome.figures}
    first = list(headlines(chosen or outcome.figures).items())[:_MANY]
    figures = "; ".join(f"{plain(name)} {_value(show(figure))}" for name, figure in first)
    networks = ", ".join(f"{name} {sha[:12]}" for name, sha in outcome.networks.items())
    version = str(provenance.get("version", __version__))
    cells = (plain(stage), plain(place), figures, plain(networks), plain(version))
    return f"| {' | '.join(cells)} |"


def plain(text: object) -> str:
    """A text that Markdown shows as it is, in one line."""
    line = " ".join(str(text).split()).replace("\\", "\\\\")
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([|*`\[\]~$])", r"\\\1", line)
    # at the start it would be a heading, a list or a rule
    line = re.sub(r"^(\d*)([#+=.)-])(?=[#+=\s-]|$)", r"\1\\\2", line)
    # inside a word it is an underscore, at its edge it would be emphasis
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)


def _code(text: str) -> str:
    return plain(text) if "`" in text or "\n" in text else f"`{text}`"


def _value(cell: Shown) -> str:
    # no link stands behind the brackets of an interval
    return f"{cell} (n {cell.n})" if cell.n else plain(cell.text)


def _text_part(block: Block) -> dict[str, Any]:
    table = _as_table(block)
    short = isinstance(block, Table | Matrix) or len(table.rows) <= _SHORT_PLOT
    return {"title": block.title, "note": block.note, "grid": grid(table) if short else None}


def _environment(*, autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader(_ROOM, "."),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def _content(
    title: str,
    stage: str,
    outcome: Outcome,
    provenance: Mapping[str, Any],
    broken: BrokenFiles,
) -> dict[str, Any]:
    """What the page and its Markdown have in common."""
    return {
        "title": title,
        "lead": lead(stage, outcome, provenance, broken),
        "headlines": [(name, show(figure)) for name, figure in headlines(outcome.figures).items()],
        "facts_rows": facts(provenance),
        "protocols": protocol_rows(outcome.figures),
        "published": [
            _part(table, f"published-{i}")
            for i, table in enumerate(published_tables(stage, outcome.figures, provenance), 1)
        ],
        "samples": f"{outcome.samples:,}",
        "broken": grid(_broken_table(broken)),
        "version": provenance.get("version", __version__),
    }


def lead(stage: str, outcome: Outcome, provenance: Mapping[str, Any], broken: BrokenFiles) -> str:
    """One line below the heading: what, on how much, of which kind of data."""
    words = [stage, f"{outcome.samples:,} samples"]
    if broken.entries:
        words.append(f"{len(broken.entries):,} left out")
    if is_simulated(provenance):
        words.append("simulated data")
    words += [f"{name} {sha256[:12]}" for name, sha256 in outcome.networks.items()]
    return " · ".join(words)


def _as_table(block: Block) -> Table:
    """The numbers of a block."""
    if isinstance(block, Table):
        return block
    return matrix_table(block) if isinstance(block, Matrix) else plot_table(block)


def _part(block: Block, key: str) -> _Part:
    if isinstance(block, Table):
        return _Part(key, block.title, block.note, grid(block))
    table = _as_table(block)
    svg = Markup(draw(block, key))
    thinned = table.note if isinstance(block, Plot) else ""
    return _Part(key, block.title, block.note, grid(table), svg, thinned)


def _exhibit(one: Exhibit) -> dict[str, Any]:
    pictures = [
        (caption, f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}")
        for caption, jpeg in one.pictures
    ]
    return {"group": one.group, "title": one.title, "note": one.note, "pictures": pictures}


def _broken_table(broken: BrokenFiles) -> Table:
    rows = tuple((entry.path, entry.reason) for entry in broken.entries)
    return Table("Files that could not be used", ("file", "why"), rows)


def _json(stage: str, outcome: Outcome, provenance: Mapping[str, Any], broken: BrokenFiles) -> str:
    tree = {
        "stage": stage,
        "figures": outcome.figures,
        "provenance": provenance,
        "samples": outcome.samples,
        "broken": broken.to_json(),
    }
    return json.dumps(tree, indent=1, sort_keys=True, allow_nan=False)
