# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of a BEiT-3 vision block: pre-norm with sub-LayerNorm.

Source: Wang et al., "Image as a Foreign Language" (BEiT-3, 2022) and Wang et
al., "Foundation Transformers" (Magneto, 2022) for the sub-LayerNorm and its
initialisation gain sqrt(ln(2 * depth)).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Sizes of one transformer block.

    Attributes:
        width: channels d of a token.
        heads: attention heads, a divisor of `width`.
        ffn: inner width of the feed-forward network.
        window: edge of the attention window in patches, 0 for global attention.
        drop_path: chance that a sample skips a branch of the block in training.
    """

    width: int
    heads: int
    ffn: int
    window: int = 0
    drop_path: float = 0.0


class DropPath(nn.Module):
    """Stochastic depth: in training a branch is dropped for whole samples."""

    def __init__(self, chance: float) -> None:
        """Keep a sample's branch with probability 1 - `chance`."""
        super().__init__()
        self.chance = chance

    def forward(self, branch: Tensor) -> Tensor:
        """(N, ...) in, the same shape out, its expectation unchanged."""
        if not self.training or self.chance == 0.0:
            return branch
        keep = 1.0 - self.chance
        shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        return branch * (torch.rand(shape, device=branch.device) < keep).to(branch.dtype) / keep


class Attention(nn.Module):
    """Multi-head self-attention with a LayerNorm before the output projection."""

    def __init__(self, shape: BlockShape) -> None:
        """Build the projections of one block; global when `shape.window` is 0."""
        super().__init__()
        self.heads = shape.heads
        self.head_width = shape.width // shape.heads
        self.window = shape.window
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.inner_norm = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: (N, 1 + h*w, d), CLS first, then the patches row by row.
            grid: (h, w) patches.

        Returns:
            (N, 1 + h*w, d).
        """
        mixed = self.qkv(tokens)
        if self.window == 0:
            mixed = self._attend(mixed, None)
        else:
            windows, mask = split_windows(mixed, grid, self.window)
            mixed = join_windows(self._attend(windows, mask), grid, self.window)
        out: Tensor = self.out(self.inner_norm(mixed))
        return out

    def _attend(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        parts = qkv.unflatten(-1, (3, self.heads, self.head_width)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed: Tensor = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).flatten(2)


def split_windows(
    tokens: Tensor, grid: tuple[int, int], window: int
) -> tuple[Tensor, Tensor | None]:
    """Cut the patch grid into windows; every window gets a copy of CLS.

    Pretrained attention leans on CLS, so each window keeps it as one more
    query and key. The grid is padded at the bottom and right to a multiple of
    the window.

    Args:
        tokens: (N, 1 + h*w, c).
        grid: (h, w).
        window: edge s of a window in patches.

    Returns:
        (N*k, 1 + s*s, c) windows, k = ceil(h/s)*ceil(w/s) of an image side by
        side, and a bool mask (N*k, 1, 1, 1 + s*s), True where a key is real;
        None when nothing was padded.
    """
    # sizes are written as numbers wherever they are known, so that a traced graph computes none
    height, width = grid
    rows, columns = math.ceil(height / window), math.ceil(width / window)
    pad = (0, 0, 0, columns * window - width, 0, rows * window - height)
    channels = int(tokens.shape[-1])
    cls, patches = tokens[:, :1], tokens[:, 1:].reshape(-1, height, width, channels)
    cut = _cut(functional.pad(patches, pad) if any(pad) else patches, window)
    copies = cls.unsqueeze(1).expand(-1, rows * columns, -1, -1)
    windows = torch.cat((copies, cut), dim=2).reshape(-1, 1 + window * window, channels)
    if not any(pad):
        return windows, None
    real = torch.ones((1, height, width, 1), dtype=torch.bool, device=tokens.device)
    keys = functional.pad(_cut(functional.pad(real, pad), window)[..., 0], (1, 0), value=True)
    mask = keys.expand(tokens.shape[0], -1, -1).flatten(0, 1)
    return windows, mask[:, None, None, :]


def _cut(patches: Tensor, window: int) -> Tensor:
    """(N, k_h*s, k_w*s, c) to (N, k_h*k_w, s*s, c)."""
    rows, columns = int(patches.shape[1]) // window, int(patches.shape[2]) // window
    channels = int(patches.shape[3])
    cut = patches.reshape(-1, rows, window, columns, window, channels).transpose(2, 3)
    return cut.reshape(-1, rows * columns, window * window, channels)


def join_windows(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """Undo `split_windows`; CLS becomes the mean of its copies.

    Args:
        windows: (N*k, 1 + s*s, c).
        grid: (h, w).
        window: s.

    Returns:
        (N, 1 + h*w, c).
    """
    height, width = grid
    rows, columns = math.ceil(height / window), math.ceil(width / window)
    channels = int(windows.shape[-1])
    parts = windows.reshape(-1, rows * columns, 1 + window * window, channels)
    cls = parts[:, :, 0].mean(dim=1, keepdim=True)
    patches = parts[:, :, 1:].reshape(-1, rows, columns, window, window, channels)
    patches = patches.transpose(2, 3).reshape(-1, rows * window, columns * window, channels)
    patches = patches[:, :height, :width].reshape(-1, height * width, channels)
    return torch.cat((cls, patches), dim=1)


class FeedForward(nn.Module):
    """fc1, GELU (erf), LayerNorm, fc2."""

    def __init__(self, shape: BlockShape) -> None:
        """Build the two projections and the norm between them."""
        super().__init__()
        self.fc1 = nn.Linear(shape.width, shape.ffn)
        self.inner_norm = nn.LayerNorm(shape.ffn, eps=NORM_EPS)
        self.fc2 = nn.Linear(shape.ffn, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        out: Tensor = self.fc2(self.inner_norm(functional.gelu(self.fc1(tokens))))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x)); no layer scale.

    Attributes:
        adapter: ends the block in place of the second sum, if there is one; see
            `beit3.adapters`.
    """

    def __init__(self, shape: BlockShape) -> None:
        """Build one block."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.attention = Attention(shape)
        self.ffn_norm = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.ffn = FeedForward(shape)
        self.drop_path = DropPath(shape.drop_path)
        self.adapter: nn.Module | None = None

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(N, 1 + h*w, d) to the same shape; `grid` is (h, w)."""
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens), grid))
        fed: Tensor = self.drop_path(self.ffn(self.ffn_norm(tokens)))
        out: Tensor = tokens + fed if self.adapter is None else self.adapter(tokens, fed)
        return out


def initialise_block(block: Block, depth: int) -> None:
    """Xavier with the gain that keeps a sub-LayerNorm network of `depth` blocks stable.

    Source: Magneto, table 2: gain sqrt(ln(2 * depth)) for value, output and
    feed-forward projections, 1 for query and key.
    """
    gain = math.sqrt(math.log(2 * depth))
    query_key, value = block.attention.qkv.weight.split(
        [2 * block.attention.out.in_features, block.attention.out.in_features]
    )
    with torch.no_grad():
        for part in query_key.chunk(2):
            nn.init.xavier_normal_(part)
        nn.init.xavier_normal_(value, gain=gain)
        for linear in (block.attention.out, block.ffn.fc1, block.ffn.fc2):
            nn.init.xavier_normal_(linear.weight, gain=gain)
        for linear in (block.attention.qkv, block.attention.out, block.ffn.fc1, block.ffn.fc2):
            nn.init.zeros_(linear.bias)
