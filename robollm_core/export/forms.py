# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The same network in the form that runtimes fuse; the weights stay where they are.

What torch traces of an attention is one projection cut in three by a transpose
over five axes, with the scale on both factors. Runtimes look for another form,
and where they find it, attention becomes one kernel: three projections, the scale
behind the first, product, softmax, product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from robollm_core.beit3.encoder import Encoder
from robollm_core.beit3.layers import Attention, Block, join_windows, split_windows


def pool(encoder: Encoder, images: Tensor) -> Tensor:
    """`Encoder.pooled` as a product with a row of weights, 0 for CLS.

    To a mean, OpenVINO in bfloat16 keeps all that leads in float32, and converts twice a
    block; not to a product.
    """
    tokens: Tensor = encoder(images)
    count = int(tokens.shape[1]) - 1
    weights = functional.pad(tokens.new_full((1, count), 1.0 / count), (1, 0))
    return (weights @ tokens)[:, 0]


class PlainAttention(nn.Module):
    """`Attention` with a projection each for queries, keys and values."""

    def __init__(self, attention: Attention) -> None:
        """Share the weights of an attention."""
        super().__init__()
        self.heads, self.head_width = attention.heads, attention.head_width
        self.window = attention.window
        thirds = [third.chunk(3) for third in (attention.qkv.weight, attention.qkv.bias)]
        # layers under these names, so that the weights are found again in the exported file
        self.query, self.key, self.value = (_linear(*third) for third in zip(*thirds, strict=True))
        self.inner_norm, self.out = attention.inner_norm, attention.out

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """As `Attention.forward`."""
        parts = [project(tokens) for project in (self.query, self.key, self.value)]
        # a head width of 64 makes the scale 1/8, which costs no digit
        parts[0] = parts[0] * self.head_width**-0.5
        if self.window == 0:
            mixed = self._attend(parts, None)
        else:
            cut = [split_windows(part, grid, self.window) for part in parts]
            mixed = self._attend([windows for windows, _ in cut], cut[0][1])
            mixed = join_windows(mixed, grid, self.window)
        out: Tensor = self.out(self.inner_norm(mixed))
        return out

    def _attend(self, parts: list[Tensor], mask: Tensor | None) -> Tensor:
        count, width = int(parts[0].shape[1]), self.heads * self.head_width
        query, key, value = (
            part.reshape(-1, count, self.heads, self.head_width).transpose(1, 2) for part in parts
        )
        scores = query @ key.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(-1, count, width)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


@contextmanager
def fusible(module: nn.Module) -> Iterator[None]:
    """Put a module into this form, and back when the block ends.

    Args:
        module: an attention whose projection is no plain layer stays as it is.
    """
    parts = list(module.modules())
    encoders = [cast(Any, part) for part in parts if isinstance(part, Encoder)]
    changed = [
        (part, part.attention)
        for part in parts
        if isinstance(part, Block) and type(part.attention.qkv) is nn.Linear
    ]
    try:
        for encoder in encoders:
            encoder.pooled = partial(pool, encoder)
        for block, attention in changed:
            block.attention = cast(Attention, PlainAttention(attention))
        yield
    finally:
        for encoder in encoders:
            del encoder.pooled
        for block, attention in changed:
            block.attention = attention
