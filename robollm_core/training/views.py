# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two views of a crop find each other among the views of others.

Source: T. Chen et al., "A Simple Framework for Contrastive Learning of Visual
Representations" (SimCLR, 2020).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robollm_core.beit3.encoder import Encoder
from robollm_core.data.augmentation import NO_DISGUISE, Strength, augment
from robollm_core.training.distributed import gather
from robollm_core.training.losses import label_contrastive_loss
from robollm_core.training.pretext import Learner, Pretext
from robollm_core.training.sparse import choose_patches, pooled_sparse
from robollm_core.types import UInt8Array

_EMBEDDING = 128


def two_view_loss(one: Tensor, two: Tensor, pictures: Tensor, tau: float) -> Tensor:
    """Pull the two views of a picture together, and away from all other views.

    Args:
        one: (N, D) float, unit length, first views.
        two: (N, D) float, unit length, second views.
        pictures: (N,) int64; a picture drawn twice is no negative of itself.
        tau: temperature, 0.01 to 1.

    Returns:
        () float32.

    Raises:
        ShapeError: If the shapes disagree.

    Source:
        SimCLR, eq. 1 (NT-Xent), over all 2N rows z and with P(i) the rows of i's
        picture without i, one row when no picture comes twice:
        L = mean_i -1/|P(i)| sum_{p in P(i)}
        log( exp(z_i.z_p/tau) / sum_{a != i} exp(z_i.z_a/tau) ).
    """
    scale = torch.tensor(-math.log(tau), device=one.device)
    return label_contrastive_loss(torch.cat((one, two)), torch.cat((pictures, pictures)), scale)


class Projector(Learner):
    """The encoder, and a perceptron on its mean token, which does not ship."""

    def __init__(self, encoder: Encoder) -> None:
        """Put a perceptron of one hidden layer on an encoder."""
        super().__init__(encoder)
        self.projection = nn.Sequential(
            nn.Linear(encoder.width, encoder.width),
            nn.LayerNorm(encoder.width),
            nn.GELU(),
            nn.Linear(encoder.width, _EMBEDDING),
        )

    def forward(self, images: Tensor, kept: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to (N, 128) float32 of unit length.

        Args:
            images: S the encoder's native size.
            kept: (N, K) int64, the patches to look at.
        """
        embedded = self.projection(pooled_sparse(self.encoder, images, kept))
        return functional.normalize(embedded.float(), dim=1)


class TwoViews(Pretext):
    """Asks which views are of one picture."""

    network: Projector
    views = 2

    def __init__(self, network: Projector, tau: float, strength: Strength, seed: int) -> None:
        """Hold the network.

        Args:
            network: projector.
            tau: temperature.
            strength: how far the views of the validation are changed.
            seed: of the views of the validation.
        """
        super().__init__(network)
        self.tau, self.strength, self.seed = tau, strength, seed

    def loss(
        self, images: Tensor, pictures: Tensor, keep: float
    ) -> tuple[Tensor, dict[str, float]]:
        """`two_view_loss` over the batches of all processes."""
        embedded = self.network(images, choose_patches(images, keep))
        one, two = (gather(part, len(pictures)) for part in embedded.chunk(2))
        found = _first_rank(one.detach(), two.detach(), pictures)
        return two_view_loss(one, two, pictures, self.tau), {"top1": found}

    def judge(self, network: nn.Module, crops: UInt8Array) -> dict[str, float]:
        """Loss, and how often the nearest of all second views is the right one, which decides."""
        assert isinstance(network, Projector)
        embedded = []
        for turn in range(2):
            parts = []
            for images in self.chunks(self._changed(crops, turn)):
                parts.append(network(images, choose_patches(images, 1.0)))
            embedded.append(torch.cat(parts))
        pictures = torch.arange(len(crops), device=embedded[0].device)
        loss = float(two_view_loss(embedded[0], embedded[1], pictures, self.tau))
        found = _first_rank(embedded[0], embedded[1], pictures)
        return {"loss": loss, "top1": found, "select": found}

    def _changed(self, crops: UInt8Array, turn: int) -> UInt8Array:
        size = crops.shape[1]
        views = []
        for number, crop in enumerate(crops):
            rng = np.random.default_rng((self.seed, turn, number))
            views.append(augment(crop, size, self.strength, rng, NO_DISGUISE))
        return np.stack(views)


def _first_rank(one: Tensor, two: Tensor, pictures: Tensor) -> float:
    """How often the nearest second view is of the picture of the first view."""
    nearest = (one @ two.T).argmax(1)
    return float((pictures[nearest] == pictures).float().mean())
