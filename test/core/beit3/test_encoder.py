# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""BEiT-3 against a second forward pass, written in NumPy from the published key layout."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from robollm_core.beit3.build import build
from robollm_core.beit3.checkpoint import load_encoder, read_checkpoint
from robollm_core.beit3.encoder import Encoder, EncoderShape, normalise, resize_positions
from robollm_core.errors import ShapeError

SMALL = EncoderShape(depth=3, width=24, heads=3, ffn=40, image_hw=(64, 64))


def multiway_state(shape, seed=0, prefix="beit3."):
    """A checkpoint as unilm writes it: experts A and B, positions with two spare rows."""
    rng = np.random.default_rng(seed)
    width, ffn, patches = shape.width, shape.ffn, shape.grid[0] * shape.grid[1]

    def linear(name, out, into):
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    def norm(name, size):
        return {f"{name}.weight": (size,), f"{name}.bias": (size,)}

    sizes = {
        "text_embed.weight": (50, width),
        "vision_embed.mask_token": (1, 1, width),
        "vision_embed.cls_token": (1, 1, width),
        "vision_embed.proj.weight": (width, 3, 16, 16),
        "vision_embed.proj.bias": (width,),
        "encoder.embed_positions.A.weight": (3 + patches, width),
        "encoder.embed_positions.B.weight": (30, width),
    }
    for expert in "AB":
        for i in range(shape.depth):
            layer = f"encoder.layers.{i}."
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                sizes |= linear(f"{layer}self_attn.{part}.{expert}", width, width)
            sizes |= norm(f"{layer}self_attn.inner_attn_ln.{expert}", width)
            sizes |= norm(f"{layer}self_attn_layer_norm.{expert}", width)
            sizes |= norm(f"{layer}final_layer_norm.{expert}", width)
            sizes |= linear(f"{layer}ffn.{expert}.fc1", ffn, width)
            sizes |= linear(f"{layer}ffn.{expert}.fc2", width, ffn)
            sizes |= norm(f"{layer}ffn.{expert}.ffn_layernorm", ffn)
        sizes |= norm(f"encoder.layer_norm.{expert}", width)
    return {
        prefix + name: torch.from_numpy(rng.normal(0, 0.3, size).astype(np.float32))
        for name, size in sizes.items()
    }


def numpy_beit3(state, images, shape):
    """The vision path in float64: images (N, 3, H, W) to tokens (N, 1 + P, d)."""
    s = {name.removeprefix("beit3."): value.double().numpy() for name, value in state.items()}
    erf = np.vectorize(math.erf)

    def norm(x, name):
        mean = x.mean(-1, keepdims=True)
        var = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * s[f"{name}.weight"] + s[f"{name}.bias"]

    def linear(x, name):
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    count, _, height, width = images.shape
    rows, columns = height // 16, width // 16
    cut = images.reshape(count, 3, rows, 16, columns, 16).transpose(0, 2, 4, 1, 3, 5)
    flat = cut.reshape(count, rows * columns, 3 * 256)
    kernel = s["vision_embed.proj.weight"].reshape(shape.width, -1)
    x = flat @ kernel.T + s["vision_embed.proj.bias"]
    x = np.concatenate((np.tile(s["vision_embed.cls_token"], (count, 1, 1)), x), axis=1)
    x = x + s["encoder.embed_positions.A.weight"][2:]
    tokens, head = x.shape[1], shape.width // shape.heads
    for i in range(shape.depth):
        at = f"encoder.layers.{i}."
        y = norm(x, f"{at}self_attn_layer_norm.A")
        q, k, v = (
            linear(y, f"{at}self_attn.{p}_proj.A")
            .reshape(count, tokens, shape.heads, head)
            .transpose(0, 2, 1, 3)
            for p in "qkv"
        )
        scores = (q * head**-0.5) @ k.transpose(0, 1, 3, 2)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        y = (weights @ v).transpose(0, 2, 1, 3).reshape(count, tokens, shape.width)
        x = x + linear(norm(y, f"{at}self_attn.inner_attn_ln.A"), f"{at}self_attn.out_proj.A")
        y = linear(norm(x, f"{at}final_layer_norm.A"), f"{at}ffn.A.fc1")
        y = 0.5 * y * (1 + erf(y / math.sqrt(2)))
        x = x + linear(norm(y, f"{at}ffn.A.ffn_layernorm"), f"{at}ffn.A.fc2")
    return norm(x, "encoder.layer_norm.A")


def test_published_weights_give_the_published_network(tmp_path):
    state = multiway_state(SMALL)
    torch.save({"model": state}, tmp_path / "beit3.pth")
    encoder = Encoder(SMALL).eval()
    load_encoder(encoder, read_checkpoint(tmp_path / "beit3.pth"))
    images = np.random.default_rng(1).uniform(-1, 1, (2, 3, 64, 64))
    with torch.inference_mode():
        tokens = encoder(torch.from_numpy(images).float()).numpy()
    expected = numpy_beit3(state, images, SMALL)
    assert expected.std() > 0.1
    np.testing.assert_allclose(tokens, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "edge", "millions"),
    [("tiny", 128, 4.97), ("base", 224, 85.89), ("large", 224, 303.55)],
)
def test_parameter_counts(size, edge, millions):
    with torch.device("meta"):
        encoder = build(size, edge)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert round(count / 1e6, 2) == millions


def test_one_window_over_everything_is_global_attention():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    whole = Encoder(dataclasses.replace(SMALL, image_hw=(64, 96))).eval()
    with torch.inference_mode():
        expected = whole(images)
        for window in (6, 9):  # both need padding: 4 x 6 patches
            cut = Encoder(dataclasses.replace(whole.shape, window=window)).eval()
            cut.load_state_dict(whole.state_dict())
            torch.testing.assert_close(cut(images), expected, atol=1e-5, rtol=1e-5)


def test_windows_confine_what_a_patch_sees():
    torch.manual_seed(0)
    shape = dataclasses.replace(SMALL, depth=1, window=2)
    local, mixed = Encoder(shape).eval(), Encoder(dataclasses.replace(shape, global_blocks=(0,)))
    mixed.load_state_dict(local.state_dict())
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[..., :32, :32] += 1.0  # the patches of the first 2 x 2 window
    with torch.inference_mode():
        moved = (local(images) - local(changed)).abs().amax(-1)[0, 1:].view(4, 4)
        seen = (mixed.eval()(images) - mixed(changed)).abs().amax(-1)[0, 1:].view(4, 4)
    assert moved[:2, :2].min() > 1e-3
    assert moved[2:].max() == 0 and moved[:, 2:].max() == 0
    assert seen[3, 3] > 1e-6


def cubic(x):
    """Keys' kernel with a = -0.75."""
    x = abs(x)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def numpy_bicubic(grid, target):
    """(h, w, d) to (h', w', d), half-pixel centres, edges repeated."""

    def matrix(source, size):
        weights = np.zeros((size, source))
        for i in range(size):
            at = (i + 0.5) * source / size - 0.5
            for j in range(math.floor(at) - 1, math.floor(at) + 3):
                weights[i, min(max(j, 0), source - 1)] += cubic(at - j)
        return weights

    rows, columns = (matrix(*pair) for pair in zip(grid.shape[:2], target, strict=True))
    return np.einsum("ih,hwd,jw->ijd", rows, grid, columns)


@pytest.mark.parametrize("target", [(24, 32), (5, 3), (8, 9)])
def test_positions_are_resized_by_bicubic_interpolation(target):
    positions = torch.randn(1, 1 + 64, 7, generator=torch.Generator().manual_seed(0))
    resized = resize_positions(positions, (8, 8), target)
    expected = numpy_bicubic(positions[0, 1:].view(8, 8, 7).double().numpy(), target)
    assert torch.equal(resized[:, 0], positions[:, 0])
    np.testing.assert_allclose(resized[0, 1:].view(*target, 7).numpy(), expected, atol=1e-5)


def test_positions_of_the_native_grid_are_not_touched():
    positions = torch.randn(1, 65, 4)
    assert resize_positions(positions, (8, 8), (8, 8)) is positions


def test_feature_map_and_pooling_are_made_of_the_patch_tokens():
    encoder = Encoder(SMALL).eval()
    images = torch.randn(2, 3, 32, 80)  # not the native size
    with torch.inference_mode():
        patches = encoder(images)[:, 1:]
        grid = encoder.feature_map(images)
        assert grid.shape == (2, 24, 2, 5)
        assert torch.equal(grid[1, :, 1, 3], patches[1, 1 * 5 + 3])
        torch.testing.assert_close(encoder.pooled(images), patches.mean(1))


def test_normalise_maps_bytes_to_minus_one_to_one():
    images = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    images[0, 1, 2] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    out = normalise(images)
    assert out.shape == (1, 3, 2, 3)
    torch.testing.assert_close(out[0, :, 1, 2], torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 16, 16, 3),
        torch.zeros(16, 16, 3, dtype=torch.uint8),
    ],
)
def test_normalise_refuses_anything_but_uint8_nhwc(images):
    with pytest.raises(ShapeError):
        normalise(images)


def test_sizes_that_are_no_multiple_of_the_patch_are_refused():
    with pytest.raises(ShapeError, match="multiples of 16"):
        Encoder(dataclasses.replace(SMALL, image_hw=(64, 60)))
    with pytest.raises(ShapeError, match="60x64"):
        Encoder(SMALL)(torch.zeros(1, 3, 60, 64))


def test_drop_path_keeps_the_expectation_and_is_off_in_inference():
    torch.manual_seed(0)
    drop = Encoder(dataclasses.replace(SMALL, drop_path=0.4)).blocks[-1].drop_path
    ones = torch.ones(4000, 2, 1)
    out = drop.train()(ones)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert torch.equal(out[:, 0], out[:, 1])  # whole samples
    assert abs(out.mean().item() - 1.0) < 0.05
    assert torch.equal(drop.eval()(ones), ones)


def test_gradients_reach_every_parameter_through_windows_and_resized_positions():
    encoder = Encoder(dataclasses.replace(SMALL, window=3, global_blocks=(2,)))
    tokens = encoder(torch.randn(2, 3, 80, 64))
    (tokens * torch.randn_like(tokens)).sum().backward()
    # softmax ignores a constant added to every score: the key bias alone has no gradient
    key = slice(SMALL.width, 2 * SMALL.width)
    for name, parameter in encoder.named_parameters():
        grad = parameter.grad.clone()
        if name.endswith("qkv.bias"):
            grad[key] = 1.0
        assert bool((grad != 0).any()), name
