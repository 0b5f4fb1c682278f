# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What an encoder may learn from pictures without labels: three objectives, one contract.

"distil" (`distil`) repeats a teacher, "masked" (`masked`) paints what it does
not see, "views" (`views`) finds the other view of a crop.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from robollm_core.beit3.encoder import Encoder
from robollm_core.types import UInt8Array

OBJECTIVES = ("distil", "masked", "views")
MASKS = ("random", "block")
CHUNK = 64
"""Pictures of a validation that are looked at together."""


class Learner(nn.Module):
    """An encoder, and beside it what the objective needs and no stage takes over."""

    def __init__(self, encoder: Encoder) -> None:
        """Hold the encoder."""
        super().__init__()
        self.encoder = encoder


AnyLearner = TypeVar("AnyLearner", bound=Learner)


class Pretext(nn.Module):
    """An objective, and the network that follows it.

    Attributes:
        network: what is trained; its encoder is what the stages start from.
        views: how many changed views of a picture a step needs.
    """

    views = 1

    def __init__(self, network: Learner) -> None:
        """Hold the network."""
        super().__init__()
        self.network = network

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.encoder.cls_token.device

    @abstractmethod
    def loss(
        self, images: Tensor, pictures: Tensor, keep: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch.

        Args:
            images: (views * n, S, S, 3) uint8, all first views, then all second
                ones; of the shard of this process.
            pictures: (N,) int64, which picture each row of the global batch shows.
            keep: fraction of the patches to look at, where the objective leaves
                a choice.

        Returns:
            () float32, and figures to log.
        """

    @abstractmethod
    def judge(self, network: nn.Module, crops: UInt8Array) -> dict[str, float]:
        """Figures of a network of this kind on (V, S, S, 3) uint8 crops; "select" decides."""

    def chunks(self, crops: UInt8Array) -> Iterator[Tensor]:
        """The crops by `CHUNK`, on the device of the network."""
        for start in range(0, len(crops), CHUNK):
            part = np.array(crops[start : start + CHUNK])  # a copy: the cache is read-only
            yield torch.from_numpy(part).to(self.device)
