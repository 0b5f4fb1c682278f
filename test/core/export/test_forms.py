# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The form that runtimes fuse answers as the network does, and is gone afterwards."""

import pytest
import torch

from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.beit3.layers import Attention, BlockShape
from robollm_core.export.forms import PlainAttention, fusible


@pytest.mark.parametrize("window", [0, 2, 3, 8])
def test_attention_in_parts_is_the_same_attention(window):
    # windows of 3 and 8 pad a grid of 4 x 5, and their padding must not be looked at
    torch.manual_seed(0)
    attention = Attention(BlockShape(width=24, heads=3, ffn=48, window=window)).eval()
    torch.nn.init.normal_(attention.qkv.bias)
    tokens = torch.randn(2, 1 + 4 * 5, 24)
    with torch.inference_mode():
        expected = attention(tokens, (4, 5))
        found = PlainAttention(attention)(tokens, (4, 5))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def small_encoder():
    torch.manual_seed(0)
    shape = EncoderShape(depth=2, width=24, heads=3, ffn=48, image_hw=(64, 80))
    encoder = Encoder(shape).eval()
    torch.nn.init.normal_(encoder.positions)
    return encoder


def test_pooling_by_a_product_is_the_mean_over_patches():
    encoder = small_encoder()
    images = torch.randn(3, 3, 64, 80)
    with torch.inference_mode():
        expected = encoder(images)[:, 1:].mean(dim=1)
        with fusible(encoder):
            assert all(isinstance(block.attention, PlainAttention) for block in encoder.blocks)
            torch.testing.assert_close(encoder.pooled(images), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder.pooled(images), expected)


def test_the_module_is_itself_again_even_after_an_error():
    encoder = small_encoder()
    before = dict(encoder.named_parameters())
    with pytest.raises(RuntimeError, match="stop"), fusible(encoder):
        raise RuntimeError("stop")
    after = dict(encoder.named_parameters())
    assert before.keys() == after.keys() and "pooled" not in vars(encoder)
    assert all(after[name] is tensor for name, tensor in before.items())


def test_an_attention_with_another_projection_is_left_alone():
    encoder = small_encoder()
    encoder.blocks[0].attention.qkv = torch.nn.Sequential(encoder.blocks[0].attention.qkv)
    with fusible(encoder):
        kinds = [type(block.attention) for block in encoder.blocks]
    assert kinds == [Attention, PlainAttention]
