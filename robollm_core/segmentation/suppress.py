# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Greedy non-maximum suppression as matrix products, with static shapes."""

import torch
from torch import Tensor

ROUNDS = 32
"""Rounds in an exported graph. The answer is exact while no chain, in which each box would
drop the next, has more links. The tiny network needed at most 11 rounds on 55 photos, noise
and flat pictures; a ramp of scores over a whole tote of crowded boxes can need 50. With a
chain too long, boxes too many are kept and never one too few, because the number is even:
round 0 keeps all, and a round turns a superset of the answer into a subset, and back.
`robollm export` refuses a network for which one round more changes a trial picture."""


def box_overlaps(boxes: Tensor) -> Tensor:
    """IoU of every pair of (..., N, 4) xyxy boxes: (..., N, N), no number for two empty boxes."""
    rows, columns = boxes.unsqueeze(-2), boxes.unsqueeze(-3)
    low = torch.maximum(rows[..., :2], columns[..., :2])
    high = torch.minimum(rows[..., 2:], columns[..., 2:])
    sides = (high - low).clamp(min=0.0)
    shared = sides[..., 0] * sides[..., 1]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    overlaps: Tensor = shared / (area.unsqueeze(-1) + area.unsqueeze(-2) - shared)
    return overlaps


def cluster_nms(boxes: Tensor, iou: float, valid: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Say which boxes greedy NMS keeps.

    Args:
        boxes: (..., N, 4) xyxy, best score first; boxes of different groups, along
            the leading axes, leave each other alone.
        iou: a box is dropped by a better, kept one that overlaps it by more.
        valid: (..., N) float, 1 for boxes that take part; the others drop none.
        rounds: N rounds are exact for every input, fewer for chains of as many links.

    Returns:
        (..., N) float32, 1 where a box is kept.

    Source:
        Cluster-NMS (Zheng et al. 2020): with X[i, j] = 1 where i is better than
        j and overlaps it, iterate keep = (keep @ X == 0) to its fixed point.
    """
    drops = box_overlaps(boxes) > iou
    # the upper triangle, compared in the graph: a mask made of constants alone would be stored,
    # (N, N) as it is, in the exported file
    count = int(boxes.shape[-2])
    rank = torch.arange(count, dtype=boxes.dtype, device=boxes.device)
    dropper = torch.where(drops, rank[:, None], float(count))
    pairs = (dropper < rank).to(boxes.dtype)
    keep = valid.unsqueeze(-2)
    real = keep
    for _ in range(rounds):
        keep = (torch.matmul(keep, pairs) < 0.5).to(boxes.dtype) * real
    return keep.squeeze(-2)
