# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The vision encoder: patches, positions, blocks, final norm."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robollm_core.beit3.layers import NORM_EPS, Block, BlockShape, initialise_block
from robollm_core.errors import ShapeError

PATCH = 16


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of an encoder.

    Attributes:
        depth: number of blocks.
        width: channels d of a token.
        heads: attention heads.
        ffn: inner width of the feed-forward networks.
        image_hw: image size in pixels that the learned positions belong to,
            both multiples of 16.
        window: edge of the attention window in patches, 0 for none.
        global_blocks: indices of the blocks that attend globally all the same.
        drop_path: stochastic depth of the last block; grows linearly from 0.
    """

    depth: int
    width: int
    heads: int
    ffn: int
    image_hw: tuple[int, int] = (224, 224)
    window: int = 0
    global_blocks: tuple[int, ...] = ()
    drop_path: float = 0.0

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches at the native image size."""
        return self.image_hw[0] // PATCH, self.image_hw[1] // PATCH

    def block(self, index: int) -> BlockShape:
        """Shape of block `index`, counted from 0."""
        window = 0 if index in self.global_blocks else self.window
        chance = self.drop_path * index / max(self.depth - 1, 1)
        return BlockShape(self.width, self.heads, self.ffn, window, chance)


def normalise(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 in [-1, 1]: (x/255 - 0.5)/0.5.

    Raises:
        ShapeError: If the images are not uint8 NHWC with three channels.
    """
    if images.dim() != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise ShapeError(
            f"images must be (N, H, W, 3) uint8 RGB, got {tuple(images.shape)} {images.dtype}."
        )
    # cast first: TensorRT moves no uint8 but into a cast
    return images.float().permute(0, 3, 1, 2) / 127.5 - 1.0


def resize_positions(positions: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Carry learned positions to another patch grid, bicubic, CLS unchanged.

    Args:
        positions: (1, 1 + h*w, d), CLS first.
        source: (h, w) the positions belong to.
        target: (h', w').

    Returns:
        (1, 1 + h'*w', d); the very same tensor when the grids agree.
    """
    if source == target:
        return positions
    patches = positions[:, 1:].unflatten(1, source).permute(0, 3, 1, 2)
    patches = functional.interpolate(
        patches.float(), size=target, mode="bicubic", align_corners=False
    )
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat((positions[:, :1], patches), dim=1)


class Encoder(nn.Module):
    """Vision-only BEiT-3.

    Attributes:
        shape: its sizes.
        width: channels d of a token, for the heads.
        recomputes: in training, compute the inner activations of a block anew in
            the backward pass, which takes its time once more and not its memory.
    """

    def __init__(self, shape: EncoderShape) -> None:
        """Build and initialise the encoder.

        Raises:
            ShapeError: If the native image size is not a multiple of 16.
        """
        super().__init__()
        if any(side <= 0 or side % PATCH for side in shape.image_hw):
            raise ShapeError(f"image_hw must be multiples of {PATCH}, got {shape.image_hw}.")
        self.shape = shape
        self.width = shape.width
        self.recomputes = False
        self.patch_embed = nn.Conv2d(3, shape.width, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        count = 1 + shape.grid[0] * shape.grid[1]
        self.positions = nn.Parameter(torch.zeros(1, count, shape.width))
        blocks = [Block(shape.block(i)) for i in range(shape.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self._initialise(blocks)

    def _initialise(self, blocks: list[Block]) -> None:
        nn.init.xavier_uniform_(self.patch_embed.weight.flatten(1))
        if self.patch_embed.bias is not None:
            nn.init.zeros_(self.patch_embed.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for block in blocks:
            initialise_block(block, self.shape.depth)

    @torch.no_grad()
    def settle(self, image_hw: tuple[int, int]) -> None:
        """Make another image size the native one: positions are carried over once, in place.

        Args:
            image_hw: (H, W), multiples of 16.
        """
        shape = replace(self.shape, image_hw=image_hw)
        self.positions = nn.Parameter(resize_positions(self.positions, self.shape.grid, shape.grid))
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: (N, 3, H, W) float, normalised as `normalise` does, H and W
                multiples of 16; any size, positions follow.

        Returns:
            (N, 1 + h*w, d) tokens after the final norm, CLS first, patches row
            by row; h = H/16, w = W/16.

        Raises:
            ShapeError: If H or W is no multiple of 16.
        """
        height, width = int(images.shape[2]), int(images.shape[3])
        if height % PATCH or width % PATCH:
            raise ShapeError(f"image sides must be multiples of {PATCH}, got {height}x{width}.")
        grid = (height // PATCH, width // PATCH)
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat((cls, patches), dim=1)
        tokens = tokens + resize_positions(self.positions, self.shape.grid, grid)
        return self.through_blocks(tokens, grid)

    def through_blocks(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """All blocks and the final norm.

        Args:
            tokens: (N, 1 + n, d), CLS first, positions added.
            grid: (rows, columns) of the patches.

        Returns:
            (N, 1 + n, d).
        """
        recomputes = self.recomputes and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            if recomputes:
                tokens = checkpoint(block, tokens, grid, use_reentrant=False)
            else:
                tokens = block(tokens, grid)
        out: Tensor = self.norm(tokens)
        return out

    def feature_map(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the last feature map (N, d, H/16, W/16), stride 16."""
        grid = (int(images.shape[2]) // PATCH, int(images.shape[3]) // PATCH)
        patches: Tensor = self(images)[:, 1:]
        out: Tensor = patches.transpose(1, 2).reshape(-1, self.width, *grid)
        return out

    def pooled(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the mean patch token (N, d); CLS takes no part."""
        patches: Tensor = self(images)[:, 1:]
        return patches.mean(dim=1)
