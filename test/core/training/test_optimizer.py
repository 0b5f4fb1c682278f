# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Groups, schedule and running mean."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.errors import ConfigError
from robollm_core.identification.model import IdentificationModel
from robollm_core.training.optimizer import (
    OPTIMIZERS,
    build_optimizer,
    depth_of,
    parameter_groups,
    progress,
    rate_factor,
    running_mean,
    set_rate,
)
from robollm_core.training.recipe import LoopRecipe


@pytest.fixture
def network() -> IdentificationModel:
    shape = EncoderShape(depth=3, width=16, heads=2, ffn=32, image_hw=(32, 32))
    return IdentificationModel(Encoder(shape), embedding=8, fusion=32)


def test_every_parameter_is_in_exactly_one_group(network):
    groups = parameter_groups(network, weight_decay=0.1, layer_decay=0.5, blocks=3)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_rates_fall_towards_the_pixels(network):
    groups = parameter_groups(network, weight_decay=0.1, layer_decay=0.5, blocks=3)
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    names = dict(network.named_parameters())
    wanted = {
        "projection.weight": 1.0,
        "fusion.fc1.weight": 1.0,
        "encoder.norm.weight": 1.0,
        "encoder.blocks.2.ffn.fc1.weight": 0.5,
        "encoder.blocks.0.attention.qkv.weight": 0.5**3,
        "encoder.patch_embed.weight": 0.5**4,
        "encoder.positions": 0.5**4,
        "encoder.cls_token": 0.5**4,
    }
    assert {name: scale[id(names[name])] for name in wanted} == wanted


def test_only_matrices_decay(network):
    groups = parameter_groups(network, weight_decay=0.1, layer_decay=1.0, blocks=3)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        plain = parameter.ndim < 2 or name in ("encoder.positions", "encoder.cls_token")
        assert decay[id(parameter)] == (0.0 if plain else 0.1), name


def test_frozen_parameters_are_left_out(network):
    network.encoder.requires_grad_(False)
    groups = parameter_groups(network, weight_decay=0.1, layer_decay=1.0, blocks=3)
    count = sum(len(group["params"]) for group in groups)
    assert count == sum(not name.startswith("encoder.") for name, _ in network.named_parameters())


def test_depth_of_a_block_never_exceeds_the_head():
    assert depth_of("encoder.blocks.11.ffn.fc1.weight", 12) == 12
    assert depth_of("log_scale", 12) == 13


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_set_rate_keeps_the_ratios(network, name):
    recipe = LoopRecipe(optimizer=name, rate=1.0, layer_decay=0.5)
    optimizer = build_optimizer(network, recipe, blocks=3)
    set_rate(optimizer, 0.2)
    assert {round(group["lr"], 6) for group in optimizer.param_groups} == {
        0.2,
        0.1,
        0.05,
        0.025,
        0.0125,
    }


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else(network):
    adamw, muon = build_optimizer(network, LoopRecipe(optimizer="muon"), blocks=3).parts
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    left = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert isinstance(muon, torch.optim.Muon) and not taken & left
    for name, parameter in network.named_parameters():
        mine = "blocks" in name and parameter.ndim == 2
        assert (id(parameter) in taken) == mine and (id(parameter) in left) != mine, name
    assert len(build_optimizer(network, LoopRecipe(), blocks=3).parts) == 1


def test_muon_steps_to_the_nearest_orthogonal_matrix(network):
    """Against numpy: U V^T of the gradient, scaled to AdamW's root mean square of 0.2."""
    recipe = LoopRecipe(optimizer="muon", rate=0.1, weight_decay=0.0)
    weight = network.encoder.blocks[1].ffn.fc1.weight
    before = weight.detach().clone()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    u, _, vt = np.linalg.svd(weight.grad.double().numpy(), full_matrices=False)
    build_optimizer(network, recipe, blocks=3).step()
    moved = (before - weight.detach()).double().numpy()
    wanted = 0.1 * 0.2 * math.sqrt(max(weight.shape)) * (u @ vt)
    # five Newton-Schulz rounds bring singular values near 1, not to it
    cosine = (moved * wanted).sum() / np.linalg.norm(moved) / np.linalg.norm(wanted)
    assert cosine > 0.97
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(wanted), rel=0.2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_where_it_was(network, name):
    recipe = LoopRecipe(optimizer=name)
    other = copy.deepcopy(network)

    def step(module, optimizer, seed):
        random = torch.Generator().manual_seed(seed)
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()
        optimizer.zero_grad()

    first = build_optimizer(network, recipe, blocks=3)
    step(network, first, 1)
    other.load_state_dict(network.state_dict())
    second = build_optimizer(other, recipe, blocks=3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    step(network, first, 2)
    step(other, second, 2)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_unknown_optimizer_is_refused(network):
    with pytest.raises(ConfigError, match="adamw, muon"):
        build_optimizer(network, LoopRecipe(optimizer="sgd"), blocks=3)


@pytest.mark.parametrize(
    ("step", "elapsed_s", "minutes", "wanted"),
    [
        (25, 999.0, None, 0.25),
        (25, 30.0, 1.0, 0.5),  # the clock is ahead
        (75, 30.0, 1.0, 0.75),  # the steps are ahead
        (5, 120.0, 1.0, 1.0),
    ],
)
def test_progress_is_the_larger_of_steps_and_time(step, elapsed_s, minutes, wanted):
    assert progress(step, 100, elapsed_s, minutes) == pytest.approx(wanted)


def test_the_rate_rises_then_falls_to_its_floor():
    factors = [rate_factor(d / 100, warmup=0.1, floor=0.05) for d in range(101)]
    assert factors[0] == 0.01 and factors[5] == pytest.approx(0.5)
    assert max(factors) == factors[10] == 1.0
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert factors[55] == pytest.approx(0.05 + 0.95 / 2)  # half way down the cosine
    assert factors[100] == pytest.approx(0.05)


def test_a_schedule_without_an_end_is_refused():
    with pytest.raises(ConfigError):
        rate_factor(0.5, warmup=1.0, floor=0.0)


def test_the_running_mean_follows_its_formula():
    module = nn.Linear(1, 1, bias=False)
    mean = running_mean(module, 0.5)
    values, expected = [1.0, 3.0, -2.0, 8.0], 0.0
    for count, value in enumerate(values):
        with torch.no_grad():
            module.weight.fill_(value)
        mean.update_parameters(module)
        keep = min(0.5, (1 + count) / (10 + count))
        expected = value if count == 0 else keep * expected + (1 - keep) * value
        assert float(mean.module.weight) == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(expected)
