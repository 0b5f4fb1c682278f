# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Losses over all images of a batch that weigh their pairs by how hard these are.

Inputs and the missing positive are treated as in `losses`. Sums run in the
logarithm, so no temperature overflows.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robollm_core.errors import ConfigError, ShapeError
from robollm_core.training.losses import check_rows, plain_product, smoothed_cross_entropy

READINGS = ("intent", "printed")


@dataclass(frozen=True, slots=True)
class Robustness:
    """The settings of SCL-RHE.

    Attributes:
        beta: how strongly pairs are weighed by their similarity, from 0.
        tau_plus: chance that two samples share their latent class, in (0, 1).
        positive_weight: Q, of the positive term.
        negative_weight: W, of the negative term.
        reading: "intent" or "printed", see `scl_rhe_loss`.
    """

    beta: float = 1.0
    tau_plus: float = 0.1
    positive_weight: float = 1.0
    negative_weight: float = 1.0
    reading: str = "intent"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value is out of its range.
        """
        weights = min(self.positive_weight, self.negative_weight)
        if not (self.beta >= 0 and 0 < self.tau_plus < 1 and weights > 0):
            raise ConfigError(
                "SCL-RHE needs beta >= 0, tau_plus in (0, 1) and weights above 0, got "
                f"{self.beta}, {self.tau_plus}, {self.positive_weight}, {self.negative_weight}."
            )
        if self.reading not in READINGS:
            raise ConfigError(f"reading must be one of {READINGS}, got {self.reading!r}.")


def lacln_loss(embedding: Tensor, items: Tensor, tau: float = 0.5) -> Tensor:
    """Label-aware contrast in which a negative counts by its own similarity.

    Args:
        embedding: (N, D) float, unit length.
        items: (N,) int64; which item or class a row shows.
        tau: temperature, above 0.

    Returns:
        () float; the mean over the rows that have a positive. A row without a
        negative costs log |P(i)| and has no gradient.

    Raises:
        ShapeError: If the shapes disagree, or no row has a positive.

    Source:
        CLCE, eq. 5.3 and 5.4: L = sum_i -log( 1/|P(i)| A / (A + B) ),
        A = sum_{p in P(i)} exp(s_ip), s = z.z / tau,
        B = |N(i)| sum_{k in N(i)} exp(s_ik)^2 / sum_{k in N(i)} exp(s_ik),
        here a mean over i.
    """
    logits, positive, negative = _pairs(embedding, items, tau)
    count = positive.sum(1)
    total = _log_sum(logits, positive)
    heavy = _log_sum(2 * logits, negative) - _log_sum(logits, negative)
    heavy = heavy + negative.sum(1).clamp(min=1).to(logits.dtype).log()
    heavy = torch.where(negative.any(1), heavy, torch.full_like(heavy, _LOWEST))
    each = count.clamp(min=1).to(logits.dtype).log() + functional.softplus(heavy - total)
    return each[count > 0].mean()


def clce_loss(
    embedding: Tensor,
    items: Tensor,
    logits: Tensor,
    *,
    tau: float = 0.5,
    lam: float = 0.9,
    smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy and LACLN in one.

    Args:
        embedding: (N, D) float, unit length.
        items: (N,) int64 in 0..C-1.
        logits: (N, C) float of a classifier.
        tau: temperature of LACLN.
        lam: share of LACLN, 0 to 1.
        smoothing: of the labels of the cross-entropy.

    Returns:
        () float.

    Raises:
        ShapeError: If the shapes disagree, or no row has a positive.

    Source:
        CLCE, eq. 5.2: L = (1 - lam) CE + lam LACLN.
    """
    entropy = smoothed_cross_entropy(logits, items, smoothing)
    return (1 - lam) * entropy + lam * lacln_loss(embedding, items, tau)


def scl_rhe_loss(
    embedding: Tensor, items: Tensor, tau: float = 0.5, settings: Robustness | None = None
) -> Tensor:
    """Supervised contrast that is robust to human labelling errors.

    The thesis contradicts itself about the importance weight of positives.
    Reading "intent", the default, takes its stated principle P2 and eq. 5.11:
    the positive term is weighed by exp(-beta s), so easy positives count less.
    Reading "printed" takes eq. 5.16: exp(beta s), so easy positives count more.
    Within a term both expectations carry the same weight, without which the
    subtraction would not debias; the negative term has exp(beta s) in both.

    Args:
        embedding: (N, D) float, unit length.
        items: (N,) int64; the assigned labels, some of them wrong.
        tau: temperature, above 0; s = z.z / tau.
        settings: beta, tau+, Q, W and the reading; None for the defaults.

    Returns:
        () float; the mean over the rows that have a positive. K is |P(i)|,
        which shifts the value and has no gradient. An empty set of negatives
        has expectation 0.

    Raises:
        ShapeError: If the shapes disagree, or no row has a positive.

    Source:
        SCL-RHE, eq. 5.19: L = -log( 1/K pos / (pos + neg) ),
        pos = Q/tau+ ( E_P[w] - tau- E_N[w] ), neg = W/tau- ( E_N[v] - tau+ E_P[v] ),
        E_S[w] = mean_S w e^s / mean_S w, v = e^{beta s}, w as read. Both are
        clamped below by their least value Q e^{-1/tau} and W e^{-1/tau}.
    """
    told = settings or Robustness()
    logits, positive, negative = _pairs(embedding, items, tau)
    tilt = told.beta if told.reading == "printed" else -told.beta
    minus = 1 - told.tau_plus
    pulls = _log_difference(
        _log_mean(logits, positive, tilt), _log_mean(logits, negative, tilt), minus
    ) - math.log(told.tau_plus)
    pushes = _log_difference(
        _log_mean(logits, negative, told.beta),
        _log_mean(logits, positive, told.beta),
        told.tau_plus,
    ) - math.log(minus)
    pulls = pulls.clamp(min=-1 / tau) + math.log(told.positive_weight)
    pushes = pushes.clamp(min=-1 / tau) + math.log(told.negative_weight)
    count = positive.sum(1)
    each = count.clamp(min=1).to(logits.dtype).log() + functional.softplus(pushes - pulls)
    return each[count > 0].mean()


_LOWEST = -1e30
"""The logarithm of nothing: finite, so that no difference is NaN, and its exp is 0."""


def _pairs(embedding: Tensor, items: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, N), and which pairs are positives and negatives."""
    check_rows(embedding, items)
    if not tau > 0:
        raise ShapeError(f"the temperature must be above 0, got {tau}.")
    same = items[:, None] == items[None, :]
    itself = torch.eye(len(items), dtype=torch.bool, device=items.device)
    positive = same & ~itself
    if not bool(positive.any()):
        raise ShapeError("every row shows another item; two images of one are needed.")
    return plain_product(embedding, embedding.T) / tau, positive, ~same


def _log_sum(logits: Tensor, chosen: Tensor) -> Tensor:
    return logits.masked_fill(~chosen, _LOWEST).logsumexp(dim=1)


def _log_mean(logits: Tensor, chosen: Tensor, tilt: float) -> Tensor:
    """Log of mean(e^{(tilt + 1) s}) / mean(e^{tilt s}); `_LOWEST` over nothing."""
    mean = _log_sum((tilt + 1) * logits, chosen) - _log_sum(tilt * logits, chosen)
    return torch.where(chosen.any(1), mean, torch.full_like(mean, _LOWEST))


def _log_difference(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(e^first - share e^second); `_LOWEST` where that is not positive."""
    gap = second + math.log(share) - first
    small = gap < 0
    # the logarithm of the other branch must stay finite, or its gradient is NaN
    inner = torch.log(-torch.expm1(torch.where(small, gap, torch.full_like(gap, -1.0))))
    return torch.where(small, first + inner, torch.full_like(first, _LOWEST))
