# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a study: tables, plots and the sentences that the intervals allow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from robollm_core.files import write_file
from robollm_core.study.statistics import is_shown
from robollm_core.study.summary import conclusions, deciding, show


def render_page(results: Mapping[str, Any], plots: Mapping[str, bytes]) -> str:
    """The page as Markdown, made of the results alone.

    Args:
        results: of `summary.summarise`, with "provenance": "command", "data",
            "init", "machine" and "version".
        plots: file names beside the page, to PNG bytes.
    """
    environment = Environment(
        loader=PackageLoader("robollm_core.study", "."),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown of our own words
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.md.j2").render(
        results=results,
        recipe=results["recipe"],
        plots=list(plots),
        shown=is_shown,
        decides=deciding(results),
        conclusions=conclusions(results),
        show=show,
    )


def write_page(path: Path, results: Mapping[str, Any], plots: Mapping[str, bytes]) -> None:
    """Write the page, its plots and its JSON side by side.

    Raises:
        OutputError: If one cannot be written.
    """
    for name, data in plots.items():
        write_file(path.parent / name, data)
    write_file(path.with_name(f"{results['study']}.json"), to_json(results))
    write_file(path, render_page(results, plots).encode())


def to_json(results: Mapping[str, Any]) -> bytes:
    """The results as they are written."""
    return (json.dumps(results, indent=1, sort_keys=True) + "\n").encode()
