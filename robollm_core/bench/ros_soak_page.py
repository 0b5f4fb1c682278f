# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The account of a soak as a page and as a figure."""

import io
from collections.abc import Mapping
from typing import Any

Tree = Mapping[str, Any]
_FRAME_COLUMNS = (
    "sent", "received", "answered", "failed", "dropped_mailbox", "dropped_age", "dropped_jump",
    "decode_errors", "on_the_way", "uncounted", "answers_lost",
)  # fmt: skip


def page(figures: Tree) -> str:
    """Markdown: the claims first, then frames, picks, faults and what the log said."""
    hours = figures["seconds"] / 3600.0
    long = f"{hours:g} h" if hours >= 1 else f"{figures['seconds'] / 60:g} min"
    picks, growth = figures["picks"], figures["growth"]
    verdict = "Every claim was kept." if figures["kept"] else "Not every claim was kept."
    parts = [
        f"# A simulated cell for {long}",
        f"{figures['rate']:g} frames of the tote and {figures['picks_per_s']:g} picks a second, "
        f"four cameras, faults `{figures['faults_asked']}`, seed {figures['seed']}. {verdict}",
        f"```sh\n{figures['command']}\n```",
        _table(
            ("claim", "value", "limit", ""),
            [
                (one["name"], f"{one['value']:g}", f"{one['limit']:g}",
                 "kept" if one["kept"] else "**not kept**")
                for one in figures["claims"]
            ],
        ),
        "## Frames",
        _table(
            ("camera", *_FRAME_COLUMNS),
            [(camera, *(str(one.get(name, 0)) for name in _FRAME_COLUMNS))
             for camera, one in figures["frames"].items()],
        ),
        "## Picks",
        f"{picks['asked']} events asked ({picks['asked_again']} of them again), "
        f"{picks['cancels']} cancels, {picks['malformed']} malformed. Final states: "
        f"{_listed(picks['finals'])}. Milliseconds to the answer: {_listed(picks['answer_ms'])}.",
        "## Faults",
        _table(("fault", "what it did"),
               [(name, _listed(did)) for name, did in figures["faults"].items()]),
        "## The process",
        f"Resident {growth['rss_kib'] / 1024:.0f} MiB, {growth['rss_share']:+.2%} since warm-up; "
        f"{growth['cpu']:.2f} cores in use.\n\n![memory, files and threads](soak.png)",
        "## What the log said",
        _table(("sentence", "times"),
               [(text.replace("|", "\\|"), str(n)) for text, n in figures["logged"].items()]),
        f"{figures['machine']}, robollm {figures['version']}.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _listed(counts: Tree | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (counts or {}).items()) or "none"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def draw(figures: Tree) -> bytes:
    """Resident memory, open files and threads over time, as PNG."""
    from matplotlib.figure import Figure

    looks = figures["looks"]
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.subplots()
    minutes = [one["s"] / 60.0 for one in looks]
    axes.plot(minutes, [one["rss_kib"] / 1024 for one in looks], label="resident")
    axes.axvspan(0, minutes[len(minutes) // 4], color="lightgrey", label="warm-up")
    axes.set(xlabel="minutes", ylabel="MiB", ylim=(0, None))
    counts = axes.twinx()
    for name, colour in (("handles", "seagreen"), ("threads", "darkorange")):
        counts.plot(minutes, [one[name] for one in looks], color=colour, label=name)
    counts.set(ylabel="open files, threads", ylim=(0, None))
    figure.legend(loc="outside upper center", frameon=False, ncols=4)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()
