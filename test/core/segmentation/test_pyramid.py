# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from robollm_core.errors import ConfigError
from robollm_core.segmentation.pyramid import ChannelNorm, SimplePyramid


@pytest.mark.parametrize("finest", [4, 8])
def test_every_level_has_its_stride_and_channels(finest):
    levels = SimplePyramid(32, 24, finest)(torch.randn(2, 32, 6, 10))
    strides = [stride for stride in (4, 8, 16, 32, 64) if stride >= finest]
    assert [tuple(level.shape) for level in levels[:-1]] == [
        (2, 24, 96 // stride, 160 // stride) for stride in strides[:-1]
    ]
    assert levels[-1].shape == (2, 24, 2, 3)


def test_the_last_level_is_the_one_before_subsampled():
    levels = SimplePyramid(32, 24)(torch.randn(1, 32, 8, 8))
    assert torch.equal(levels[-1], levels[-2][:, :, ::2, ::2])


def test_channel_norm_is_layer_norm_over_channels():
    norm = ChannelNorm(5)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    mean = features.mean(1, keepdim=True)
    deviation = ((features - mean) ** 2).mean(1, keepdim=True)
    expected = (features - mean) / (deviation + 1e-6).sqrt()
    expected = expected * norm.weight.view(1, 5, 1, 1) + norm.bias.view(1, 5, 1, 1)
    assert torch.allclose(norm.double()(features), expected, atol=1e-9)


def test_other_strides_are_refused():
    with pytest.raises(ConfigError, match="finest_stride"):
        SimplePyramid(32, 24, 2)
