# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""MultiWay-Adapter against its equation in NumPy, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest
import torch

from robollm_core.beit3.adapters import (
    AdapterShape,
    BlockAdapter,
    Bottleneck,
    attach,
    detach,
    is_adapter,
)
from robollm_core.beit3.build import build, encoder_from
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.errors import ConfigError

SMALL = EncoderShape(depth=3, width=24, heads=3, ffn=40, image_hw=(64, 64))
WINDOWED = dataclasses.replace(SMALL, window=3, global_blocks=(2,))
ADAPTER = AdapterShape(width=5, enhancer=7, alpha=0.5)


def scrambled(module, seed=3):
    """Adapters as training leaves them: nothing is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if is_adapter(f".{name}"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def numpy_bottleneck(tensors, name, x):
    w = {key: value.double().numpy() for key, value in tensors.items() if key.startswith(name)}
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    y = (x - mean) / np.sqrt(var + 1e-5) * w[f"{name}.norm.weight"] + w[f"{name}.norm.bias"]
    y = np.maximum(y @ w[f"{name}.down.weight"].T + w[f"{name}.down.bias"], 0.0)
    return y @ w[f"{name}.up.weight"].T + w[f"{name}.up.bias"]


def test_an_adapted_block_is_the_published_equation():
    torch.manual_seed(0)
    adapter = BlockAdapter(24, ADAPTER, drop_path=0.0).eval()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tokens, fed = torch.randn(2, 2, 5, 24).unbind()
    out = adapter(tokens, fed).detach().numpy()
    tensors = adapter.state_dict()
    x, f = tokens.double().numpy(), fed.double().numpy()
    x = x + f + 0.5 * numpy_bottleneck(tensors, "knowledge", x)
    expected = x + 0.5 * numpy_bottleneck(tensors, "enhancer", x)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [SMALL, WINDOWED])
@pytest.mark.parametrize("size", [(64, 64), (80, 48)])
def test_an_adapted_encoder_starts_as_the_base_encoder_exactly(shape, size):
    torch.manual_seed(0)
    encoder = Encoder(shape).eval()
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        plain = encoder(images)
        attach(encoder, ADAPTER)
        assert torch.equal(encoder(images), plain)
        assert not torch.equal(scrambled(encoder)(images), plain)
        detach(encoder)
        assert torch.equal(encoder(images), plain)
    assert not any(map(is_adapter, encoder.state_dict()))


@pytest.mark.parametrize(
    ("size", "parameters", "share"), [("base", 3_596_544, 4.02), ("large", 9_589_248, 3.06)]
)
@pytest.mark.parametrize("detection", [False, True])
def test_the_share_that_is_trained_at_published_sizes(size, parameters, share, detection):
    with torch.device("meta"):
        encoder = build(size, 224, detection=detection)
        encoder.requires_grad_(False)
        attach(encoder, AdapterShape())
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    total = sum(p.numel() for p in encoder.parameters())
    assert trained == parameters
    assert round(100 * trained / total, 2) == share


def test_only_adapters_get_gradients_on_a_frozen_encoder():
    encoder = Encoder(dataclasses.replace(WINDOWED, drop_path=0.2)).requires_grad_(False)
    attach(encoder, ADAPTER)
    scrambled(encoder).train()
    tokens = encoder(torch.randn(4, 3, 64, 64))
    (tokens * torch.randn_like(tokens)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == is_adapter(name), name
        if is_adapter(name):
            assert bool((parameter.grad != 0).any()), name


def test_drop_path_leaves_out_the_enhancer_alone():
    adapter = BlockAdapter(24, ADAPTER, drop_path=0.999999).train()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3)
    tokens = torch.randn(3, 4, 24)
    expected = tokens + adapter.knowledge(tokens)
    torch.testing.assert_close(adapter(tokens, torch.zeros_like(tokens)), expected)


@pytest.mark.parametrize("shape", [SMALL, WINDOWED])
def test_recomputed_activations_give_the_same_gradients(shape):
    torch.manual_seed(0)
    encoder = Encoder(dataclasses.replace(shape, drop_path=0.3)).requires_grad_(False)
    attach(encoder, ADAPTER)
    scrambled(encoder).train()
    images = torch.randn(4, 3, 64, 64)
    gradients = []
    for recomputes in (False, True):
        encoder.recomputes = recomputes
        encoder.zero_grad()
        torch.manual_seed(7)
        encoder(images).square().mean().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.requires_grad])
    assert len(gradients[0]) == 3 * 12
    assert all(map(torch.equal, *gradients))


def test_settings_name_the_adapter():
    torch.manual_seed(0)
    settings = {"size": "tiny", "img_size": 32}
    encoder = encoder_from({**settings, "adapter": ADAPTER.to_json()})
    knowledge = encoder.blocks[5].adapter.knowledge
    assert isinstance(knowledge, Bottleneck)
    assert knowledge.down.weight.shape == (5, 256) and knowledge.alpha == 0.5
    assert encoder.blocks[5].adapter.enhancer.down.weight.shape == (7, 256)
    assert encoder_from(settings).blocks[5].adapter is None


def test_an_enhancer_of_width_zero_is_none():
    assert BlockAdapter(24, AdapterShape(width=4, enhancer=0), 0.0).enhancer is None


@pytest.mark.parametrize(
    "branch",
    [
        {"width": 0},
        {"width": True},
        {"width": 2.0},
        {"enhancer": -1},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"alpha": "1"},
        {"rank": 3},
        "multiway",
    ],
)
def test_settings_that_are_no_adapter_are_refused(branch):
    with pytest.raises(ConfigError, match="adapter"):
        encoder_from({"size": "tiny", "img_size": 32, "adapter": branch})
