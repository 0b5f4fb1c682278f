# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Losses that pull the images of one item together, and weigh rare classes up."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from robollm_core.errors import ShapeError

LOG_SCALE_LIMITS = (0.0, math.log(100.0))
"""The learned log inverse temperature stays inside: 1 to 100."""


def contrastive_loss(
    query: Tensor,
    reference: Tensor,
    query_items: Tensor,
    reference_items: Tensor,
    log_scale: Tensor,
) -> Tensor:
    """Pull each query towards a reference of its item, and away from the others.

    Positives are decided by item, not by row: two rows of one item are never
    each other's negatives. The positives of a row share one numerator, so a
    query need not match the photo of the side that it does not show; at work
    the best reference decides too. Rows without a positive on the other side
    serve as negatives only.

    Args:
        query: (N, D) float, unit length; embeddings of picked items.
        reference: (M, D) float, unit length; embeddings of reference images.
        query_items: (N,) int64; which item a query row shows.
        reference_items: (M,) int64; which item a reference row shows.
        log_scale: () float; logarithm of the inverse temperature, trained. It is
            clamped to `LOG_SCALE_LIMITS` here, so a run cannot overflow.

    Returns:
        () float32, the mean over both directions.

    Raises:
        ShapeError: If the shapes disagree, or no query has a positive.

    Source:
        RoboLLM's symmetric InfoNCE with the positives inside the logarithm
        (SupCon's L_in, as MIL-NCE): S = exp(t) Q R^T and
        L = ( CE(S, P, axis=1) + CE(S, P, axis=0) ) / 2,
        CE(S, P, axis=1) = mean_i -log( sum_{p in P(i)} softmax(S_i)_p ).
    """
    _check_rows(query, query_items)
    _check_rows(reference, reference_items)
    scale = log_scale.clamp(*LOG_SCALE_LIMITS).exp()
    logits = scale * query.float() @ reference.float().T
    positive = query_items[:, None] == reference_items[None, :]
    if not bool(positive.any()):
        raise ShapeError("no query shares its item with a reference; pair them before the loss.")
    return (_any_positive(logits, positive) + _any_positive(logits.T, positive.T)) / 2


def label_contrastive_loss(embedding: Tensor, items: Tensor, log_scale: Tensor) -> Tensor:
    """Pull all images of one item together, whatever view they are.

    Args:
        embedding: (N, D) float, unit length.
        items: (N,) int64; which item a row shows.
        log_scale: () float; logarithm of the inverse temperature.

    Returns:
        () float32; the mean over the rows that have a positive.

    Raises:
        ShapeError: If the shapes disagree, or no row has a positive.

    Source:
        LaCViT, eq. 5.1: L = sum_i -1/|P(i)| sum_{p in P(i)}
        log( exp(z_i.z_p/tau) / sum_{a != i} exp(z_i.z_a/tau) ), here a mean over i.
    """
    _check_rows(embedding, items)
    itself = torch.eye(len(items), dtype=torch.bool, device=items.device)
    positive = (items[:, None] == items[None, :]) & ~itself
    if not bool(positive.any()):
        raise ShapeError("every row shows another item; two images of one are needed.")
    scale = log_scale.clamp(*LOG_SCALE_LIMITS).exp()
    logits = scale * embedding.float() @ embedding.float().T
    return _every_positive(logits.masked_fill(itself, float("-inf")), positive)


def _check_rows(embedding: Tensor, items: Tensor) -> None:
    if embedding.ndim != 2 or items.shape != embedding.shape[:1]:
        raise ShapeError(
            f"expected embeddings (N, D) with items (N,), got {tuple(embedding.shape)} "
            f"and {tuple(items.shape)}."
        )


def _any_positive(logits: Tensor, positive: Tensor) -> Tensor:
    rows = positive.any(dim=1)
    own = logits.masked_fill(~positive, float("-inf"))[rows].logsumexp(dim=1)
    return (logits[rows].logsumexp(dim=1) - own).mean()


def _every_positive(logits: Tensor, positive: Tensor) -> Tensor:
    log_probability = functional.log_softmax(logits, dim=1)
    # where, not a product: -inf (a row with itself) times 0 would be NaN
    chosen = torch.where(positive, log_probability, torch.zeros_like(log_probability)).sum(1)
    count = positive.sum(1)
    rows = count > 0
    return -(chosen[rows] / count[rows]).mean()


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Weights that raise rare classes, with mean 1 over the images.

    Args:
        counts: (C,) int64; images by class.
        power: 0 weighs all images alike, 1 all classes alike.

    Returns:
        (C,) float32; 0 for a class without images.

    Raises:
        ShapeError: If there is no image at all.
    """
    total = counts.sum()
    if counts.ndim != 1 or int(total) == 0:
        raise ShapeError(f"expected image counts by class, got {counts.tolist()}.")
    present = counts > 0
    raw = torch.where(present, counts.clamp(min=1).float() ** -power, torch.zeros(()))
    return raw * total / (raw * counts).sum()
