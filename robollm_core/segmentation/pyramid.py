# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The simple feature pyramid: one map in, strides 4, 8, 16, 32 and a pooled 64 out."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from robollm_core.errors import ConfigError

STRIDES = (4, 8, 16, 32, 64)
NORM_EPS = 1e-6


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of an (N, C, H, W) map."""

    def __init__(self, channels: int) -> None:
        """Build the scale and the shift, (C,) each."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        last = features.permute(0, 2, 3, 1)
        size = (self.weight.shape[0],)
        return functional.layer_norm(last, size, self.weight, self.bias, NORM_EPS).permute(
            0, 3, 1, 2
        )


class SimplePyramid(nn.Module):
    """Parallel branches on the last map of a plain backbone.

    Source: ViTDet (Li et al. 2022), section 3: stride 4 by two stride-2
    deconvolutions, 8 by one, 16 the map itself, 32 by a stride-2 max pool; each
    followed by a 1x1 and a 3x3 convolution with LayerNorm. Stride 64 is stride
    32 subsampled.
    """

    def __init__(self, width: int, channels: int, finest_stride: int = 4) -> None:
        """Build the branches.

        Args:
            width: channels d of the backbone's map.
            channels: channels c of every output.
            finest_stride: 4 or 8; with 8 the most expensive branch is left out.

        Raises:
            ConfigError: If the finest stride is another.
        """
        super().__init__()
        if finest_stride not in (4, 8):
            raise ConfigError(f"finest_stride must be 4 or 8, got {finest_stride}.")
        self.strides = tuple(stride for stride in STRIDES if stride >= finest_stride)
        self.branches = nn.ModuleList(_branch(s, width, channels) for s in self.strides[:-1])

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Build the maps.

        Args:
            features: (N, d, h, w), stride 16.

        Returns:
            One (N, c, H/s, W/s) for each stride of `self.strides`, finest
            first; odd sides are rounded down at stride 32, up at 64.
        """
        maps = [branch(features) for branch in self.branches]
        return (*maps, functional.max_pool2d(maps[-1], kernel_size=1, stride=2))


def _branch(stride: int, width: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inner = width
    if stride == 4:
        layers += [nn.ConvTranspose2d(width, width // 2, 2, stride=2), ChannelNorm(width // 2)]
        layers += [nn.GELU(), nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2)]
        inner = width // 4
    elif stride == 8:
        layers += [nn.ConvTranspose2d(width, width // 2, 2, stride=2)]
        inner = width // 2
    elif stride == 32:
        layers += [nn.MaxPool2d(2)]
    layers += [nn.Conv2d(inner, channels, 1, bias=False), ChannelNorm(channels)]
    layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), ChannelNorm(channels)]
    return nn.Sequential(*layers)
