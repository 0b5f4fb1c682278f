# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The objectives of identification by name, over the pairs of a batch.

A batch that has nothing to compare (no positive) gives an exact zero with a
zero gradient: the pure functions refuse it, a run must not die of it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robollm_core.errors import ConfigError
from robollm_core.training.clusters import margin_softmax_loss, sample_centres
from robollm_core.training.losses import (
    centroid_triplet_loss,
    contrastive_loss,
    label_contrastive_loss,
    lifted,
    row_contrastive_loss,
    smoothed_cross_entropy,
)
from robollm_core.training.weighted import Robustness, lacln_loss, scl_rhe_loss


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The rows of a batch.

    Attributes:
        query: (N, D) float, unit length; picked items.
        reference: (M, D) float, unit length; catalogue pictures.
        query_items: (N,) int64; which item a row shows.
        reference_items: (M,) int64.
        query_classes: (N,) int64; item or cluster number in the whole data set,
            -1 for a row that looks like none of them (disguised).
        reference_classes: (M,) int64.
    """

    query: Tensor
    reference: Tensor
    query_items: Tensor
    reference_items: Tensor
    query_classes: Tensor
    reference_classes: Tensor

    @property
    def embedding(self) -> Tensor:
        """(N + M, D), queries first."""
        return torch.cat((self.query, self.reference))

    @property
    def items(self) -> Tensor:
        """(N + M,) int64."""
        return torch.cat((self.query_items, self.reference_items))

    @property
    def classes(self) -> Tensor:
        """(N + M,) int64."""
        return torch.cat((self.query_classes, self.reference_classes))

    @property
    def nothing(self) -> Tensor:
        """() a zero that the embeddings have a zero gradient of."""
        return 0.0 * lifted(self.query).sum() + 0.0 * lifted(self.reference).sum()

    def matched(self) -> bool:
        """Whether a query shares its item with a reference."""
        return bool(torch.isin(self.query_items, self.reference_items).any())

    def repeated(self) -> bool:
        """Whether two rows show one item."""
        return len(self.items.unique()) < len(self.items)


class Objective(nn.Module):
    """Turns pairs into a loss; what it trains beside the network does not ship.

    Attributes:
        own_tau: temperature of the objective where the recipe gives none; 0 where it
            is the network's learned one, or there is none.
    """

    own_tau = 0.0

    def __init__(self, classes: int, width: int, tau: float) -> None:
        """Keep the temperature.

        Args:
            classes: items of the data set.
            width: D of the embeddings.
            tau: temperature; 0 for the objective's own.
        """
        super().__init__()
        self.tau = tau
        self.classes = classes
        self.width = width

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """() float; `log_scale` is the network's learned log inverse temperature."""
        raise NotImplementedError

    @property
    def temperature(self) -> float:
        """The fixed temperature; 0 where it is learned, or there is none."""
        return self.tau or self.own_tau

    def scale(self, log_scale: Tensor) -> Tensor:
        """The learned log scale, or that of the fixed temperature."""
        if not self.temperature:
            return log_scale
        return torch.full_like(log_scale, -math.log(self.temperature))


class InfoNCE(Objective):
    """Symmetric InfoNCE with positives by item: `contrastive_loss`."""

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        if not pairs.matched():
            return pairs.nothing
        return contrastive_loss(
            pairs.query,
            pairs.reference,
            pairs.query_items,
            pairs.reference_items,
            self.scale(log_scale),
        )


class RowInfoNCE(Objective):
    """Symmetric InfoNCE with positives by row: `row_contrastive_loss`.

    The n-th query of an item is paired with its n-th reference, counted around.
    """

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        own = pairs.query_items[:, None] == pairs.reference_items[None, :]
        rows = own.any(1)
        if not bool(rows.any()):
            return pairs.nothing
        same = pairs.query_items[:, None] == pairs.query_items[None, :]
        turn = same.tril(-1).sum(1) % own.sum(1).clamp(min=1)
        nth = own & (own.cumsum(1) == turn[:, None] + 1)
        partner = nth.float().argmax(1)[rows]
        scale = self.scale(log_scale)
        return row_contrastive_loss(pairs.query[rows], pairs.reference[partner], scale)


class LaCViT(Objective):
    """`label_contrastive_loss` over all rows, tau 0.1."""

    own_tau = 0.1

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        if not pairs.repeated():
            return pairs.nothing
        return label_contrastive_loss(pairs.embedding, pairs.items, self.scale(log_scale))


class CLCE(Objective):
    """LACLN over all rows, tau 0.5, and cross-entropy over the items of the data set."""

    share = 0.9
    own_tau = 0.5

    def __init__(self, classes: int, width: int, tau: float) -> None:
        """As `Objective`, with a linear classifier of items."""
        super().__init__(classes, width, tau)
        self.classifier = nn.Linear(width, classes)

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        embedding, classes, loss = pairs.embedding, pairs.classes, pairs.nothing
        if pairs.repeated():
            loss = loss + self.share * lacln_loss(embedding, pairs.items, self.temperature)
        known = classes >= 0
        if bool(known.any()):
            logits = self.classifier(lifted(embedding[known]))
            entropy = smoothed_cross_entropy(logits, classes[known])
            loss = loss + (1 - self.share) * entropy
        return loss


class SclRhe(Objective):
    """`scl_rhe_loss` over all rows, tau 0.5, tau+ one by the number of items in the batch."""

    own_tau = 0.5

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        if not pairs.repeated():
            return pairs.nothing
        told = Robustness(tau_plus=1 / max(2, len(pairs.items.unique())))
        return scl_rhe_loss(pairs.embedding, pairs.items, self.temperature, told)


class CentroidTriplet(Objective):
    """`centroid_triplet_loss` of queries against centroids of references."""

    def __init__(self, classes: int, width: int, tau: float) -> None:
        """As `Objective`.

        Raises:
            ConfigError: If the recipe asks for a temperature.
        """
        super().__init__(classes, width, tau)
        if tau:
            raise ConfigError(f"the objective triplet has no temperature: set tau to 0, got {tau}.")

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        if not pairs.matched() or len(pairs.reference_items.unique()) < 2:
            return pairs.nothing
        return centroid_triplet_loss(
            pairs.query, pairs.reference, pairs.query_items, pairs.reference_items
        )


class ClusterDiscrimination(Objective):
    """`margin_softmax_loss` of all rows over k-means centres; labels are not looked at.

    Attributes:
        centres: (C, D) float, set by `refresh`; neither parameters nor stored here.
        sampled: share of the centres of other clusters that a step looks at.
    """

    own_tau = 1 / 16

    def __init__(self, classes: int, width: int, tau: float) -> None:
        """As `Objective`, with as many clusters as there are items."""
        super().__init__(classes, width, tau)
        self.sampled = 0.5
        self.centres = torch.zeros(classes, width)

    def refresh(self, centres: Tensor) -> None:
        """Take new centres, (C, D)."""
        self.centres = centres

    def forward(self, pairs: Pairs, log_scale: Tensor) -> Tensor:
        """As `Objective.forward`."""
        known = pairs.classes >= 0
        if not bool(known.any()):
            return pairs.nothing
        labels = pairs.classes[known]
        chosen = sample_centres(labels, len(self.centres), self.sampled)
        return margin_softmax_loss(
            pairs.embedding[known],
            torch.searchsorted(chosen, labels),
            self.centres.to(labels.device)[chosen],
            scale=1 / self.temperature,
        )


OBJECTIVES: dict[str, type[Objective]] = {
    "infonce": InfoNCE,
    "infonce_rows": RowInfoNCE,
    "lacvit": LaCViT,
    "clce": CLCE,
    "scl_rhe": SclRhe,
    "triplet": CentroidTriplet,
    "cluster": ClusterDiscrimination,
}


def build_objective(name: str, classes: int, width: int, tau: float = 0.0) -> Objective:
    """Build an objective by its name in a recipe.

    Args:
        name: a key of `OBJECTIVES`.
        classes: items of the data set.
        width: D of the embeddings.
        tau: temperature; 0 for the objective's own (for InfoNCE a learned one).

    Raises:
        ConfigError: If there is no such objective, or tau is below 0.
    """
    if not 0.0 <= tau < math.inf:
        raise ConfigError(f"tau must be 0 (the objective's own) or above, got {tau}.")
    if name not in OBJECTIVES:
        raise ConfigError(f"no objective {name!r}; the objectives are {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name](classes, width, tau)
