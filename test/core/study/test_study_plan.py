# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The runs that a study is made of."""

from collections import Counter
from dataclasses import fields

import pytest

from robollm_core.cli import study as verb
from robollm_core.errors import ConfigError
from robollm_core.study.plan import ADAPTERS, OBJECTIVES, STUDIES, Run, build_study
from robollm_core.training.identification import IdentificationRecipe, IdentificationTask
from robollm_core.training.objectives import build_objective
from robollm_core.training.recipe import build_recipe


def planned(name, **others):
    given = {"seeds": 3, "init": "", "changes": {}, **others}
    return build_study(name, **given)


def test_the_verb_names_all_studies():
    assert tuple(STUDIES) == verb.NAMES


def test_objectives_meet_every_noise_with_every_seed():
    study = planned("objectives")
    assert len(study.runs) == 7 * 7 * 3
    places = Counter((run.arm, run.condition, run.seed) for run in study.runs)
    assert set(places.values()) == {1}
    assert {run.arm for run in study.runs} == set(OBJECTIVES) == set(study.arms)
    noise = {(r.recipe.get("label_noise_kind"), r.recipe.get("label_noise")) for r in study.runs}
    wrong = {(kind, p) for kind in ("uniform", "lookalike") for p in (0.05, 0.1, 0.2)}
    assert noise == {(None, None), *wrong}


@pytest.mark.parametrize("name", STUDIES)
def test_every_recipe_is_one_the_stage_takes(name):
    for run in planned(name).runs:
        recipe = build_recipe(IdentificationRecipe, run.recipe)
        assert recipe.seed == run.seed
        assert recipe.threads == 1
        # judged once: no best checkpoint is chosen on the split that judges
        assert recipe.validate_every == 1.0
        build_objective(recipe.objective, 4, 8, recipe.tau)


def test_arms_differ_in_what_is_compared_alone():
    for name, keys in {"objectives": {"objective"}, "adapters": {"adapter"}}.items():
        study = planned(name)
        for condition in study.conditions:
            group = [r.recipe for r in study.runs if (r.condition, r.seed) == (condition, 1)]
            every = {key for recipe in group for key in recipe}
            assert {key for key in every if len({str(r.get(key)) for r in group}) > 1} == keys


def test_shares_are_compared_with_the_whole():
    study = planned("share")
    assert study.conditions[0].startswith("100%")
    assert sorted({run.recipe["train_share"] for run in study.runs}) == [0.2, 0.5, 0.8, 1.0]


def test_adapters_are_timed_and_begin_with_full_fine_tuning():
    study = planned("adapters")
    assert study.timed
    assert study.arms[0] == "full"
    assert {r.arm: r.recipe["adapter"] for r in study.runs} == ADAPTERS


def test_pretraining_starts_from_random_weights_and_has_equal_steps():
    study = planned("pretraining", init="taught.pt", changes={"steps": 20})
    assert {run.recipe["init"] for run in study.runs} == {""}
    lessons = {run.arm: run.pretext for run in study.runs}
    assert lessons.pop("random") == {}
    assert {arm: lesson["objective"] for arm, lesson in lessons.items()} == {
        name: name for name in ("masked", "views", "distil")
    }
    assert {lesson["steps"] for lesson in lessons.values()} == {60}
    assert set(study.rivals) == {"masked", "views"}
    assert {len({str(r.recipe) for r in study.runs if r.seed == s}) for s in range(3)} == {1}


@pytest.mark.parametrize("name", STUDIES)
def test_a_quick_study_is_of_two_arms_two_seeds_and_few_steps(name):
    study = planned(name, quick=True)
    assert len(study.arms) == 2
    assert len(study.conditions) <= 2
    assert {run.seed for run in study.runs} == {0, 1}
    assert {(r.arm, r.condition) for r in study.runs} == {
        (a, c) for a in study.arms for c in study.conditions
    }
    assert max(run.recipe["steps"] for run in study.runs) <= 20


def test_changes_reach_all_runs():
    study = planned("share", changes={"steps": 7, "rate": 0.5}, init="x.pt")
    assert {(r.recipe["steps"], r.recipe["rate"]) for r in study.runs} == {(7, 0.5)}
    assert {run.recipe["init"] for run in study.runs} == {"x.pt"}


def test_seed_by_seed_so_that_a_broken_study_has_whole_seeds():
    seeds = [run.seed for run in planned("objectives").runs]
    assert seeds == sorted(seeds)


def test_an_unknown_study_or_a_lone_seed_is_refused():
    with pytest.raises(ConfigError, match="no study 'colours'"):
        planned("colours")
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        planned("share", seeds=1)


def test_the_key_follows_recipes_and_sources_not_names():
    run = Run("a", "clean", 0, {"steps": 1, "rate": 0.5})
    assert run.key("data") == Run("b", "dirty", 0, {"rate": 0.5, "steps": 1}).key("data")
    others = [
        run.key("other data"),
        Run("a", "clean", 0, {"steps": 2, "rate": 0.5}).key("data"),
        Run("a", "clean", 0, {"steps": 1, "rate": 0.5}, {"steps": 1}).key("data"),
    ]
    assert len({run.key("data"), *others}) == 4


def test_the_recipe_has_the_keys_the_studies_turn():
    names = {field.name for field in fields(IdentificationRecipe)}
    assert {"objective", "label_noise", "label_noise_kind", "train_share", "adapter"} <= names
    assert IdentificationTask.stage == "identification"
