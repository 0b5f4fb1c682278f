# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: checked, complete, and what the exporter reads."""

import importlib
from pathlib import Path

import pytest
import torch

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.encoder import Encoder
from robollm_core.defects.model import build_defects
from robollm_core.errors import ConfigError
from robollm_core.identification.model import build_identification
from robollm_core.images import CropSpec
from robollm_core.segmentation import detector
from robollm_core.training.defects import DefectRecipe
from robollm_core.training.recipe import build_recipe, load_recipe, recipe_values

RECIPES = Path(__file__).resolve().parents[3] / "config" / "recipes"
BUILDERS = {
    "identification": lambda recipe: build_identification(recipe.settings()),
    "defects": lambda recipe: build_defects(recipe.settings()),
    "encoder": lambda recipe: encoder_from(recipe.settings()),
    "segmentation": detector.build_detector,
}
MILLIONS = {"tiny": 4.95, "base": 85.89, "large": 303.55}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_its_network_can_be_built(path, monkeypatch):
    # mmengine logs the mean of what it initialised, which the meta device has not
    monkeypatch.setattr("mmengine.model.BaseModule.init_weights", lambda self: None)
    values = load_recipe(path)
    stage = values["stage"]
    assert path.stem.startswith(f"{stage}_")
    room = importlib.import_module(f"robollm_core.training.{stage}")
    recipe = build_recipe(room.RECIPE, values)
    assert recipe.encoder == next(s for s in ("tiny", "large", "base") if s in f"{path.stem} base")
    stored = recipe_values(recipe)
    with torch.device("meta"):
        network = BUILDERS[stage](recipe)
    (encoder,) = (module for module in network.modules() if isinstance(module, Encoder))
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert parameters / 1e6 == pytest.approx(MILLIONS[recipe.encoder], rel=0.05)
    if stage != "segmentation":
        spec = CropSpec.from_json(stored["crop"])
        assert spec.size_px == stored["model"]["img_size"] <= recipe.cache_px


def test_recipes_of_published_runs_say_what_was_published():
    thesis = [load_recipe(RECIPES / f"{n}_thesis.yaml") for n in ("identification", "defects")]
    for values in thesis:
        assert (values["epochs"], values["rate"], values["patience"]) == (50, 2e-4, 5)
        assert values.get("batch", values.get("batch_items")) == 64
    for path in RECIPES.glob("*_released*.yaml"):
        values = load_recipe(path)
        assert values["rate"] * values["floor"] == pytest.approx(1e-6)
        assert values["epochs"] * values["warmup"] == pytest.approx(3)
        assert (values["layer_decay"], values["drop_path"], values["weight_decay"]) == (
            0.65,
            0.2,
            0.05,
        )
        assert values.get("batch", values.get("batch_items")) == 128
        assert values.get("smoothing", 0.1) == 0.1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("epochs", -1),
        ("accumulate", 0),
        ("patience", -1),
        ("validate_every", 0.0),
        ("validate_every", 1.5),
    ],
)
def test_counts_that_no_run_can_have_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        build_recipe(DefectRecipe, {key: value})


def test_unknown_keys_name_their_neighbour():
    with pytest.raises(ConfigError, match="Did you mean warmup"):
        build_recipe(DefectRecipe, {"warm_up": 0.1})


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 1.5},
        {"steps": True},
        {"tensorboard": 1},
        {"precision": True},
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
