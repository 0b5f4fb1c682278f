# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two evaluations of one stage on the same samples: which is better, and is that shown?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robollm_core.errors import ConfigError
from robollm_core.evaluation.compare_runs import Pair, Run, pair_runs, read_run
from robollm_core.evaluation.compare_stages import COMPARISONS
from robollm_core.evaluation.compare_statistics import Difference, Resampling, holm
from robollm_core.evaluation.figure import Figure
from robollm_core.evaluation.outcome import Outcome, Plot, Series, Table

MAX_P = 0.05
MIN_RESAMPLES = 500
"""With fewer, not even the largest difference could pass the correction for nine tests."""
NOT_SHOWN = "no difference shown"


def compare(
    a: Path, b: Path, seed: int = 0, resamples: int | None = None, *, common: bool = False
) -> Outcome:
    """Compare two output folders of `robollm evaluate STAGE`.

    Args:
        a: one run.
        b: the other.
        seed: of resamples and swaps.
        resamples: how many of each; None for 2000, of segmentation 1000.
        common: compare the samples that both have, where they are not the same.

    Returns:
        Every figure of both, on the same samples; their difference (B less A) with
        the paired bootstrap interval under NAME_b_less_a; p, as it is and after
        Holm's correction over all figures of this comparison; a sentence each.

    Raises:
        ConfigError: If there are fewer than `MIN_RESAMPLES` resamples.
        DatasetError: If a folder is no run, or the two are of other stages, splits,
            protocols, samples or truths.
    """
    if resamples is not None and resamples < MIN_RESAMPLES:
        raise ConfigError(f"an interval needs at least {MIN_RESAMPLES} resamples, got {resamples}.")
    runs = read_run(a), read_run(b)
    truths = {stage: each.truths for stage, each in COMPARISONS.items()}
    pair = pair_runs(*runs, truths, common=common)
    comparison = COMPARISONS[pair.stage]
    times = resamples or comparison.resamples
    found = comparison.differences(pair, Resampling(times, seed))
    corrected = holm([each.p for each in found])
    judged = [(each, p, verdict(each, p)) for each, p in zip(found, corrected, strict=True)]
    said = protocol(pair, comparison.unit, len(found), times)
    return Outcome(
        figures={
            **{f"{each.name}_b_less_a": each.figure for each in found},
            "compared": pair.stage,
            "protocol": said,
            "runs": {name: _about(run) for name, run in zip("AB", runs, strict=True)},
            "samples": {"common": len(pair.a), "only_a": pair.only_a, "only_b": pair.only_b},
            "seed": seed,
            "resamples": times,
            "differences": {each.name: _tree(each, p, word) for each, p, word in judged},
            "sentences": [f"{each.name}: {sentence(each, p)}" for each, p, _ in judged],
        },
        blocks=(_words(judged), _table(judged, said), *_discordant(found), _forest(found)),
        networks=_networks(runs),
        samples=len(pair.a),
    )


def verdict(difference: Difference, p: float) -> str:
    """Which run is better, or that neither is shown to be.

    Args:
        difference: of one figure.
        p: corrected.

    Returns:
        "A is better" or "B is better" where the interval leaves out 0 and p is below
        `MAX_P`, else `NOT_SHOWN`.
    """
    figure = difference.figure
    if p >= MAX_P or figure["low"] <= 0.0 <= figure["high"]:
        return NOT_SHOWN
    return "B is better" if figure["value"] > 0.0 else "A is better"


def sentence(difference: Difference, p: float) -> str:
    """What may be said of one figure, and no more."""
    figure, word = difference.figure, verdict(difference, p)
    if word == NOT_SHOWN:
        return f"{word} (B less A: {_signed(figure)}, {_said(p)})"
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value < 0.0:
        value, low, high = -value, -high, -low
    return f"{word} by {value:.3f} [{low:.3f}, {high:.3f}], {_said(p)}"


def _said(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _signed(figure: Figure) -> str:
    return f"{figure['value']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"


def protocol(pair: Pair, unit: str, tests: int, resamples: int) -> str:
    """How the differences were obtained, in words."""
    left = pair.only_a + pair.only_b
    return (
        f"B less A on the same {len(pair.a)} samples"
        + (f" ({left} that one run alone has are left out)" if left else "")
        + f"; 95 % percentile interval of {resamples} resamples that draw {unit} of both runs "
        f"together; p two-sided, corrected by Holm over the {tests} tests of this comparison; "
        f"'better' is said where the interval leaves out 0 and the corrected p is below {MAX_P}"
    )


def _networks(runs: Sequence[Run]) -> dict[str, str]:
    """Networks of both runs with their sha256."""
    return {
        f"{name}: {file}": sha256
        for name, run in zip("AB", runs, strict=True)
        for file, sha256 in run.provenance.get("networks", {}).items()
    }


def _about(run: Run) -> dict[str, Any]:
    keys = ("version", "config", "artifact", "networks", "runtimes", "data", "seed")
    known: Mapping[str, Any] = run.provenance
    return {"folder": run.folder.name} | {key: known[key] for key in keys if key in known}


def _tree(difference: Difference, p: float, word: str) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "a": _six(difference.a),
        "b": _six(difference.b),
        "difference": difference.figure,
        "p": _digits(difference.p),
        "p_holm": _digits(p),
        "test": difference.test,
        "verdict": word,
        "sentence": sentence(difference, p),
    }
    if difference.discordant is not None:
        only_a, only_b = difference.discordant
        tree["discordant"] = {"only_a_right": only_a, "only_b_right": only_b}
    return tree


def _digits(p: float) -> float:
    """A p-value for JSON: three digits that count, so that none becomes 0."""
    return float(f"{p:.3g}")


def _six(value: float) -> float:
    return round(value, 6)


def _short(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _words(judged: Sequence[tuple[Difference, float, str]]) -> Table:
    rows = tuple((each.name, sentence(each, p)) for each, p, _ in judged)
    return Table("In words", ("figure", "what the samples show"), rows)


def _table(judged: Sequence[tuple[Difference, float, str]], note: str) -> Table:
    rows = tuple(
        (each.name, _six(each.a), _six(each.b), each.figure, _short(each.p), _short(p), word)
        for each, p, word in judged
    )
    columns = ("figure", "A", "B", "B less A", "p", "p, Holm", "verdict")
    return Table("Differences", columns, rows, f"{note}.")


def _discordant(found: Sequence[Difference]) -> tuple[Table, ...]:
    rows = tuple(
        (each.name, *each.discordant, each.figure["n"], _short(each.p))
        for each in found
        if each.discordant is not None
    )
    columns = ("figure", "only A right", "only B right", "of", "p, not corrected")
    note = "McNemar's exact test looks at the discordant pairs alone and takes them as independent."
    return (Table("Discordant pairs", columns, rows, note),) if rows else ()


def _forest(found: Sequence[Difference]) -> Plot:
    names = [each.name for each in found]
    figures = [each.figure for each in found]
    points = Series(
        "B less A",
        names,
        [figure["value"] for figure in figures],
        [figure["low"] for figure in figures],
        [figure["high"] for figure in figures],
        "points",
    )
    none = Series("no difference", names, [0.0] * len(names))
    note = "Above 0 B is better. 95 % intervals, not corrected for their number."
    series = (points, none)
    return Plot("Differences with their intervals", "figure", "B less A", series, y_limits=(),
                note=note)  # fmt: skip
