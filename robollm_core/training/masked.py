# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Masked image modelling: the encoder sees some patches, a light decoder paints the others.

Source: K. He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022):
the encoder computes the visible patches alone, the targets are the pixels of a
patch minus their mean, over their deviation. Blocks instead of single patches
are masked as H. Bao et al., "BEiT" (2022) do.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from robollm_core.beit3.encoder import PATCH, Encoder
from robollm_core.beit3.layers import NORM_EPS, Block, BlockShape, initialise_block
from robollm_core.errors import ConfigError, ShapeError
from robollm_core.training.losses import lifted
from robollm_core.training.pretext import MASKS, Learner, Pretext
from robollm_core.training.sparse import sparse_tokens
from robollm_core.types import UInt8Array

_PIXELS = PATCH * PATCH * 3
_FLAT = 2.0  # grey levels: the noise of a plain patch is no pattern to be painted
_HEAD_WIDTH = 32
_BLOCKS = 24  # blocks drawn for a picture; together they nearly always cover all of it


def patch_pixels(images: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 to the pixels of its patches (N, n, 768) float32, row by row."""
    cut = images.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH))
    pixels: Tensor = cut.transpose(2, 3).flatten(3).flatten(1, 2).float()
    return pixels


def patch_targets(pixels: Tensor) -> Tensor:
    """Pixels minus their patch's mean, over its deviation.

    Args:
        pixels: (..., 768) float, 0 to 255.

    Returns:
        (..., 768): t = (x - mean x) / sqrt(var x + 2^2). A textured patch has mean
        0 and variance 1; the 2 grey levels keep the noise of a plain one small.

    Source:
        He et al. (2022), section 4.1, "w/ norm", with another constant.
    """
    variance, mean = torch.var_mean(pixels, dim=-1, keepdim=True, correction=0)
    return (pixels - mean) / (variance + _FLAT**2).sqrt()


def masked_pixel_loss(said: Tensor, pixels: Tensor, masked: Tensor) -> Tensor:
    """Mean squared error at the masked patches alone.

    Args:
        said: (N, n, 768) float, the answer for every patch.
        pixels: (N, n, 768) float, 0 to 255.
        masked: (N, M) int64, which patches were hidden, M from 1.

    Returns:
        () float: L = mean_{i, p in masked(i)} |said_ip - t_ip|^2 / 768.

    Raises:
        ShapeError: If the shapes disagree, or nothing is masked.

    Source:
        He et al. (2022), section 3, "Reconstruction target".
    """
    if said.shape != pixels.shape or masked.ndim != 2 or not masked.numel():
        raise ShapeError(
            f"expected (N, n, 768) twice and (N, M) with M from 1, got {tuple(said.shape)}, "
            f"{tuple(pixels.shape)} and {tuple(masked.shape)}."
        )
    index = masked.unsqueeze(-1).expand(-1, -1, said.shape[2])
    wanted = patch_targets(lifted(pixels).gather(1, index))
    return (lifted(said).gather(1, index) - wanted).square().mean()


def draw_mask(
    count: int, grid: tuple[int, int], share: float, kind: str, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw which patches are hidden, as many in every picture.

    Args:
        count: N pictures.
        grid: (rows, columns) of patches, two or more in all.
        share: fraction that is hidden; at least one patch is, and one is not.
        kind: "random" for single patches, "block" for rectangles.
        generator: on the CPU; None for torch's own.

    Returns:
        (N, K) visible and (N, M) masked int64, each ascending.

    Raises:
        ConfigError: If there is no such kind, or but one patch.
    """
    patches = grid[0] * grid[1]
    if kind not in MASKS or patches < 2:
        raise ConfigError(
            f"mask must be one of {', '.join(MASKS)} on two patches or more, got {kind!r} "
            f"on {patches}."
        )
    hidden = min(max(round(share * patches), 1), patches - 1)
    order = torch.rand((count, patches), generator=generator)
    if kind == "block":
        order = order + _first_block(count, grid, generator)
    order = order.argsort(dim=1)
    masked, visible = order[:, :hidden], order[:, hidden:]
    return visible.sort(dim=1).values, masked.sort(dim=1).values


def _first_block(count: int, grid: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """(N, n) number of the first of some random rectangles that covers a patch."""
    size = torch.tensor(grid)
    drawn = torch.rand((2, count, _BLOCKS, 2), generator=generator)
    # sides from a patch or a quarter to half of the grid
    least, most = (size // 4).clamp(min=1), (size // 2).clamp(min=1)
    side = least + (drawn[0] * (most - least + 1)).long()
    start = (drawn[1] * (size - side + 1)).long()
    place = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), -1).flatten(0, 1)
    beyond = place - start[:, :, None]  # (N, blocks, n, 2)
    inside = ((beyond >= 0) & (beyond < side[:, :, None])).all(-1)
    number = torch.arange(_BLOCKS)[None, :, None].expand_as(inside)
    return torch.where(inside, number, torch.full_like(number, _BLOCKS)).amin(1)


class Painter(Learner):
    """The encoder, and a decoder of one block, which does not ship."""

    def __init__(self, encoder: Encoder) -> None:
        """Put a decoder of half the width on an encoder."""
        super().__init__(encoder)
        width = max(_HEAD_WIDTH, encoder.width // 2 // _HEAD_WIDTH * _HEAD_WIDTH)
        self.narrow = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        # fixed, as in MAE: the decoder shall know places, and learn nothing of them
        self.register_buffer("places", sine_places(encoder.shape.grid, width), persistent=False)
        self.decoder = Block(BlockShape(width, width // _HEAD_WIDTH, 2 * width))
        initialise_block(self.decoder, 2)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.pixels = nn.Linear(width, _PIXELS)

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to an answer for every patch, (N, n, 768).

        Args:
            images: S the encoder's native size.
            visible: (N, K) int64, the patches the encoder sees.
        """
        seen = self.narrow(sparse_tokens(self.encoder, images, visible))
        places = self.get_buffer("places")
        tokens = self.mask_token.to(seen.dtype).expand(len(images), places.shape[1] - 1, -1)
        index = visible.unsqueeze(-1).expand(-1, -1, seen.shape[2])
        tokens = tokens.scatter(1, index, seen)
        tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1) + places
        decoded = self.decoder(tokens, self.encoder.shape.grid)[:, 1:]
        out: Tensor = self.pixels(self.norm(decoded))
        return out


def sine_places(grid: tuple[int, int], width: int) -> Tensor:
    """Places of a patch grid as sines and cosines, CLS (zeros) first.

    Args:
        grid: (rows, columns).
        width: d, a multiple of 4.

    Returns:
        (1, 1 + rows * columns, d) float32; half of the channels tell the row.

    Source:
        Vaswani et al. (2017), section 3.5, once a side, as in He et al. (2022).
    """
    rates = torch.exp(torch.arange(width // 4) * (-math.log(10000.0) / (width // 4)))
    sides = torch.meshgrid(*(torch.arange(edge).float() for edge in grid), indexing="ij")
    angles = [side.flatten()[:, None] * rates for side in sides]
    table = torch.cat([wave(a) for a in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat((torch.zeros(1, width), table)).unsqueeze(0)


class MaskedImages(Pretext):
    """Hides patches and asks for their pixels."""

    network: Painter

    def __init__(self, network: Painter, share: float, kind: str, seed: int) -> None:
        """Hold the network and what is hidden from it.

        Args:
            network: painter.
            share: fraction of the patches that is hidden.
            kind: one of `MASKS`.
            seed: of the masks of the validation.
        """
        super().__init__(network)
        self.share, self.kind, self.seed = share, kind, seed

    def loss(
        self, images: Tensor, pictures: Tensor, keep: float
    ) -> tuple[Tensor, dict[str, float]]:
        """`masked_pixel_loss`; what is hidden takes the place of `keep`."""
        grid = self.network.encoder.shape.grid
        visible, masked = draw_mask(len(images), grid, self.share, self.kind, None)
        said = self.network(images, visible.to(images.device))
        return masked_pixel_loss(said, patch_pixels(images), masked.to(images.device)), {}

    def judge(self, network: nn.Module, crops: UInt8Array) -> dict[str, float]:
        """Loss, and the share of the targets' variance that is explained, which decides."""
        assert isinstance(network, Painter)
        generator = torch.Generator().manual_seed(self.seed)
        sums = np.zeros(2)
        for images in self.chunks(crops):
            grid = network.encoder.shape.grid
            drawn = draw_mask(len(images), grid, self.share, self.kind, generator)
            visible, masked = (part.to(images.device) for part in drawn)
            pixels = patch_pixels(images)
            said = network(images, visible)
            nothing = masked_pixel_loss(torch.zeros_like(said), pixels, masked)
            error = masked_pixel_loss(said, pixels, masked)
            sums += len(images) * np.array([float(error), float(nothing)])
        explained = 1.0 - sums[0] / max(sums[1], np.finfo(float).tiny)
        return {"loss": float(sums[0] / len(crops)), "select": float(explained)}
