# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: checked, complete, and what the exporter reads."""

from pathlib import Path

import pytest

from robollm_core.errors import ConfigError
from robollm_core.images import CropSpec
from robollm_core.training.defects import DefectRecipe
from robollm_core.training.identification import IdentificationRecipe
from robollm_core.training.recipe import build_recipe, load_recipe, recipe_values

RECIPES = Path(__file__).resolve().parents[3] / "config" / "recipes"


@pytest.mark.parametrize(
    ("name", "kind"), [("identification", IdentificationRecipe), ("defects", DefectRecipe)]
)
def test_the_shipped_recipes_are_valid(name, kind):
    values = load_recipe(RECIPES / f"{name}_tiny.yaml")
    assert values["stage"] == name
    recipe = build_recipe(kind, values)
    stored = recipe_values(recipe)
    assert stored["model"]["size"] == "tiny" and stored["model"]["img_size"] == 128
    spec = CropSpec.from_json(stored["crop"])
    assert spec.size_px == stored["model"]["img_size"] and recipe.cache_px >= 128


def test_unknown_keys_name_their_neighbour():
    with pytest.raises(ConfigError, match="Did you mean warmup"):
        build_recipe(DefectRecipe, {"warm_up": 0.1})


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 1.5},
        {"steps": True},
        {"bf16": 1},
        {"rate": "fast"},
        {"encoder": 3},
        {"crop_mode": None},
    ],
)
def test_wrong_types_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        build_recipe(DefectRecipe, values)


def test_numbers_as_yaml_reads_them():
    assert build_recipe(DefectRecipe, {"rate": "1e-3"}).rate == 0.001
    assert build_recipe(DefectRecipe, {"rate": 1}).rate == 1.0


def test_assignments_change_the_recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("stage: defects\nsteps: 5\n")
    values = load_recipe(path, ("steps=7", "deep.er=[1, 2]", "init=a/b.pt"))
    assert values == {"stage": "defects", "steps": 7, "deep": {"er": [1, 2]}, "init": "a/b.pt"}


@pytest.mark.parametrize(
    ("text", "assignment"),
    [("[1]", "a=1"), ("a: [", "a=1"), ("a: 1", "a"), ("a: 1", "a.b=1"), ("a: 1", "b=[")],
)
def test_unreadable_recipes_are_refused(tmp_path, text, assignment):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_recipe(path, (assignment,))
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path / "gone.yaml")
