# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Losses that pull the images of one item together, and weigh rare classes up.

Every function is pure. Inputs of half precision are lifted to float32 and
float64 stays float64; autocast is off inside. Rows without a positive are
left out; a batch in which no row is left is refused with a ShapeError, and
`objectives` turns such a batch into an exact zero, so that no run dies of it.
"""

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
    check_rows(query, query_items)
    check_rows(reference, reference_items)
    logits = scaled_similarities(query, reference, log_scale)
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
    check_rows(embedding, items)
    itself = torch.eye(len(items), dtype=torch.bool, device=items.device)
    positive = (items[:, None] == items[None, :]) & ~itself
    if not bool(positive.any()):
        raise ShapeError("every row shows another item; two images of one are needed.")
    logits = scaled_similarities(embedding, embedding, log_scale)
    return _every_positive(logits.masked_fill(itself, float("-inf")), positive)


def row_contrastive_loss(query: Tensor, reference: Tensor, log_scale: Tensor) -> Tensor:
    """Pull each query towards the reference of its own row, and away from all others.

    The released code's objective, for comparison: two rows of one item are each
    other's negatives, which `contrastive_loss` repairs.

    Args:
        query: (N, D) float, unit length, N from 1.
        reference: (N, D) float, unit length; row i belongs to query i.
        log_scale: () float; clamped to `LOG_SCALE_LIMITS`.

    Returns:
        () float, the mean over both directions.

    Raises:
        ShapeError: If the shapes disagree, or there is no row.

    Source:
        CLIP (Radford et al., 2021): S = exp(t) Q R^T,
        L = ( CE(S, 1..N, axis=1) + CE(S, 1..N, axis=0) ) / 2.
    """
    if query.ndim != 2 or query.shape != reference.shape or not len(query):
        raise ShapeError(
            f"expected two (N, D) with N from 1, got {tuple(query.shape)} "
            f"and {tuple(reference.shape)}; pair every query with one reference."
        )
    logits = scaled_similarities(query, reference, log_scale)
    own = torch.arange(len(query), device=query.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def centroid_triplet_loss(
    query: Tensor,
    reference: Tensor,
    query_items: Tensor,
    reference_items: Tensor,
    margin: float = 0.3,
) -> Tensor:
    """Bring each query nearer to its item's centroid than to any other, by a margin.

    Args:
        query: (N, D) float, unit length.
        reference: (M, D) float, unit length; their mean by item is its centroid.
        query_items: (N,) int64.
        reference_items: (M,) int64.
        margin: in squared distance, which is within 0 to 4.

    Returns:
        () float; the mean over the queries whose item has a centroid.

    Raises:
        ShapeError: If the shapes disagree, or no query has both a centroid of
            its item and one of another.

    Source:
        CTL (Wieczorek et al., 2021), with the nearest wrong centroid:
        L = mean_i max(0, |q_i - c_own|^2 - min_{k != own} |q_i - c_k|^2 + margin).
    """
    check_rows(query, query_items)
    check_rows(reference, reference_items)
    items, slot = reference_items.unique(return_inverse=True)
    member = functional.one_hot(slot, len(items)).to(lifted(reference).dtype)
    centroid = plain_product(member.T, reference) / member.sum(0)[:, None]
    own = query_items[:, None] == items[None, :]
    rows = own.any(1)
    if len(items) < 2 or not bool(rows.any()):
        raise ShapeError("a triplet needs a query with a centroid of its item and one of another.")
    row = lifted(query)[rows]
    squares = row.pow(2).sum(1)[:, None] + centroid.pow(2).sum(1)[None, :]
    distance = squares - 2 * plain_product(row, centroid.T)
    wrong = distance.masked_fill(own[rows], float("inf")).amin(1)
    right = torch.where(own[rows], distance, torch.zeros_like(distance)).sum(1)
    return (right - wrong + margin).clamp(min=0).mean()


def smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy against softened labels.

    Args:
        logits: (N, C) float.
        labels: (N,) int64 in 0..C-1.
        smoothing: share of a label that is spread over all C classes.
        weights: (C,) float of the classes; None for 1 each.

    Returns:
        () float; with weights the mean is weighted by the row's class.

    Raises:
        ShapeError: If the shapes disagree.

    Source:
        Szegedy et al. (2016): L = mean_i -sum_c y_ic log softmax(logits_i)_c,
        y_ic = (1 - smoothing) [c = label_i] + smoothing / C.
    """
    check_rows(logits, labels)
    logits = lifted(logits)
    weights = None if weights is None else weights.to(logits.dtype)
    return functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float = 2.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy in which rows that are right already count less.

    Args:
        logits: (N, C) float.
        labels: (N,) int64 in 0..C-1.
        gamma: 0 is plain cross-entropy.
        weights: (C,) float of the classes; None for 1 each.

    Returns:
        () float; with weights the mean is weighted by the row's class.

    Raises:
        ShapeError: If the shapes disagree.

    Source:
        Lin et al. (2017): L = mean_i -(1 - p_i)^gamma log p_i,
        p_i = softmax(logits_i)_{label_i}.
    """
    check_rows(logits, labels)
    log_p = functional.log_softmax(lifted(logits), dim=1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    # the power of a zero has no finite gradient for gamma below 1
    wrong = (-torch.expm1(own)).clamp(min=torch.finfo(own.dtype).eps)
    each = -(wrong**gamma) * own
    share = torch.ones_like(own) if weights is None else weights.to(own.dtype)[labels]
    return (share * each).sum() / share.sum()


def lifted(values: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return values if values.dtype == torch.float64 else values.float()


def plain_product(left: Tensor, right: Tensor) -> Tensor:
    """(N, K) @ (K, M), lifted and without autocast, which would round it to half."""
    with torch.autocast(left.device.type, enabled=False):
        return lifted(left) @ lifted(right)


def scaled_similarities(left: Tensor, right: Tensor, log_scale: Tensor) -> Tensor:
    """(N, M) logits of unit vectors (N, D) and (M, D), the scale clamped to its limits."""
    scale = log_scale.clamp(*LOG_SCALE_LIMITS).exp()
    return plain_product(scale * lifted(left), lifted(right).T)


def check_rows(embedding: Tensor, items: Tensor) -> None:
    """Refuse anything but (N, D) with (N,).

    Raises:
        ShapeError: If the shapes are others.
    """
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
