# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder against torchscale's BEiT3 and timm's, and the published sizes."""

import foreign_weights as foreign
import make_beit3_golden as golden
import numpy as np
import pytest
import torch

from robollm_core.beit3.build import base, build, large
from robollm_core.beit3.checkpoint import Checkpoint, load_encoder
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.beit3.translate import translate

slow = pytest.mark.slow
CASES = [
    pytest.param("small"),
    pytest.param("base", marks=slow),
    pytest.param("large", marks=slow),
]
TOLERANCE = 1e-4


def encoder_of(name):
    """Our encoder with the weights of the golden file, loaded as any file is."""
    size = golden.SIZES[name]
    shape = EncoderShape(size.depth, size.width, size.heads, size.ffn, (size.edge, size.edge))
    encoder = Encoder(shape).eval() if name == "small" else build(name, size.edge).eval()
    state = {key: torch.from_numpy(weight) for key, weight in golden.vision_weights(size).items()}
    found = translate(state, name)
    load_encoder(encoder, Checkpoint(found.tensors, found.meta()))
    return encoder


@torch.inference_mode()
def tokens_of(encoder, edge):
    return encoder(torch.from_numpy(golden.images(edge))).numpy()


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_torchscale_gave(name):
    kept, size, encoder = np.load(golden.GOLDEN), golden.SIZES[name], encoder_of(name)
    for edge in (size.edge, size.other):  # the second with positions carried along
        found = golden.summary(tokens_of(encoder, edge))
        wanted = kept[f"{name}_{edge}"]
        assert wanted.std() > 0.3  # it holds something
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


def test_the_golden_file_is_small():
    assert golden.GOLDEN.stat().st_size < 100_000


def test_a_changed_constant_is_seen():
    encoder = encoder_of("small")
    for block in encoder.blocks:
        block.ffn_norm.eps = 1e-2
    edge = golden.SIZES["small"].edge
    wanted = np.load(golden.GOLDEN)[f"small_{edge}"]
    assert np.abs(golden.summary(tokens_of(encoder, edge)) - wanted).max() > TOLERANCE


def torchscale():
    try:
        golden.import_torchscale()
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        pytest.skip(f"torchscale cannot be imported: {error}")


@pytest.mark.parametrize("name", CASES)
def test_all_tokens_are_those_of_torchscale(name):
    torchscale()
    size, encoder = golden.SIZES[name], encoder_of(name)
    for edge in (size.edge, size.other):
        wanted = golden.torchscale_tokens(size, edge)
        np.testing.assert_allclose(tokens_of(encoder, edge), wanted, rtol=0, atol=TOLERANCE)


def test_the_names_are_those_of_torchscale():
    torchscale()
    size = foreign.NANO
    theirs = golden.build_torchscale(size, size.edge).state_dict()
    assert {f"beit3.{name}" for name in theirs} == set(foreign.beit3())


def timm_module():
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported: {error}")
    return timm


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        pytest.param("beit3_base_patch16_224", base, marks=slow),
        pytest.param("beit3_large_patch16_224", large, marks=slow),
    ],
)
def test_tokens_before_the_pooling_are_those_of_timm(model, ours):
    torch.manual_seed(0)
    theirs = timm_module().create_model(model).eval()
    compare_with_timm(theirs, ours(224), 224)


def test_a_small_network_of_timm_agrees_and_has_the_names_of_the_layout():
    torch.manual_seed(0)
    # timm's inner width is a whole multiple of the width
    theirs = timm_module().create_model(
        "beit3_base_patch16_224", depth=2, embed_dim=32, num_heads=2, mlp_ratio=2, img_size=48
    )
    theirs = theirs.eval()
    compare_with_timm(theirs, foreign.nano(48), 48)
    assert set(theirs.state_dict()) == set(foreign.timm(classes=1000))


@torch.inference_mode()
def compare_with_timm(theirs, encoder, edge):
    for name, weight in theirs.named_parameters():
        weight.add_(torch.randn_like(weight) * 0.1 * (weight.dim() == 1))
        assert weight.isfinite().all(), name
    found = translate(theirs.state_dict(), "timm")
    load_encoder(encoder, Checkpoint(found.tensors, found.meta()))
    encoder.norm = torch.nn.Identity()  # theirs ends without one
    pictures = torch.from_numpy(golden.images(edge))
    wanted = theirs.forward_features(pictures)
    torch.testing.assert_close(encoder.eval()(pictures), wanted, rtol=0, atol=TOLERANCE)


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def test_the_vision_encoders_have_the_published_sizes():
    with torch.device("meta"):
        assert round(count(base(224)) / 1e6, 2) == 85.89
        assert round(count(large(224)) / 1e6, 2) == 303.55


@pytest.mark.parametrize(("name", "millions"), [("base", 220.99), ("large", 672.70)])
def test_a_whole_multiway_network_has_the_published_size(name, millions):
    size = golden.SIZES[name]
    shapes = golden.vision_shapes(size)
    vision = sum(int(np.prod(shape)) for shape in shapes.values())
    shared = sum(int(np.prod(shapes[key])) for key in shapes if ".A." not in key)
    positions = shapes["encoder.embed_positions.A.weight"][0] * size.width
    text = (64010 + 1024) * size.width
    # the mask token beside the CLS token; B has its own positions, of text
    whole = vision + (vision - shared - positions) + text + size.width
    assert round(whole / 1e6, 2) == millions


@slow
def test_base_learns_a_step():
    torch.manual_seed(0)
    encoder = base(64).train()
    optimizer = torch.optim.SGD(encoder.parameters(), 1e-3)
    pictures = torch.from_numpy(golden.images(64))
    target = torch.randn(768)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = (encoder.pooled(pictures)[0] - target).square().mean()
        loss.backward()
        assert all(w.grad is not None and w.grad.isfinite().all() for w in encoder.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
