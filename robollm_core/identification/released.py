# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The identification networks of the released RoboLLM checkpoints, as they were trained.

Their embeddings are no unit vectors and are compared by raw dot products, and
an item scores as its best reference.

Source: Long et al., "RoboLLM" (ICRA 2024), and the names and shapes in its
checkpoints.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.encoder import Encoder, normalise
from robollm_core.beit3.layers import NORM_EPS
from robollm_core.beit3.layouts import (
    RELEASED_3T1,
    RELEASED_NEAREST,
    RELEASED_PICK1,
    VIEW_ORDER,
)
from robollm_core.errors import ConfigError, ShapeError

OUR_VIEWS = ("PickRGB", "OnArmLowRGB", "ToteWallRGB")
"""The order in which this package hands three views to a network."""


class Released(nn.Module):
    """What the released networks share.

    Attributes:
        outputs: names of what `forward` returns, in order.
        log_scale: () the log inverse temperature of their training; raw dot
            products are ranked without it.
    """

    outputs: tuple[str, ...] = ()

    def __init__(self, encoder: Encoder) -> None:
        """Hold an encoder."""
        super().__init__()
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def cls(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 to (N, d), the CLS token after the final norm."""
        tokens: Tensor = self.encoder(normalise(images))
        return tokens[:, 0]


class MeanPatchNetwork(Released):
    """armbenchpick1: the mean patch token through fc_norm is the embedding."""

    outputs = ("embedding",)

    def __init__(self, encoder: Encoder) -> None:
        """Put fc_norm on an encoder of width d."""
        super().__init__(encoder)
        self.fc_norm = nn.LayerNorm(encoder.width, eps=NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to (N, d), of query and reference alike."""
        out: Tensor = self.fc_norm(self.encoder.pooled(normalise(images)))
        return out


class ClsNetwork(Released):
    """armbenchpick1_nearestref: CLS through one matrix for queries, another for references."""

    outputs = ("embedding", "reference")

    def __init__(self, encoder: Encoder) -> None:
        """Put two matrices without bias on an encoder of width d."""
        super().__init__(encoder)
        self.query_head = nn.Linear(encoder.width, encoder.width, bias=False)
        self.reference_head = nn.Linear(encoder.width, encoder.width, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, S, 3) uint8 RGB to (N, d) as a query and (N, d) as a reference."""
        cls = self.cls(images)
        return self.query_head(cls), self.reference_head(cls)


class Pooler(nn.Module):
    """CLS, LayerNorm, dense, tanh."""

    def __init__(self, width: int) -> None:
        """Build for tokens of `width` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dense = nn.Linear(width, width)

    def forward(self, cls: Tensor) -> Tensor:
        """(N, d) to (N, d) in (-1, 1)."""
        return torch.tanh(self.dense(self.norm(cls)))


class FusionHead(nn.Module):
    """LayerNorm, dense, LayerNorm, GELU (erf), dense: 3d to d."""

    def __init__(self, width: int) -> None:
        """Build for three views of `width` channels."""
        super().__init__()
        inner = len(VIEW_ORDER) * width
        self.norm1 = nn.LayerNorm(inner, eps=NORM_EPS)
        self.dense1 = nn.Linear(inner, inner)
        self.norm2 = nn.LayerNorm(inner, eps=NORM_EPS)
        self.dense2 = nn.Linear(inner, width)

    def forward(self, views: Tensor) -> Tensor:
        """(N, 3d) to (N, d)."""
        inner = self.norm2(self.dense1(self.norm1(views)))
        out: Tensor = self.dense2(functional.gelu(inner))
        return out


class ThreeViewNetwork(Released):
    """armbench3t1: a pooler of its own for each view, one more for references.

    It answers for three views together and never for one: there is no "embedding"
    of a single image, only what a reference is embedded as.
    """

    outputs = ("reference", "feature")

    def __init__(self, encoder: Encoder) -> None:
        """Put four poolers and the head on an encoder of width d."""
        super().__init__(encoder)
        poolers = (Pooler(encoder.width) for _ in VIEW_ORDER)
        self.view_poolers = nn.ModuleList(poolers)
        self.reference_pooler = Pooler(encoder.width)
        self.fusion = FusionHead(encoder.width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, S, 3) uint8 RGB to (N, d) as a reference, and the CLS token (N, d) for `fuse`."""
        cls = self.cls(images)
        return self.reference_pooler(cls), cls

    def fuse(self, features: Tensor) -> Tensor:
        """Embed picks seen three times.

        Args:
            features: (N, 3, d) CLS tokens in the order of `OUR_VIEWS`; the order
                of the poolers is `VIEW_ORDER`.

        Returns:
            (N, d).

        Raises:
            ShapeError: If there are not three views.
        """
        if features.dim() != 3 or features.shape[1] != len(VIEW_ORDER):
            raise ShapeError(f"features must be (N, 3, d), got {tuple(features.shape)}.")
        pooled = [
            pooler(features[:, OUR_VIEWS.index(view)])
            for pooler, view in zip(self.view_poolers, VIEW_ORDER, strict=True)
        ]
        out: Tensor = self.fusion(torch.cat(pooled, dim=-1))
        return out


NETWORKS: dict[str, type[Released]] = {
    RELEASED_PICK1.name: MeanPatchNetwork,
    RELEASED_3T1.name: ThreeViewNetwork,
    RELEASED_NEAREST.name: ClsNetwork,
}


def build_released(settings: Mapping[str, Any]) -> Released:
    """Build a released network from the "model" branch of a converted checkpoint.

    Args:
        settings: "released", a key of `NETWORKS`, "size" and "img_size".

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    name = settings.get("released")
    if name not in NETWORKS:
        raise ConfigError(f"no released network {name!r}; there are {', '.join(NETWORKS)}.")
    others = {key: value for key, value in settings.items() if key != "released"}
    return NETWORKS[name](encoder_from(others))
