# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The defect network: encoder, pooling, 3-class head (spec 1.4)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.checkpoint import read_checkpoint, restore
from robollm_core.beit3.encoder import Encoder, normalise
from robollm_core.beit3.heads import build_head, head_from, last_layer
from robollm_core.beit3.layers import NORM_EPS
from robollm_core.types import DEFECT_LABELS


class DefectModel(nn.Module):
    """Encoder and classifier; classes in the order of `DEFECT_LABELS`."""

    def __init__(self, encoder: Encoder, head: str = "linear") -> None:
        """Put a classifier, "linear" or "mlp", on an encoder."""
        super().__init__()
        self.encoder = encoder
        self.fc_norm = nn.LayerNorm(encoder.width, eps=NORM_EPS)
        self.head = build_head(head, encoder.width, len(DEFECT_LABELS), bias=True)
        nn.init.trunc_normal_(last_layer(self.head).weight, std=0.02)
        nn.init.zeros_(last_layer(self.head).bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to (N, 3) logits."""
        out: Tensor = self.head(self.features(images))
        return out

    def features(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 to (N, d): mean patch token, then fc_norm."""
        out: Tensor = self.fc_norm(self.encoder.pooled(normalise(images)))
        return out


class DefectGraph(nn.Module):
    """The network as it is exported: images in, probabilities out."""

    def __init__(self, model: DefectModel) -> None:
        """Share the weights of `model`."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to (N, 3) probabilities that sum to 1."""
        logits: Tensor = self.model(images)
        return logits.softmax(dim=-1)


def build_defects(settings: Mapping[str, Any]) -> DefectModel:
    """Build the network from the "model" branch of a recipe.

    Args:
        settings: "size" (tiny, base, large), "img_size" (pixels), "drop_path"
            (default 0), "head" (linear, mlp; default linear).

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    head, others = head_from(settings)
    return DefectModel(encoder_from(others), head)


def load_graph(path: Path) -> DefectGraph:
    """The network of a checkpoint file, as it is exported.

    Raises:
        CheckpointError: If the file cannot be read or does not fit.
    """
    return DefectGraph(restore(read_checkpoint(path), build_defects)).eval()
