# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The identification network: images in, unit embeddings out.

Source: spec 1.3. One view: encoder, linear projection, L2. Three views: the
encoder outputs side by side, a 2-layer MLP back to one, then the same
projection and L2. References take the one-view path.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.checkpoint import read_checkpoint, restore
from robollm_core.beit3.encoder import Encoder, normalise
from robollm_core.beit3.heads import build_head, head_from, last_layer
from robollm_core.beit3.layers import NORM_EPS
from robollm_core.errors import CheckpointError, ConfigError, ShapeError
from robollm_core.identification.released import Released, ThreeViewNetwork, build_released

VIEWS = 3
LOG_SCALE = math.log(1 / 0.07)
"""Where the temperature starts, as in CLIP (Radford et al., 2021)."""


class Fusion(nn.Module):
    """Three view features to one, by a 2-layer MLP.

    Starts as the mean of the views, exactly: gelu(x) - gelu(-x) = x lets the
    first 2d inner units carry the mean through, and the others begin silent.
    """

    def __init__(self, width: int, inner: int) -> None:
        """Build 3d -> inner -> d.

        Raises:
            ConfigError: If inner is below 2d, too narrow to carry the mean.
        """
        super().__init__()
        if inner < 2 * width:
            raise ConfigError(f"fusion must be at least {2 * width} wide, got {inner}.")
        self.fc1 = nn.Linear(VIEWS * width, inner)
        self.fc2 = nn.Linear(inner, width)
        self._start_as_mean(width)

    @torch.no_grad()
    def _start_as_mean(self, width: int) -> None:
        identity = torch.eye(width)
        mean = identity.repeat(1, VIEWS) / VIEWS
        nn.init.xavier_uniform_(self.fc1.weight)
        self.fc1.weight[: 2 * width] = torch.cat((mean, -mean))
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.weight)
        self.fc2.weight[:, : 2 * width] = torch.cat((identity, -identity), dim=1)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 3, d) to (N, d)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(features.flatten(1))))
        return out


class IdentificationModel(nn.Module):
    """Encoder, projection and 3-view fusion.

    Attributes:
        log_scale: () the learned log inverse temperature of its similarities; it
            takes no part in `forward`, and ships in the sidecar.
    """

    def __init__(self, encoder: Encoder, embedding: int, fusion: int, head: str = "linear") -> None:
        """Put heads on an encoder.

        Args:
            encoder: the backbone, width d.
            embedding: width D of an embedding.
            fusion: inner width of the 3-view MLP, at least 2d.
            head: the projection, "linear" or "mlp".
        """
        super().__init__()
        self.encoder = encoder
        self.fc_norm = nn.LayerNorm(encoder.width, eps=NORM_EPS)
        self.projection = build_head(head, encoder.width, embedding, bias=False)
        self.fusion = Fusion(encoder.width, fusion)
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE))
        nn.init.xavier_uniform_(last_layer(self.projection).weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed single images.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            embedding (N, D) of unit length, feature (N, d) before the projection.
        """
        feature = self.features(images)
        return self.embed(feature), feature

    def features(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 to (N, d): mean patch token, then fc_norm."""
        out: Tensor = self.fc_norm(self.encoder.pooled(normalise(images)))
        return out

    def embed(self, feature: Tensor) -> Tensor:
        """(N, d) to (N, D), projected and scaled to unit length."""
        return functional.normalize(self.projection(feature), dim=-1)

    def fuse(self, features: Tensor) -> Tensor:
        """Embed picks seen three times.

        Args:
            features: (N, 3, d) of `features`, in the order PickRGB,
                OnArmLowRGB, ToteWallRGB.

        Returns:
            (N, D) of unit length.

        Raises:
            ShapeError: If there are not three views.
        """
        if features.dim() != 3 or features.shape[1] != VIEWS:
            raise ShapeError(f"features must be (N, {VIEWS}, d), got {tuple(features.shape)}.")
        return self.embed(self.fusion(features))


class FusionGraph(nn.Module):
    """The 3-view path alone, as it is exported: features in, embedding out."""

    def __init__(self, model: IdentificationModel | ThreeViewNetwork) -> None:
        """Share the weights of `model`."""
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """(N, 3, d) to (N, D)."""
        return self.model.fuse(features)


def build_identification(settings: Mapping[str, Any]) -> IdentificationModel:
    """Build the network from the "model" branch of a recipe.

    Args:
        settings: "size" (tiny, base, large), "img_size" (pixels), "embedding"
            (default: width of the encoder), "fusion" (default: ffn of the
            encoder), "drop_path" (default 0), "head" (linear, mlp; default linear).

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    head, others = head_from(settings)
    encoder = encoder_from(others, known=("embedding", "fusion"))
    embedding = settings.get("embedding", encoder.width)
    return IdentificationModel(encoder, embedding, settings.get("fusion", encoder.shape.ffn), head)


def build_graph(settings: Mapping[str, Any]) -> IdentificationModel | Released:
    """Build the network of a checkpoint, trained here or released.

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    return build_released(settings) if "released" in settings else build_identification(settings)


def load_graph(path: Path) -> IdentificationModel | Released:
    """The one-view network of a checkpoint file, as it is exported.

    Raises:
        CheckpointError: If the file cannot be read or does not fit.
    """
    return restore(read_checkpoint(path), build_graph)


def load_fusion_graph(path: Path) -> FusionGraph:
    """The 3-view path of a checkpoint file, as it is exported.

    Raises:
        CheckpointError: If the file cannot be read, does not fit or has no such path.
    """
    model = load_graph(path)
    if not isinstance(model, IdentificationModel | ThreeViewNetwork):
        raise CheckpointError(f"{path} embeds single views; it has no 3-view path.")
    return FusionGraph(model)
