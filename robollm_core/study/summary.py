# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""From outcomes to the tables of results.json, and to what may be concluded from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robollm_core.errors import DatasetError
from robollm_core.study.plan import Study
from robollm_core.study.runner import Outcome
from robollm_core.study.statistics import (
    LEVEL,
    Difference,
    corrected,
    difference_of,
    is_shown,
    mean_of,
)

Place = tuple[str, str]
"""Condition and arm."""
Values = dict[Place, dict[int, Mapping[str, float]]]
"""Place to seed to figures."""
Tables = dict[str, dict[str, dict[str, Any]]]
"""Condition to arm to measure to what stands there."""

SHOWN = 0.05
"""A difference stands after the correction where q is below this."""

JUDGED = ("val_picks", "gallery_mean", "gallery_min", "gallery_max")
"""Figures of a run that say what the others rest on."""

KEYS = {
    "means": "condition, arm, measure: mean over seeds, 95 % t interval low to high, n seeds",
    "differences": "the same of arm - first arm, paired by seed; p of a t test, q of "
    "Benjamini and Hochberg over all places of the measure",
    "changes": "the same of an arm under a condition - itself under the first condition",
    "rivals": "two arms, neither the first, that are compared with each other too",
    "rivalry": "as differences, first rival - second rival",
    "judged": "picks of the val split, and items each pick was ranked among",
    "recipe": "keys that all runs have in common",
    "code": "version and hash of the sources that trained; several if they changed midway",
    "runs": "every run: arm, condition, seed, figures, error (empty for none), code",
    "failed": "the runs with an error",
    "figures": "r1_*: recall at 1 by view; select: mean reciprocal rank, the mean of one view "
    "and three views; seconds: of the whole run; step_ms: median step; peak_rss_mib: largest "
    "memory of the process; trainable, total: parameters",
}
"""What the keys of results.json are."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that a study compares.

    Attributes:
        name: its key.
        title: what it is, for the heads of tables.
        unit: "share" (printed as per cent), or a unit.
        better: 1 when more is better, -1 when less is, 0 when neither.
    """

    name: str
    title: str
    unit: str = "share"
    better: int = 1


QUALITY = (
    Measure("r1_PickRGB", "recall@1, one view"),
    Measure("r1_fused", "recall@1, three views"),
    Measure("select", "mean reciprocal rank"),
)
COST = (
    Measure("trainable", "trained parameters", "count", -1),
    Measure("trained_share", "trained share of all parameters", better=-1),
    Measure("step_ms", "time of a step", "ms", -1),
    Measure("peak_rss_mib", "peak memory of the process", "MiB", -1),
)
LAYOUT = (
    Measure("purity", "k-means purity"),
    Measure("alignment", "alignment", "number", -1),
    Measure("uniformity", "uniformity", "number", -1),
    Measure("positive_cosine", "cosine within an item", "number", 0),
    Measure("negative_cosine", "cosine between items", "number", 0),
)


def measures_of(study: Study) -> tuple[Measure, ...]:
    """What a study compares; the first decides."""
    if study.name == "maps":
        return (*LAYOUT, QUALITY[0])
    return (*QUALITY, *COST) if study.timed else QUALITY


def summarise(study: Study, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Tables of means and of differences.

    Args:
        study: the plan.
        outcomes: of its runs; failed ones are listed, and take no part in the tables.

    Returns:
        The keys of `KEYS`. A place of a table with fewer than two seeds is absent.

    Raises:
        DatasetError: If there is no arm with two runs that ended well.
    """
    measures = measures_of(study)
    values = _values(outcomes)
    means: Tables = {}
    for (condition, arm), runs in values.items():
        if len(runs) > 1:
            row = {m.name: mean_of([one[m.name] for one in runs.values()]) for m in measures}
            means.setdefault(condition, {})[arm] = row
    failed = [_row(outcome) for outcome in outcomes if outcome.error]
    if not means:
        told = f" The first error: {failed[0]['error']}" if failed else ""
        raise DatasetError(f"no arm has the two runs that an interval needs.{told}")
    return {
        "study": study.name,
        "question": study.question,
        "baseline": study.arms[0],
        "arms": list(study.arms),
        "conditions": list(study.conditions),
        "seeds": sorted({run.seed for run in study.runs}),
        "measures": [asdict(measure) for measure in measures],
        "judged": _judged(outcomes),
        "means": means,
        "differences": _differences(values, measures, _against_first_arm(study)),
        "changes": _differences(values, measures, _against_first_condition(study)),
        "rivals": list(study.rivals),
        "rivalry": _differences(values, measures, _between_rivals(study)),
        "failed": failed,
        "code": sorted({outcome.code for outcome in outcomes}),
        "recipe": _shared(study),
        "runs": [_row(outcome) for outcome in outcomes],
        "keys": dict(KEYS),
    }


def _values(outcomes: Sequence[Outcome]) -> Values:
    values: Values = {}
    for outcome in outcomes:
        if not outcome.error:
            place = (outcome.run.condition, outcome.run.arm)
            values.setdefault(place, {})[outcome.run.seed] = _derived(outcome.figures)
    return values


def _derived(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures, with those that follow from them."""
    if not {"trainable", "total"} <= figures.keys():
        return dict(figures)
    return {**figures, "trained_share": figures["trainable"] / figures["total"]}


def _judged(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Picks and gallery of the val split, the same in all runs."""
    done = [outcome.figures for outcome in outcomes if not outcome.error]
    return {name: done[0][name] for name in JUDGED if done and name in done[0]}


def _shared(study: Study) -> dict[str, Any]:
    """The recipe keys that all runs have in common."""
    first, *others = (run.recipe for run in study.runs)
    return {
        key: value
        for key, value in first.items()
        if all(key in recipe and recipe[key] == value for recipe in others)
    }


def _against_first_arm(study: Study) -> list[tuple[Place, Place]]:
    return [((c, a), (c, study.arms[0])) for c in study.conditions for a in study.arms[1:]]


def _against_first_condition(study: Study) -> list[tuple[Place, Place]]:
    return [((c, a), (study.conditions[0], a)) for c in study.conditions[1:] for a in study.arms]


def _between_rivals(study: Study) -> list[tuple[Place, Place]]:
    if not study.rivals:
        return []
    one, other = study.rivals
    return [((c, one), (c, other)) for c in study.conditions]


def _differences(
    values: Values, measures: Sequence[Measure], wanted: Sequence[tuple[Place, Place]]
) -> Tables:
    """Condition, arm and measure to `Difference`, corrected for all places of a measure."""
    found: Tables = {}
    places = [
        (one, other)
        for one, other in wanted
        if len(values.get(one, {}).keys() & values.get(other, {}).keys()) > 1
    ]
    for measure in measures:
        raw = [
            difference_of(_column(values[one], measure), _column(values[other], measure))
            for one, other in places
        ]
        for ((condition, arm), _), one in zip(places, corrected(raw), strict=True):
            found.setdefault(condition, {}).setdefault(arm, {})[measure.name] = one
    return found


def _column(runs: Mapping[int, Mapping[str, float]], measure: Measure) -> dict[int, float]:
    return {seed: figures[measure.name] for seed, figures in runs.items()}


def _row(outcome: Outcome) -> dict[str, Any]:
    run = outcome.run
    return {
        "arm": run.arm,
        "condition": run.condition,
        "seed": run.seed,
        "figures": dict(outcome.figures),
        "error": outcome.error,
        "code": outcome.code,
    }


def conclusions(results: Mapping[str, Any]) -> list[str]:
    """What the intervals of the differences allow to be said, and no more.

    Args:
        results: of `summarise`; the measure that decides is the mean reciprocal
            rank where there is one, otherwise the first.
    """
    measure = deciding(results)
    first_arm, first_condition = results["arms"][0], results["conditions"][0]
    sentences = _sentences(results["differences"], measure, f"`{first_arm}`")
    if results["rivals"]:
        sentences += _sentences(results["rivalry"], measure, f"`{results['rivals'][1]}`")
    sentences += _sentences(results["changes"], measure, f"itself under {first_condition}")
    return sentences


def deciding(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The measure that conclusions are drawn from."""
    measures: Sequence[Mapping[str, Any]] = results["measures"]
    found = [measure for measure in measures if measure["name"] == "select"]
    return found[0] if found else measures[0]


def _sentences(table: Tables, measure: Mapping[str, Any], other: str) -> list[str]:
    sentences, silent, count = [], [], 0
    for condition, arms in table.items():
        for arm, row in arms.items():
            one: Difference = row[measure["name"]]
            count += 1
            if not is_shown(one):
                silent.append(f"`{arm}` ({condition})")
                continue
            word = "above" if one["mean"] > 0 else "below"
            kept = "and" if one["q"] < SHOWN else "but not"
            low, high = (show(one[limit], measure["unit"]) for limit in ("low", "high"))
            sentences.append(
                f"{condition}: `{arm}` is {word} {other} in {measure['title']} by "
                f"{show(abs(one['mean']), measure['unit'])} (difference {low} to {high}), "
                f"{kept} so after the correction for all comparisons of the table."
            )
    if silent:
        sentences.append(
            f"No difference from {other} is shown for: {', '.join(silent)}. That is not the "
            "same as no difference: with so few seeds only large ones show."
        )
    if count > 1:
        sentences.append(
            f"{count} comparisons with {other} were made; of {count} true zeros about "
            f"{(1 - LEVEL) * count:.1f} would look like a difference by chance."
        )
    return sentences


def show(value: float, unit: str) -> str:
    """A value as the page prints it."""
    if unit == "share":
        return f"{value:.3f}"
    if unit == "count":
        return f"{value / 1e6:.2f} M"
    return f"{value:.0f} {unit}" if unit != "number" else f"{value:.3f}"
