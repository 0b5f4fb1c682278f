# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Dense supervision straight from the label map: what, where it ends, where its centre is.

A detector trained from scratch sees few boxes a step; here every cell of the
finest pyramid level says something, which makes the backbone useful early.
The head does not ship.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

CELL = 4
"""Label pixels a side that share one prediction."""


@dataclass(frozen=True, eq=False)
class DenseTargets:
    """What the head should say, at 1 / `CELL` of the image.

    Attributes:
        foreground: (N, h, w) float32, 1 on instances.
        boundary: (N, h, w) float32, 1 where a neighbouring cell is another instance.
        offsets: (N, 2, h, w) float32, to the centre of the instance's box in
            units of its half sides, x first; 0 on the background.
    """

    foreground: Tensor
    boundary: Tensor
    offsets: Tensor


class DenseHead(nn.Module):
    """Foreground, boundary and offset to the centre from one pyramid level."""

    def __init__(self, channels: int, stride: int) -> None:
        """Build for a level of the given stride, 4 or 8."""
        super().__init__()
        self.fold = stride // CELL
        self.hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, 4 * self.fold**2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, c, h, w) to (N, 4, h*fold, w*fold): foreground, boundary, x, y."""
        found = self.out(functional.relu(self.hidden(features)))
        return functional.pixel_shuffle(found, self.fold) if self.fold > 1 else found


def dense_targets(labels: Tensor, boxes: list[Tensor], numbers: list[Tensor]) -> DenseTargets:
    """Derive the targets.

    Args:
        labels: (N, H, W) uint8 label maps, sides multiples of `CELL`.
        boxes: for each image (I, 4) xyxy pixels.
        numbers: for each image (I,) the instance numbers of its boxes.
    """
    half = CELL // 2
    cells = labels[:, half::CELL, half::CELL].long()
    foreground = (cells > 0).float()
    padded = functional.pad(cells[:, None].float(), (1, 1, 1, 1), mode="replicate")
    highest = functional.max_pool2d(padded, 3, stride=1)[:, 0]
    lowest = -functional.max_pool2d(-padded, 3, stride=1)[:, 0]
    boundary = (highest != lowest).float() * foreground
    offsets = torch.stack(
        [_offsets(one, box, number) for one, box, number in zip(cells, boxes, numbers, strict=True)]
    )
    return DenseTargets(foreground, boundary, offsets)


def _offsets(cells: Tensor, boxes: Tensor, numbers: Tensor) -> Tensor:
    table = torch.zeros(256, 4, device=cells.device)
    low, high = boxes[:, :2], boxes[:, 2:]
    table[numbers.long()] = torch.cat(((low + high) / 2, 2.0 / (high - low)), dim=1)
    mine = table[cells]  # (h, w, 4): centre x, y and the inverse half sides
    x = (torch.arange(cells.shape[1], device=cells.device) + 0.5) * CELL
    y = (torch.arange(cells.shape[0], device=cells.device) + 0.5) * CELL
    return torch.stack(
        ((mine[..., 0] - x) * mine[..., 2], (mine[..., 1] - y[:, None]) * mine[..., 3])
    )


def dense_loss(found: Tensor, targets: DenseTargets) -> dict[str, Tensor]:
    """Balanced cross-entropies and an L1 on instances.

    Args:
        found: (N, 4, h, w) logits and offsets.
        targets: of the same size.

    Returns:
        "loss_foreground", "loss_boundary", "loss_offset", each () float.
    """
    found = found.float()
    weight = functional.binary_cross_entropy_with_logits
    share = targets.boundary.mean().clamp(0.02, 0.5)
    balance = torch.where(targets.boundary > 0, 0.5 / share, 0.5 / (1.0 - share))
    inside = targets.foreground.sum().clamp(min=1.0)
    miss = functional.l1_loss(found[:, 2:], targets.offsets, reduction="none").sum(1)
    return {
        "loss_foreground": weight(found[:, 0], targets.foreground),
        "loss_boundary": weight(found[:, 1], targets.boundary, balance),
        "loss_offset": (miss * targets.foreground).sum() / inside,
    }
