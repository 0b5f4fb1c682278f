# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters through whole training runs: what learns, what stays, what ships."""

import dataclasses

import pytest
import small_sets
import torch
from peft.tuners.lora import Linear as PeftLinear

from robollm_core.beit3 import build
from robollm_core.beit3.adapters import is_adapter
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.defects.model import DefectModel, build_defects
from robollm_core.errors import CheckpointError, ConfigError
from robollm_core.identification.model import build_identification
from robollm_core.training import defects
from robollm_core.training.adapting import (
    adapt,
    attach_lora,
    backbone,
    base_sha256,
    detach_lora,
    find_encoder,
    fold,
    lora_layers,
    shipped,
    trainable_share,
)
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.encoder import EncoderRecipe
from robollm_core.training.recipe import AdapterRecipe, build_recipe, recipe_values
from robollm_core.training.run import train

SHAPE = EncoderShape(depth=2, width=32, heads=2, ffn=64, image_hw=(32, 32))
KEYS = {"adapter_width": 4, "adapter_enhancer": 6, "adapter_rank": 3, "adapter_alpha": 0.7}
COMMON = {"image_px": 32, "cache_px": 40, "steps": 4, "validate_every": 0.5, "rate": 0.01, **KEYS}
PICKS = {**COMMON, "embedding": 16, "fusion": 128, "batch_items": 4, "group": 2}
IMAGES = {**COMMON, "batch": 8, "drop_path": 0.1}
KINDS = pytest.mark.parametrize("kind", ["multiway", "lora"])


@pytest.fixture(autouse=True)
def smaller_encoder(monkeypatch):
    def narrow(img_size, *, detection=False, drop_path=0.0, **options):
        return Encoder(dataclasses.replace(SHAPE, drop_path=drop_path), **options)

    monkeypatch.setitem(build.SIZES, "tiny", narrow)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return small_sets.write_defects(tmp_path_factory.mktemp("defects"))


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


def scrambled(encoder):
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if is_adapter(name) or ".lora_" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return encoder


@KINDS
def test_a_run_changes_adapters_and_heads_and_nothing_else(images, tmp_path, kind):
    recipe = build_recipe(defects.DefectRecipe, {**IMAGES, "adapter": kind})
    task = defects.DefectTask(recipe, images, tmp_path / "look")
    start = backbone(task.network.state_dict(), "encoder.")
    start = {name: tensor.clone() for name, tensor in start.items()}
    head = task.network.head.weight.detach().clone()
    content = load_checkpoint(
        train("defects", {**IMAGES, "adapter": kind}, images, tmp_path / "run"), "defects"
    )
    network = build_defects(content["recipe"]["model"])
    network.load_state_dict(content["model"])  # the recipe describes the network, both kinds
    assert not torch.equal(network.head.weight, head)
    last = load_checkpoint(tmp_path / "run" / "last.pt", "")
    for state in (last["model"], last["mean"]):
        name = next(n for n in state if n.endswith("encoder.cls_token"))
        own = backbone(state, name.removesuffix("cls_token"))
        assert own.keys() == start.keys()
        assert all(torch.equal(own[key], start[key]) for key in start)
    if kind == "multiway":
        ups = [t for n, t in content["model"].items() if n.endswith("adapter.knowledge.up.weight")]
        assert len(ups) == 2 and all(bool(up.any()) for up in ups)
    else:
        assert content["adapter"]["base_sha256"] == base_sha256(start)
        assert not any(map(is_adapter, content["model"]))
        weight = "blocks.1.ffn.fc1.weight"
        assert not torch.equal(content["model"][f"encoder.{weight}"], start[weight])


@KINDS
def test_gradients_reach_adapters_and_heads_alone(images, tmp_path, kind):
    recipe = build_recipe(defects.DefectRecipe, {**IMAGES, "adapter": kind})
    task = defects.DefectTask(recipe, images, tmp_path)
    scrambled(task.network.encoder)
    task.loss(0, 0.0)[0].backward()
    for name, parameter in task.network.named_parameters():
        trained = is_adapter(name) or ".lora_" in name or not name.startswith("encoder.")
        assert (parameter.grad is not None) == trained, name


@KINDS
def test_an_adapted_run_resumes_to_the_identical_state(picks, tmp_path, kind):
    recipe = {**PICKS, "adapter": kind, "save_minutes": 0.0}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train("identification", recipe, picks, whole)
    from robollm_core.training.identification import IdentificationTask

    loss = IdentificationTask.loss

    def stopping(self, step, done):
        if step == 3:
            raise KeyboardInterrupt
        return loss(self, step, done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IdentificationTask, "loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            train("identification", recipe, picks, broken)
    best = train("identification", recipe, picks, broken, resume=True)
    for name in ("best.pt", "last.pt"):
        one, two = (load_checkpoint(run / name, "")["model"] for run in (whole, broken))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    content = load_checkpoint(best, "identification")
    build_identification(content["recipe"]["model"]).load_state_dict(content["model"])


def test_a_run_that_starts_from_another_keeps_its_backbone(images, tmp_path):
    base = train("defects", IMAGES, images, tmp_path / "base")
    recipe = {**IMAGES, "adapter": "multiway", "init": str(base)}
    site = load_checkpoint(train("defects", recipe, images, tmp_path / "site"), "")
    before = backbone(load_checkpoint(base, "")["model"], "encoder.")
    after = backbone(site["model"], "encoder.")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_folded_lora_is_peft_own_merge_and_answers_alike():
    torch.manual_seed(0)
    network = DefectModel(Encoder(SHAPE)).eval()
    attach_lora(network.encoder, 3, 0.7)
    scrambled(network.encoder)
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    content = shipped(network)
    plain = DefectModel(Encoder(SHAPE)).eval()
    plain.load_state_dict(content["model"])
    with torch.inference_mode():
        beside = network(pixels)
        torch.testing.assert_close(plain(pixels), beside, atol=1e-6, rtol=1e-5)
    _, encoder = find_encoder(network)
    base = encoder.blocks[0].ffn.fc1.base_layer.weight.detach().clone()
    for _, layer in lora_layers(encoder):
        assert isinstance(layer, PeftLinear)
        layer.merge()
    for name, layer in lora_layers(encoder):
        mine = content["model"][f"encoder.{name}.weight"]
        torch.testing.assert_close(mine, layer.base_layer.weight, atol=1e-6, rtol=1e-5)
    assert not torch.equal(base, content["model"]["encoder.blocks.0.ffn.fc1.weight"])


def test_lora_starts_as_the_base_network_and_comes_off_again():
    torch.manual_seed(0)
    encoder = Encoder(SHAPE).eval()
    weight = encoder.blocks[1].attention.qkv.weight
    names = list(encoder.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        plain = encoder(images)
        attach_lora(encoder, 2, 1.0)
        assert len(lora_layers(encoder)) == 8
        assert torch.equal(encoder(images), plain)
        assert not torch.equal(scrambled(encoder)(images), plain)
        detach_lora(encoder)
        assert torch.equal(encoder(images), plain)
    assert encoder.blocks[1].attention.qkv.weight is weight
    assert list(encoder.state_dict()) == names
    attach_lora(encoder, 4, 1.0)  # and another goes on
    assert lora_layers(encoder)[0][1].r["site"] == 4


@KINDS
def test_adapters_alone_learn_what_the_frozen_encoder_does_not_say(kind):
    torch.manual_seed(0)
    encoder = Encoder(SHAPE)
    adapt(encoder, AdapterRecipe(adapter=kind, adapter_width=8, adapter_rank=4))
    images, target = torch.randn(8, 3, 32, 32), torch.randn(8, 32)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    losses = []
    for _ in range(60):
        loss = (encoder.pooled(images) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_fold_is_w_plus_alpha_b_a():
    plain = {"x.weight": torch.tensor([[1.0, 2.0]]), "x.bias": torch.tensor([5.0])}
    factors = {"x.lora_A": torch.tensor([[3.0, 4.0]]), "x.lora_B": torch.tensor([[2.0]])}
    folded = fold(plain, factors, 0.5)
    assert folded["x.weight"].tolist() == [[4.0, 6.0]]
    assert folded["x.bias"] is plain["x.bias"] and plain["x.weight"].tolist() == [[1.0, 2.0]]


def test_the_share_that_is_trained_is_counted():
    network = DefectModel(Encoder(SHAPE))
    assert trainable_share(network).fraction == 1.0
    adapt(network.encoder, AdapterRecipe(adapter="multiway", adapter_width=4, adapter_enhancer=0))
    share = trainable_share(network)
    heads = 2 * 32 + 32 * 3 + 3
    assert share.trainable == 2 * (2 * 32 * 4 + 4 + 3 * 32) + heads
    assert share.total == sum(p.numel() for p in network.parameters())
    assert str(share).endswith(f"parameters are trained ({share.fraction:.2%})")


def test_lora_of_base_size_trains_what_its_factors_hold():
    with torch.device("meta"):
        encoder = build.build("base", 224)
        adapt(encoder, AdapterRecipe(adapter="lora"))
    # rank 8 times (rows + columns) of qkv, out, fc1 and fc2, in 12 blocks
    factors = 8 * ((2304 + 768) + (768 + 768) + 2 * (3072 + 768)) * 12
    assert trainable_share(encoder).trainable == factors == 1_179_648


def test_the_hash_of_a_backbone_looks_at_every_value_and_at_no_adapter():
    torch.manual_seed(0)
    encoder = Encoder(SHAPE)
    own = base_sha256(backbone(encoder.state_dict()))
    attach_lora(encoder, 2, 1.0)
    scrambled(encoder)
    assert base_sha256(backbone(encoder.state_dict())) == own
    with torch.no_grad():
        encoder.positions[0, 2, 3] += 1e-3
    assert base_sha256(backbone(encoder.state_dict())) != own


def test_an_adapter_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="\"\" or one of head, multiway, lora, got 'prefix'"):
        adapt(Encoder(SHAPE), AdapterRecipe(adapter="prefix"))
    with pytest.raises(ConfigError, match="rank"):
        adapt(Encoder(SHAPE), AdapterRecipe(adapter="lora", adapter_rank=0))


def test_only_a_multiway_adapter_stands_in_the_settings_of_the_network():
    values = {
        kind: recipe_values(build_recipe(defects.DefectRecipe, {"adapter": kind}))
        for kind in ("", "lora", "multiway")
    }
    assert "adapter" not in values[""]["model"] and "adapter" not in values["lora"]["model"]
    expected = {"width": 64, "enhancer": 128, "alpha": 1.0}
    assert values["multiway"]["model"]["adapter"] == expected


def test_the_encoder_stage_takes_no_adapter():
    with pytest.raises(ConfigError, match="unknown recipe key 'adapter'"):
        build_recipe(EncoderRecipe, {"adapter": "multiway"})


def test_a_network_with_adapters_is_no_start(images, tmp_path):
    recipe = {**IMAGES, "adapter": "multiway"}
    first = train("defects", recipe, images, tmp_path / "first")
    with pytest.raises(CheckpointError, match=r"unknown: encoder\.blocks\.0\.adapter"):
        train("defects", {**recipe, "init": str(first)}, images, tmp_path / "second")
