# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training of both crop networks, from the command line to the checkpoint."""

import json

import pytest
import small_sets
import torch

from robollm_core.beit3 import build
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.cli import main as command
from robollm_core.defects.model import build_defects
from robollm_core.errors import CheckpointError, ConfigError, DatasetError
from robollm_core.identification.model import build_identification
from robollm_core.training import defects, identification
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint
from robollm_core.training.recipe import build_recipe
from robollm_core.training.run import train

SMALL = {"image_px": 32, "cache_px": 40, "steps": 4, "validate_every": 0.5}
PICKS = {**SMALL, "embedding": 16, "fusion": 128, "batch_items": 4, "group": 2, "references": 2}
IMAGES = {**SMALL, "batch": 8, "drop_path": 0.1}


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return small_sets.write_defects(tmp_path_factory.mktemp("defects"))


def weights(path):
    return load_checkpoint(path, "")["model"]


@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_identification_trains_and_its_network_can_be_built(picks, tmp_path, keep, precision):
    recipe = {**PICKS, "keep_patches": keep, "precision": precision, "label_weight": 0.5}
    best = train("identification", recipe, picks, tmp_path)
    content = load_checkpoint(best, "identification")
    network = build_identification(content["recipe"]["model"])
    network.load_state_dict(content["model"])
    assert {"r1_PickRGB", "r1_fused", "select"} <= content["metrics"].keys()
    assert (tmp_path / "log.csv").read_text().count("single") == 4


def test_logits_keep_full_precision_under_bfloat16(picks, tmp_path):
    train("identification", {**PICKS, "precision": "bf16"}, picks, tmp_path)
    rows = (line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines())
    losses = torch.tensor([float(row[3]) for row in rows if row[2] in ("single", "fused")])
    assert len(losses) == 8
    # a loss of bfloat16 logits is a bfloat16 number; eight of ours are not by chance
    assert not torch.equal(losses, losses.bfloat16().float())


def test_identification_resumes_to_the_identical_state(picks, tmp_path):
    recipe = {**PICKS, "workers": 2, "keep_patches": 0.5, "full_from": 0.6, "save_minutes": 0.0}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train("identification", recipe, picks, whole)
    task = identification.IdentificationTask.loss

    def stopping(self, step, done):
        if step == 3:
            raise KeyboardInterrupt
        return task(self, step, done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification.IdentificationTask, "loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            train("identification", recipe, picks, broken)
    train("identification", recipe, picks, broken, resume=True)
    for name in ("best.pt", "last.pt"):
        one, two = weights(whole / name), weights(broken / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    memories = [load_checkpoint(run / "last.pt", "")["task"] for run in (whole, broken)]
    assert torch.equal(memories[0]["vectors"], memories[1]["vectors"])
    assert bool(memories[0]["filled"].any())


def test_a_resumed_run_wants_the_same_items(picks, tmp_path):
    root = small_sets.write_picks(tmp_path / "data")
    train("identification", PICKS, root, tmp_path / "run")
    for file in (root / "Reference_Images" / "P00").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match="other items"):
        train("identification", PICKS, root, tmp_path / "run", resume=True)


def test_the_network_learns_these_items(picks, tmp_path):
    recipe = {**PICKS, "steps": 60, "batch_items": 8, "strength": 0.2, "disguise": 0.0}
    recipe |= {"rate": 5e-3, "validate_every": 1.0}
    train("identification", recipe, picks, tmp_path)
    rows = (line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines())
    losses = [float(row[3]) for row in rows if row[2] == "single"]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_defects_train_from_the_encoder_of_identification(picks, images, tmp_path):
    start = train("identification", PICKS, picks, tmp_path / "id")
    recipe = {**IMAGES, "init": str(start)}
    task = defects.DefectTask(build_recipe(defects.DefectRecipe, recipe), images, tmp_path)
    encoder = task.network.encoder.state_dict()
    given = {k.removeprefix("encoder."): v for k, v in weights(start).items() if "encoder." in k}
    assert encoder.keys() == given.keys()
    assert all(torch.equal(encoder[key], given[key]) for key in given)
    best = train("defects", recipe, images, tmp_path / "defects")
    content = load_checkpoint(best, "defects")
    build_defects(content["recipe"]["model"]).load_state_dict(content["model"])
    assert {"recall_fpr_10", "select"} <= content["metrics"].keys()


def test_positions_are_resized_for_larger_crops(picks, images, tmp_path):
    start = train("identification", PICKS, picks, tmp_path / "id")
    recipe = {**IMAGES, "image_px": 64, "init": str(start)}
    task = defects.DefectTask(build_recipe(defects.DefectRecipe, recipe), images, tmp_path)
    encoder = task.network.encoder
    given = weights(start)
    assert encoder.positions.shape[1] == 1 + 16 and given["encoder.positions"].shape[1] == 1 + 4
    assert torch.equal(encoder.positions[:, :1], given["encoder.positions"][:, :1])
    assert torch.equal(encoder.patch_embed.weight, given["encoder.patch_embed.weight"])


def test_an_encoder_of_another_size_is_refused(picks, images, tmp_path, monkeypatch):
    start = train("identification", PICKS, picks, tmp_path / "id")
    shape = EncoderShape(depth=2, width=48, heads=2, ffn=64, image_hw=(32, 32))
    monkeypatch.setitem(build.SIZES, "tiny", lambda *_args, **_options: Encoder(shape))
    with pytest.raises(CheckpointError, match="wrong shape"):
        train("defects", {**IMAGES, "init": str(start)}, images, tmp_path / "d")
    save_checkpoint(
        tmp_path / "x.pt", {"stage": "another", "model": {"head.weight": torch.ones(1)}}
    )
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        train("defects", {**IMAGES, "init": str(tmp_path / "x.pt")}, images, tmp_path / "d")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        train("defects", {**IMAGES, "init": str(tmp_path / "gone.pt")}, images, tmp_path / "d")


def test_batches_are_balanced_as_the_recipe_says(tmp_path):
    root = small_sets.write_defects(tmp_path / "data", {"train": 40, "val": 12})
    for number in range(0, 40, 4):  # half of the nominal images become defects
        path = root / "data" / f"induct{number:03d}" / f"induct{number:03d}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "label": "multi_pick"}))
    drawn = {}
    for balance in (0.0, 1.0):
        recipe = {**IMAGES, "sample_balance": balance}
        checked = build_recipe(defects.DefectRecipe, recipe)
        task = defects.DefectTask(checked, root, tmp_path / str(balance))
        drawn[balance] = [float(task.chances[task.labels == label].sum()) for label in range(3)]
    assert drawn[0.0] == pytest.approx([0.5, 0.25, 0.25])
    assert drawn[1.0] == pytest.approx([1 / 3] * 3)


def test_data_of_another_layout_is_refused(tmp_path):
    with pytest.raises(DatasetError):
        train("identification", PICKS, tmp_path, tmp_path / "run")
    with pytest.raises(DatasetError):
        train("defects", IMAGES, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_goes_on(picks, tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    lines = [f"{key}: {value}" for key, value in PICKS.items()]
    recipe.write_text("\n".join(["stage: identification", *lines]))
    words = ["train", "identification", "--recipe", str(recipe), "--data", str(picks)]
    words += ["--out", str(tmp_path / "run"), "--set", "seed=5", "--minutes", "5"]
    assert command.main(words) == 0
    assert "identification: 4 steps" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "run" / "best.pt", "identification")["recipe"]["seed"] == 5
    assert command.main(words) == 2  # it would overwrite the run
    assert command.main([*words, "--resume"]) == 0
    words[1] = "defects"
    assert command.main(words) == 2
    assert "is a recipe for" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_budget_must_be_a_time(minutes, tmp_path):
    words = ["train", "defects", "--recipe", "r", "--data", "d", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        command.main([*words, "--minutes", minutes])


def test_unknown_recipe_keys_are_refused_before_any_work(picks, tmp_path):
    with pytest.raises(ConfigError, match="unknown recipe key"):
        train("identification", {**PICKS, "colour": 1}, picks, tmp_path / "run")
    assert not (tmp_path / "run").exists()
