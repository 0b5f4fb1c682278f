# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of `robollm bench ros` as lines of text and as a figure."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
_HEAD = (
    f"{'frame':>10} {'Hz':>5} {'sent':>6} {'lost':>5} {'latency p50':>11} {'p99':>7} {'max':>8} "
    f"{'tax p50':>8} {'p99':>7} {'p99.9':>7} {'node p50':>8} {'p99':>7} {'cpu':>5} {'MiB':>6}"
)


def table(rows: Rows) -> str:
    """One line a case; milliseconds."""
    return "\n".join([_HEAD, *(_line(row) for row in rows)])


def _line(row: Mapping[str, Any]) -> str:
    start = f"{row['size']:>10} {row['rate']:5g} {row['sent']:6} {row['sent'] - row['answered']:5}"
    if row["tax_ms"] is None:
        return f"{start} nothing was answered: {row['lost']}"
    latency, tax, node = row["latency_ms"], row["tax_ms"], row["node_tax_ms"]
    return (
        f"{start} {latency['p50']:11.2f} {latency['p99']:7.2f} {latency['max']:8.2f} "
        f"{tax['p50']:8.2f} {tax['p99']:7.2f} {tax['p99_9']:7.2f} {node['p50']:8.2f} "
        f"{node['p99']:7.2f} {row['cpu']:5.2f} {row['rss_kib'] / 1024:6.0f}"
    )


def remarks(figures: Mapping[str, Any]) -> list[str]:
    """What is no row: subscriptions, peaks, losses, targets."""
    lines = [
        f"{one['size']}: a frame in hand after {one['serialised_ms']['p50']:.2f} ms serialised, "
        f"{one['ordinary_ms']['p50']:.2f} ms by an ordinary subscription (p50)"
        for one in figures["subscriptions"]
    ]
    lines += [
        f"{one['size']}: peak rate {one['peak_hz'] or 0:.1f} Hz with at most 5 % lost"
        for one in figures["peaks"]
    ]
    for row in figures["rows"]:
        if (picks := row["picks"])["ms"]:
            lines.append(
                f"{row['size']} at {row['rate']:g} Hz: {picks['answered']} of {picks['asked']} "
                f"picks answered, p50 {picks['ms']['p50']:.2f} ms, p99 {picks['ms']['p99']:.2f} ms"
            )
        lost = {name: count for name, count in row["lost"].items() if count}
        if lost:
            lines.append(f"{row['size']} at {row['rate']:g} Hz lost: {lost}")
    for target in figures["targets"]:
        verdict = "kept" if target["kept"] else "not kept"
        value = f"{target['value']:.3g}, limit {target['limit']:g}"
        lines.append(f"{target['name']}: {value}: {verdict}")
    return lines


def markdown(figures: Mapping[str, Any]) -> str:
    """Rows, and what is no row, for a page."""
    head = "size Hz sent lost latency-p50 p99 max tax-p50 p99 p99.9 node-p50 p99 cpu MiB".split()
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in figures["rows"]:
        if row["tax_ms"] is not None:
            lines.append(" | ".join(_line(row).split()))
    text = "\n".join(f"| {line} |" for line in lines)
    return text + "\n\n" + "\n".join(f"- {line}" for line in remarks(figures)) + "\n"


def draw(rows: Rows) -> bytes:
    """The share of frames whose tax exceeds a time, one line a case, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        edges, counts = row["histogram"]["edges_ms"], row["histogram"]["counts"]
        total = sum(counts)
        left = [sum(counts[i:]) / max(1, total) for i in range(len(counts))]
        name = f"{row['size']}, {row['rate']:g} Hz, {row['transport']}"
        axes.step(edges[:-1], left, where="post", label=name)
    axes.set(xlabel="ms of tax", ylabel="share of frames above", yscale="log", xscale="symlog")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()
