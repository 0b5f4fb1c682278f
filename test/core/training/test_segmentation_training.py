# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Real steps of the real detector, small enough for seconds."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

pytest.importorskip("mmdet", reason="needs mmdetection; install extra [train]")

from robollm_core.errors import CheckpointError, ConfigError, DatasetError
from robollm_core.segmentation.deploy import load_graph
from robollm_core.training import distributed
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.recipe import build_recipe, load_recipe
from robollm_core.training.run import train
from robollm_core.training.segmentation import (
    SegmentationRecipe,
    SegmentationTask,
    dump_config,
)

RECIPES = Path(__file__).resolve().parents[3] / "config" / "recipes"
RECIPE = {
    "seed": 3,
    "steps": 4,
    "rate": 1e-3,
    "threads": 0,
    "validate_every": 0.5,
    "batch": 2,
    "train_height": 64,
    "train_width": 96,
    "full_from": 0.9,
    "cascade_from": 0.4,
    "val_images": 2,
    "input_height": 96,
    "input_width": 128,
    "channels": 16,
    "finest_stride": 8,
    "anchor_scale": 4.0,
    "rpn_pre": 50,
    "proposals": 20,
    "roi_samples": 1,
    "head_width": 32,
    "mask_width": 8,
    "mask_convs": 1,
    "mask_all_stages": False,
    "detections": 20,
    "train_proposals": 20,
    "train_rois": 16,
    "train_anchors": 32,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright rectangles on a dark floor; one image without any."""
    root = tmp_path_factory.mktemp("totes")
    folder = root / "mix-object-tote"
    (folder / "images").mkdir(parents=True)
    for split, count in (("train", 5), ("val", 2)):
        rng = np.random.default_rng(count)
        tree = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Object"}]}
        for number in range(count):
            image, name = np.full((96, 128, 3), 30, np.uint8), f"{split}{number}.png"
            tree["images"].append({"id": number, "file_name": name, "width": 128, "height": 96})
            for _ in range(0 if number == 4 else 3):
                mask = np.zeros((96, 128), np.uint8, order="F")
                x, y = int(rng.integers(0, 90)), int(rng.integers(0, 60))
                mask[y : y + 30, x : x + 36] = 1
                image[mask > 0] = rng.integers(80, 255, 3)
                rle = coco_mask.encode(mask)
                segmentation = {"size": [96, 128], "counts": rle["counts"].decode()}
                entry = {"id": len(tree["annotations"]) + 1, "image_id": number, "category_id": 1}
                tree["annotations"].append({**entry, "segmentation": segmentation})
            cv2.imwrite(str(folder / "images" / name), image)
        (folder / f"{split}.json").write_text(json.dumps(tree))
    return root


def test_a_run_ends_in_a_checkpoint_the_graph_is_built_from(data, tmp_path):
    best = train("segmentation", RECIPE, data, tmp_path)
    content = torch.load(best, weights_only=True)
    assert content["stage"] == "segmentation"
    assert content["recipe"]["channels"] == 16
    assert not [name for name in content["model"] if "dense" in name]
    log = (tmp_path / "log.csv").read_text()
    assert "foreground" in log
    assert "s2.mask" in log
    assert "val_mask_ap50" in log
    with torch.inference_mode():
        out = load_graph(best)(torch.zeros(1, 96, 128, 3, dtype=torch.uint8))
    assert out[0].shape == (1, 20, 4)


def test_a_resumed_run_ends_where_an_unbroken_one_does(data, tmp_path, monkeypatch):
    train("segmentation", RECIPE, data, tmp_path / "whole")
    calls = []

    def break_off(self, step, done, inner=SegmentationTask.loss):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return inner(self, step, done)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SegmentationTask, "loss", break_off)
        train("segmentation", RECIPE, data, tmp_path / "broken")
    train("segmentation", RECIPE, data, tmp_path / "broken", resume=True)
    whole, broken = (
        load_checkpoint(tmp_path / name / "last.pt", "segmentation") for name in ("whole", "broken")
    )
    assert whole["step"] == broken["step"] == 4
    for name, tensor in whole["model"].items():
        assert torch.allclose(tensor, broken["model"][name], atol=1e-5), name


def test_the_cascade_learns_only_from_its_phase_on(data, tmp_path):
    task = SegmentationTask(SegmentationRecipe(**RECIPE), data, tmp_path)
    early, late = task.loss(0, 0.0)[1], task.loss(0, 0.5)[1]
    assert not [name for name in early if name.startswith("s")]
    assert {"s0.cls", "s1.bbox", "s2.mask"} <= set(late)
    assert {"foreground", "boundary", "offset", "rpn_cls"} <= set(early) & set(late)


def test_steps_make_the_loss_smaller(data, tmp_path):
    task = SegmentationTask(SegmentationRecipe(**RECIPE), data, tmp_path)
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        torch.manual_seed(0)  # the samplers draw the same anchors and RoIs
        loss, _ = task.loss(0, 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


def test_the_encoder_starts_from_a_checkpoint_of_another_grid(data, tmp_path):
    from robollm_core.beit3.build import tiny

    torch.manual_seed(9)
    other = tiny(128)
    weights = {f"encoder.{name}": value for name, value in other.state_dict().items()}
    path = tmp_path / "best.pt"
    torch.save({"format": 1, "stage": "identification", "recipe": {}, "model": weights}, path)
    recipe = SegmentationRecipe(**RECIPE, init=str(path))
    task = SegmentationTask(recipe, data, tmp_path)
    mine = task.network.backbone.encoder
    assert torch.equal(mine.blocks[3].ffn.fc1.weight, other.blocks[3].ffn.fc1.weight)
    assert mine.positions.shape == (1, 1 + 6 * 8, 256)


def test_a_detector_starts_from_another_run(data, tmp_path):
    first = SegmentationTask(SegmentationRecipe(**RECIPE), data, tmp_path)
    path = tmp_path / "best.pt"
    weights = first.network.state_dict()
    torch.save({"format": 1, "stage": "segmentation", "recipe": {}, "model": weights}, path)
    recipe = SegmentationRecipe(**{**RECIPE, "seed": 8}, init=str(path))
    second = SegmentationTask(recipe, data, tmp_path)
    mine = second.network.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in weights.items())
    narrow = SegmentationRecipe(**{**RECIPE, "channels": 8}, init=str(path))
    with pytest.raises(CheckpointError):
        SegmentationTask(narrow, data, tmp_path)


def test_what_does_not_fit_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="chanels"):
        train("segmentation", {**RECIPE, "chanels": 3}, data, tmp_path)
    with pytest.raises(ConfigError, match="multiples of 32"):
        train("segmentation", {**RECIPE, "train_width": 50}, data, tmp_path)
    with pytest.raises(DatasetError, match="train.json"):
        train("segmentation", RECIPE, tmp_path, tmp_path)
    with pytest.raises(CheckpointError):
        train("segmentation", {**RECIPE, "init": "nowhere.pt"}, data, tmp_path)
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 0}, "steps"),  # what the loop refuses
        ({"input_height": 100}, "input_height"),  # what the detector refuses
        ({"copy_paste": 2.0}, "copy_paste"),  # what the views refuse
        ({"scale_max": 2.0}, "scale_min"),
        ({"train_height": 0}, "train_height"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"full_from": 1.5}, r"full_from must be in \[0, 1\], got 1.5"),
        ({"full_from": -0.1}, "full_from"),
        ({"cascade_from": -0.1}, "cascade_from"),
        ({"cascade_from": float("nan")}, "cascade_from"),
        ({"dense_weight": -1.0}, "dense_weight"),
        ({"dense_weight": float("nan")}, "dense_weight"),
        ({"train_images": -1}, "train_images"),
        ({"val_images": 0}, "val_images must be at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        build_recipe(SegmentationRecipe, {**RECIPE, **values})


WIDE = {"scale_min": 0.3, "scale_max": 2.0, "copy_paste": 1.0, "copy_paste_most": 3}


def test_jitter_and_copies_reach_the_network(data, tmp_path):
    plain = SegmentationTask(SegmentationRecipe(**RECIPE), data, tmp_path)
    wide = SegmentationTask(SegmentationRecipe(**RECIPE, **WIDE), data, tmp_path)
    pasted = padded = 0
    for step in range(6):
        for task in (plain, wide):
            assert torch.isfinite(task.loss(step, 0.5)[0])
        pasted += int((wide.batch["labels"] > 3).sum())  # no image has more than three
        padded += int(((wide.batch["images"] + 1.0) * 127.5).round().eq(128).all(1).sum())
    assert pasted > 100
    assert padded > 100
    assert int(plain.batch["labels"].max()) <= 3


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_see_their_own_part_of_one_batch(data, tmp_path, monkeypatch, size):
    recipe = SegmentationRecipe(**{**RECIPE, "batch": 6}, **WIDE)
    task = SegmentationTask(recipe, data, tmp_path)
    task.loss(0, 0.0)
    whole, seen = task.batch, []
    for rank in range(size):
        monkeypatch.setattr(distributed, "ranks", lambda rank=rank: distributed.Ranks(rank, size))
        task.loss(0, 0.0)
        seen.append(task.batch)
    for name, value in whole.items():
        assert torch.equal(torch.cat([batch[name] for batch in seen]), value)
    monkeypatch.setattr(distributed, "ranks", lambda: distributed.Ranks(0, 4))
    with pytest.raises(ConfigError, match="set batch=8"):
        task.loss(0, 0.0)


def test_a_broken_training_image_ends_the_run_before_it_starts(data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    path = copy / "mix-object-tote" / "images" / "train2.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"train2\.png is truncated.*Copy train2\.png"):
        train("segmentation", RECIPE, copy, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npy"))


@pytest.mark.slow
def test_base_takes_a_step_as_its_recipe_says(data, tmp_path):
    values = load_recipe(RECIPES / "segmentation_base.yaml")
    small = {"input_height": 256, "input_width": 256, "train_height": 256, "train_width": 256}
    small |= {"batch": 1, "device": "cpu", "train_proposals": 100, "train_rois": 64}
    recipe = build_recipe(SegmentationRecipe, {**values, **small, "copy_paste": 1.0})
    task = SegmentationTask(recipe, data, tmp_path)
    encoder = task.network.backbone.encoder
    encoder.recomputes = recipe.activation_checkpointing
    assert encoder.shape.depth == 12
    windows = [block.attention.window for block in encoder.blocks]
    assert [index for index, window in enumerate(windows) if not window] == [2, 5, 8, 11]
    assert {window for window in windows if window} == {14}

    task.module.train()
    torch.manual_seed(0)
    loss, figures = task.loss(0, 0.0)
    loss.backward()
    assert {"foreground", "rpn_cls", "s0.cls", "s2.bbox"} <= set(figures)
    assert torch.isfinite(loss)
    for name, parameter in task.network.named_parameters():
        if "bbox" not in name and "mask" not in name:  # nothing to find, nothing to learn
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    before = encoder.blocks[0].ffn.fc1.weight.detach().clone()
    torch.optim.AdamW(task.module.parameters(), lr=1e-4).step()
    assert not torch.equal(encoder.blocks[0].ffn.fc1.weight, before)


def test_the_config_of_the_shipped_recipe_can_be_dumped(tmp_path):
    recipe = load_recipe(RECIPES / "segmentation_tiny.yaml")
    dump_config(recipe, tmp_path / "tiny.py")
    assert "CascadeRCNN" in (tmp_path / "tiny.py").read_text()
