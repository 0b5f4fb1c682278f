# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""From outcomes to tables, sentences, plots and the page."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robollm_core.errors import DatasetError
from robollm_core.study import plots
from robollm_core.study.page import render_page, to_json, write_page
from robollm_core.study.plan import STUDIES, Run, Study, build_study
from robollm_core.study.runner import Outcome
from robollm_core.study.summary import KEYS, conclusions, measures_of, summarise

NOISE = ("clean", "uniform 10%", "lookalike 10%")
STEPS = {0: 0.0, 1: 0.02, 2: -0.01, 3: 0.03}
"""What a seed adds, for all arms alike."""


def quality(value):
    rest = {"val_picks": 40.0, "gallery_mean": 12.5, "gallery_min": 8.0, "gallery_max": 20.0}
    names = ("r1_PickRGB", "r1_fused", "select", "trainable", "step_ms", "peak_rss_mib")
    return {**dict.fromkeys(names, value), **rest}


def jitter(arm, seed):
    """What a seed adds to one arm."""
    return float(np.random.default_rng([seed, *arm.encode()]).normal(0.0, 0.001))


def outcomes_of(levels, seeds=3, broken=(), conditions=("clean",)):
    """A study and its outcomes; levels: arm to the mean under each condition."""
    study = Study("objectives", "Which?", tuple(levels), conditions, ())
    outcomes = []
    for seed in range(seeds):
        for arm, values in levels.items():
            for condition, value in zip(conditions, values, strict=True):
                run = Run(arm, condition, seed, {"seed": seed, "objective": arm, "steps": 5})
                error = "TrainingError: not finite" if (arm, condition, seed) in broken else ""
                figures = {} if error else quality(value + STEPS[seed] + jitter(arm, seed))
                outcomes.append(Outcome(run, Path("x"), figures, error, "0.1+a"))
    runs = tuple(outcome.run for outcome in outcomes)
    return Study(study.name, study.question, study.arms, conditions, runs), outcomes


def summary(levels, **others):
    return summarise(*outcomes_of(levels, **others))


def test_a_clear_difference_is_said_and_an_unclear_one_is_not():
    # seeds move both arms alike: a difference of 0.05 shows, none does not
    results = summary({"infonce": [0.6], "clce": [0.65], "triplet": [0.6]}, seeds=4)
    first, silent, chance = conclusions(results)
    assert first.startswith("clean: `clce` is above `infonce` in mean reciprocal rank by 0.0")
    assert "and so after the correction" in first
    assert silent.startswith("No difference from `infonce` is shown for: `triplet` (clean).")
    assert chance.startswith("2 comparisons with `infonce` were made; of 2 true zeros about 0.1")


def test_a_worse_arm_is_called_worse():
    results = summary({"infonce": [0.6], "clce": [0.5]}, seeds=4)
    assert "`clce` is below `infonce`" in conclusions(results)[0]


def test_a_difference_that_falls_with_the_correction_is_said_to():
    arms = {"infonce": [0.6], "clce": [0.65]} | {f"same{n}": [0.6005] for n in range(3)}
    results = summary(arms, seeds=3)
    one = results["differences"]["clean"]["clce"]["select"]
    for other in ("p", "q"):
        one[other] = 0.04 if other == "p" else 0.2
    assert "but not so after the correction" in conclusions(results)[0]


def test_conditions_are_compared_with_the_first_within_each_arm():
    levels = {"infonce": [0.7, 0.6, 0.5], "clce": [0.7, 0.7, 0.7]}
    results = summary(levels, conditions=NOISE)
    change = results["changes"]["lookalike 10%"]["infonce"]["select"]
    assert change["mean"] == pytest.approx(-0.2)
    assert set(results["changes"]) == set(NOISE[1:])
    assert set(results["differences"]) == set(NOISE)


def test_rivals_are_compared_with_each_other_too():
    levels = {"random": [0.3], "masked": [0.6], "views": [0.7]}
    study, outcomes = outcomes_of(levels, seeds=4)
    results = summarise(replace(study, rivals=("views", "masked")), outcomes)
    assert results["rivalry"]["clean"]["views"]["select"]["mean"] == pytest.approx(0.1, abs=0.005)
    assert any("`views` is above `masked`" in sentence for sentence in conclusions(results))
    assert summarise(study, outcomes)["rivalry"] == {}


def test_the_tables_are_means_over_seeds_of_what_ran():
    results = summary({"infonce": [0.6], "clce": [0.7]}, broken={("clce", "clean", 1)})
    values = [0.7 + STEPS[seed] + jitter("clce", seed) for seed in (0, 2)]
    one = results["means"]["clean"]["clce"]["select"]
    assert one["mean"] == pytest.approx(np.mean(values))
    assert one["n"] == 2
    assert [(r["arm"], r["seed"], r["error"]) for r in results["failed"]] == [
        ("clce", 1, "TrainingError: not finite")
    ]
    assert len(results["runs"]) == 6
    assert results["seeds"] == [0, 1, 2]
    assert results["judged"] == {
        "val_picks": 40.0,
        "gallery_mean": 12.5,
        "gallery_min": 8.0,
        "gallery_max": 20.0,
    }
    assert results["recipe"] == {"steps": 5}


def test_an_arm_that_failed_is_absent_and_the_others_stand():
    broken = {("clce", "clean", seed) for seed in range(3)}
    results = summary({"infonce": [0.6], "clce": [0.7]}, broken=broken)
    assert set(results["means"]["clean"]) == {"infonce"}
    assert results["differences"] == {}
    assert conclusions(results) == []
    assert "| clce | too few runs |" in page_of(results)
    assert "3 of 6 runs failed" in page_of(results)


def test_the_trained_share_is_of_all_parameters():
    study, outcomes = outcomes_of({"full": [0.6], "lora": [0.6]})
    timed = Study("adapters", "?", study.arms, study.conditions, study.runs, timed=True)
    sizes = {"full": 5e6, "lora": 1e6}
    counted = [
        Outcome(
            o.run,
            o.folder,
            {**o.figures, "trainable": sizes[o.run.arm], "total": 5e6},
            "",
            o.code,
        )
        for o in outcomes
    ]
    means = summarise(timed, counted)["means"]["clean"]
    found = {arm: row["trained_share"]["mean"] for arm, row in means.items()}
    assert found == pytest.approx({"full": 1.0, "lora": 0.2})


def test_a_study_without_any_result_is_refused_with_the_reason():
    broken = {("infonce", "clean", seed) for seed in range(3)}
    with pytest.raises(DatasetError, match="first error: TrainingError: not finite"):
        summary({"infonce": [0.6]}, broken=broken)


def test_every_key_of_the_results_that_needs_words_has_them():
    results = summary({"infonce": [0.6], "clce": [0.7]})
    plain = {"study", "question", "baseline", "arms", "conditions", "seeds", "measures", "keys"}
    assert set(results) - plain == set(KEYS) - {"figures"}
    assert json.loads(to_json(results)) == results


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_measures_and_the_timed_one_has_costs(name):
    names = {
        measure.name for measure in measures_of(build_study(name, seeds=2, init="", changes={}))
    }
    assert "r1_PickRGB" in names
    assert ({"trainable", "step_ms", "peak_rss_mib"} <= names) == (name == "adapters")
    assert ({"purity", "alignment", "uniformity"} <= names) == (name == "maps")


PROVENANCE = {
    "command": "robollm study objectives --data D --out O",
    "data": "D",
    "init": "random weights",
    "machine": "a processor, 2 cores",
    "version": "0.1.0",
}


def page_of(results):
    recipe = {"image_px": 64, "steps": 5, "batch_items": 8, "encoder": "tiny"}
    return render_page({**results, "provenance": PROVENANCE, "recipe": recipe}, {"plot.png": b""})


def test_the_page_says_what_was_done_and_has_whole_tables():
    page = page_of(summary({"infonce": [0.6, 0.5, 0.4], "clce": [0.7] * 3}, conditions=NOISE))
    for word in (*PROVENANCE.values(), "40 picks", "mean 12.5, 8 to 20", "3 seeds", "plot.png"):
        assert word in page
    assert "The test split was not looked at." in page
    lines = page.splitlines()
    heads = [n for n, line in enumerate(lines) if line.startswith("|---")]
    assert len(heads) == 4  # one a measure, and the differences
    for head in heads:
        rows = [lines[head - 1], lines[head], lines[head + 1], lines[head + 2]]
        assert len({row.count("|") for row in rows}) == 1
    assert "{{" not in page
    assert "{%" not in page
    assert "| infonce | 0.60" in page


def test_page_plots_and_json_lie_side_by_side(tmp_path):
    results = summary({"infonce": [0.6], "clce": [0.7]})
    recipe = {"image_px": 64, "steps": 5, "batch_items": 8, "encoder": "tiny"}
    whole = {**results, "provenance": PROVENANCE, "recipe": recipe}
    write_page(tmp_path / "docs" / "objectives.md", whole, {"objectives.png": b"picture"})
    names = sorted(path.name for path in (tmp_path / "docs").iterdir())
    assert names == ["objectives.json", "objectives.md", "objectives.png"]
    assert json.loads((tmp_path / "docs" / "objectives.json").read_text()) == whole


@pytest.mark.parametrize("broken", [(), tuple(("clce", "uniform 10%", s) for s in range(3))])
def test_plots_are_pictures_small_enough_for_the_page(broken):
    levels = {f"arm{n}": [0.7, 0.6, 0.5] for n in range(6)} | {"clce": [0.7] * 3}
    results = summary(levels, conditions=NOISE, broken=broken)
    for data in (plots.lines(results, ("uniform", "lookalike")), plots.bars(results)):
        assert len(data) < 60_000
        assert np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).std() > 1


def test_the_same_numbers_give_the_same_picture():
    results = summary({"infonce": [0.6], "clce": [0.7]})
    assert plots.bars(results) == plots.bars(results)
