# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training on a part of the patches: a step costs about that part of the time.

Source: FLIP (Li et al., 2023), random patch dropping for contrastive training.
Here plain patches (grey background) go first, because they tell nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional

from robollm_core.beit3.encoder import PATCH, Encoder
from robollm_core.errors import ShapeError

_PLAIN_STD = 4.0
_PLAIN_HANDICAP = 0.7


def choose_patches(images: Tensor, keep: float) -> Tensor:
    """Choose the patches to look at.

    Args:
        images: (N, S, S, 3) uint8.
        keep: fraction of the patches, in (0, 1].

    Returns:
        (N, K) int64, indices of the kept patches, row by row, ascending.

    Raises:
        ShapeError: If the fraction is out of range.
    """
    if not 0.0 < keep <= 1.0:
        raise ShapeError(f"the fraction of kept patches must be in (0, 1], got {keep}.")
    count, height, width = images.shape[:3]
    rows, columns = height // PATCH, width // PATCH
    grey = images[..., 1].float().reshape(count, rows, PATCH, columns, PATCH)
    plain = grey.std(dim=(2, 4)).flatten(1) < _PLAIN_STD
    # not always last: the network must know plain patches when it is given all
    rank = torch.rand(plain.shape, device=images.device) - _PLAIN_HANDICAP * plain.float()
    kept = max(1, round(keep * rows * columns))
    return rank.topk(kept, dim=1).indices.sort(dim=1).values


def pooled_sparse(encoder: Encoder, images: Tensor, kept: Tensor) -> Tensor:
    """Mean of the tokens of `sparse_tokens`.

    Returns:
        (N, d); equal to `Encoder.pooled` when all patches are kept.

    Raises:
        ShapeError: As `sparse_tokens` does.
    """
    return sparse_tokens(encoder, images, kept).mean(dim=1)


def sparse_tokens(encoder: Encoder, images: Tensor, kept: Tensor) -> Tensor:
    """The chosen patch tokens, computed from them and CLS alone.

    Args:
        encoder: with global attention in every block.
        images: (N, S, S, 3) uint8, S the encoder's native size.
        kept: (N, K) of `choose_patches`.

    Returns:
        (N, K, d) after the final norm, in the order of `kept`.

    Raises:
        ShapeError: If the encoder attends in windows, or the size is another.
    """
    if encoder.shape.window or tuple(images.shape[1:3]) != encoder.shape.image_hw:
        raise ShapeError(
            f"dropping patches needs global attention and {encoder.shape.image_hw} images, "
            f"got window {encoder.shape.window} and {tuple(images.shape[1:3])}."
        )
    index = kept.unsqueeze(-1)
    positions = encoder.positions[:, 1:].expand(len(images), -1, -1)
    positions = positions.gather(1, index.expand(-1, -1, positions.shape[2]))
    cls = (encoder.cls_token + encoder.positions[:, :1]).expand(len(images), -1, -1)
    tokens = torch.cat((cls, _embed_patches(encoder, images, index) + positions), dim=1)
    return encoder.through_blocks(tokens, encoder.shape.grid)[:, 1:]


def _embed_patches(encoder: Encoder, images: Tensor, index: Tensor) -> Tensor:
    """The patch convolution as one matrix product, of the kept patches alone."""
    patches = images.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH))
    patches = patches.permute(0, 1, 3, 5, 2, 4).flatten(1, 2).flatten(2)
    patches = patches.gather(1, index.expand(-1, -1, patches.shape[2]))
    pixels = patches.float() / 127.5 - 1.0  # as `normalise`, after the choice
    weight = encoder.patch_embed.weight.flatten(1)
    out: Tensor = functional.linear(pixels, weight, encoder.patch_embed.bias)
    return out
