# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Learning from pictures without labels: masked patches, and two views of a crop."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch

from robollm_core.cli.main import main
from robollm_core.data.augmentation import PICK
from robollm_core.errors import CheckpointError, ConfigError
from robollm_core.training import defects, encoder, views
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.recipe import build_recipe, load_recipe
from robollm_core.training.run import train

RECIPES = Path(__file__).parents[3] / "config" / "recipes"
SMALL = {
    "image_px": 64,
    "cache_px": 72,
    "steps": 4,
    "validate_every": 0.5,
    "batch": 8,
    "tensorboard": False,
}
KINDS = {
    "masked": {"objective": "masked"},
    "blocks": {"objective": "masked", "mask": "block", "mask_share": 0.5, "drop_path": 0.1},
    "views": {"objective": "views", "keep_patches": 0.5, "full_from": 0.6},
}


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    small_sets.write_picks(root / "picks")
    small_sets.write_defects(root / "defects")
    return root


def pictures(count=3, size=64, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def task_of(data, out, **changes):
    recipe = build_recipe(encoder.EncoderRecipe, {**SMALL, **changes})
    return encoder.EncoderTask(recipe, data, out)


def test_the_views_of_a_batch_stand_in_pairs(data, tmp_path):
    task = task_of(data, tmp_path, objective="views", strength=0.0, disguise=1.0)
    task.loss(0, 0.0)
    one, two = task.batch["images"].float().flatten(1).chunk(2)
    assert len(one) == len(two) == SMALL["batch"]
    assert not torch.equal(one, two)  # turned by other angles
    colour = [part.unflatten(1, (-1, 3)).mean(1) for part in (one, two)]
    # one hue for both views: the partner has the nearest mean colour
    assert (torch.cdist(*colour).argmin(1) == torch.arange(8)).float().mean() > 0.7


def test_equal_views_are_found_and_judged_so(data, tmp_path):
    task = task_of(data, tmp_path, objective="views")
    still = views.TwoViews(task.network.eval(), 0.2, PICK.scaled(0.0), 0)
    still._changed = lambda crops, turn: crops
    crops = np.stack([picture.numpy() for picture in pictures(20)])
    with torch.inference_mode():
        figures = still.judge(task.network, crops)
    assert figures["select"] == figures["top1"] == 1.0


def test_an_answer_of_nothing_explains_nothing(data, tmp_path):
    task = task_of(data, tmp_path, objective="masked")
    torch.nn.init.zeros_(task.network.pixels.weight)
    torch.nn.init.zeros_(task.network.pixels.bias)
    with torch.inference_mode():
        figures = task.validate(task.network.eval())
    assert figures["select"] == pytest.approx(0.0, abs=1e-6) and figures["loss"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_validation_is_the_same_every_time(data, tmp_path, kind):
    task = task_of(data, tmp_path, **KINDS[kind])
    network = task.network.eval()
    with torch.inference_mode():
        figures = task.validate(network)
        torch.rand(7)
        assert task.validate(network) == figures


# runs


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_to_the_identical_state(data, tmp_path, kind):
    recipe = {**SMALL, **KINDS[kind], "save_minutes": 0.0}
    train("encoder", recipe, data, tmp_path / "whole")
    task = task_of(data, tmp_path / "part", **KINDS[kind], save_minutes=0.0)
    run = encoder_run(task, tmp_path / "part")
    while run.at.step < 2:
        run._step()
        run._after_step()
    run._save()
    train("encoder", recipe, data, tmp_path / "part", resume=True)
    one, two = (load_checkpoint(tmp_path / n / "last.pt", "encoder") for n in ("whole", "part"))
    for part in ("model", "mean"):
        assert one[part].keys() == two[part].keys()
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])


def encoder_run(task, out):
    from robollm_core.training.loop import Run

    run = Run(task, task.recipe, out, minutes=None)
    run._begin(resume=False)
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_starts_from_the_encoder_alone(data, tmp_path, kind):
    start = train("encoder", {**SMALL, **KINDS[kind]}, data, tmp_path / "encoder")
    content = load_checkpoint(start, "encoder")
    assert "select" in content["metrics"]
    task = defects.DefectTask(
        build_recipe(defects.DefectRecipe, {**SMALL, "init": str(start)}),
        data / "defects",
        tmp_path / "defects",
    )
    for name, tensor in task.network.encoder.state_dict().items():
        assert torch.equal(tensor, content["model"][f"encoder.{name}"])
    assert not any("teacher" in run for run in task.origin)  # the recipe's is not used


def test_another_objective_takes_the_encoder_and_the_same_takes_all(data, tmp_path):
    start = train("encoder", {**SMALL, **KINDS["masked"]}, data, tmp_path / "first")
    content = load_checkpoint(start, "encoder")["model"]
    other = task_of(data, tmp_path / "views", objective="views", init=str(start))
    same = task_of(data, tmp_path / "masked", objective="masked", init=str(start))
    for task in (other, same):
        for name, tensor in task.network.encoder.state_dict().items():
            assert torch.equal(tensor, content[f"encoder.{name}"])
        assert task.origin[-1]["file"] == "best.pt"
    assert torch.equal(same.network.pixels.weight, content["pixels.weight"])


def test_no_label_is_read_for_the_learning(data, tmp_path):
    """Other labels and other item names, same pictures: the same weights."""
    import shutil

    shutil.copytree(data / "defects", tmp_path / "changed")
    for note in (tmp_path / "changed" / "data").glob("*/*.json"):
        tree = json.loads(note.read_text())
        tree["label"] = {"nominal": "multi_pick"}.get(tree["label"], "nominal")
        note.write_text(json.dumps(tree))
    for kind in ("masked", "views"):
        made = [
            load_checkpoint(train("encoder", {**SMALL, **KINDS[kind]}, root, out), "encoder")
            for root, out in (
                (data / "defects", tmp_path / f"{kind}_one"),
                (tmp_path / "changed", tmp_path / f"{kind}_two"),
            )
        ]
        assert all(torch.equal(made[1]["model"][n], t) for n, t in made[0]["model"].items())


LEARNING = {"steps": 200, "rate": 5e-3, "disguise": 0.0, "strength": 0.3, "ema": 0.9}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_the_encoder_has_a_part_in_it(data, tmp_path, kind):
    recipe = {**SMALL, **KINDS[kind], **LEARNING, "drop_path": 0.0, "batch": 16}
    before = task_of(data, tmp_path / "before", **KINDS[kind]).network.encoder.blocks[0].ffn.fc1
    start = train("encoder", recipe, data, tmp_path / "run")
    rows = [line.split(",") for line in (tmp_path / "run" / "log.csv").read_text().splitlines()]
    losses = [float(row[3]) for row in rows if row[2] == "loss"]
    assert len(losses) == 200
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:5])
    content = load_checkpoint(start, "encoder")
    moved = content["model"]["encoder.blocks.0.ffn.fc1.weight"] - before.weight
    assert moved.norm() > 0.05 * before.weight.norm()
    assert content["metrics"]["select"] > 0.1


# recipes and bad input


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"objective": "jigsaw"}, "objective must be one of distil, masked, views"),
        ({"mask": "stripes"}, "mask must be one of random, block"),
        ({"mask_share": 0.0}, "mask_share must be in"),
        ({"mask_share": 1.0}, "mask_share must be in"),
        ({"tau": 0.0}, "tau must be in"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"val_images": 0}, "val_images must be at least 1"),
    ],
)
def test_what_no_run_can_have_is_refused(changes, match):
    with pytest.raises(ConfigError, match=match):
        build_recipe(encoder.EncoderRecipe, changes)


@pytest.mark.parametrize("objective", ["masked", "views"])
@pytest.mark.parametrize("image_px", [40, 16])
def test_crops_that_do_not_fit_are_refused(data, tmp_path, objective, image_px):
    with pytest.raises(ConfigError, match="multiple of 16 and at least 32"):
        task_of(data, tmp_path, objective=objective, image_px=image_px)


def test_another_objective_does_not_go_on_with_a_run(data, tmp_path):
    train("encoder", {**SMALL, **KINDS["masked"]}, data, tmp_path)
    with pytest.raises(CheckpointError, match="objective"):
        train("encoder", {**SMALL, **KINDS["views"]}, data, tmp_path, resume=True)


@pytest.mark.parametrize("name", ["masked", "views", "from_base"])
def test_recipes_name_their_objective(name):
    values = load_recipe(RECIPES / f"encoder_tiny_{name}.yaml")
    recipe = build_recipe(encoder.EncoderRecipe, values)
    assert recipe.objective == {"from_base": "distil"}.get(name, name)
    assert "teacher" not in values or name == "from_base"


@pytest.mark.parametrize(
    ("stage", "recipe"),
    [("encoder", "encoder_tiny_masked"), ("defects", "defects_tiny")],
)
def test_a_teacher_is_refused_where_nobody_is_taught(tmp_path, capsys, stage, recipe):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--teacher", "x.pt"]
    assert main(["train", stage, "--recipe", str(RECIPES / f"{recipe}.yaml"), *words]) == 2
    assert "--teacher is for the stage encoder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
