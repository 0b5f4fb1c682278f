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
from robollm_core.beit3.layers import NORM_EPS
from robollm_core.types import DEFECT_LABELS


class DefectModel(nn.Module):
    """Encoder and linear classifier; classes in the order of `DEFECT_LABELS`."""

    def __init__(self, encoder: Encoder) -> None:
        """Put a classifier on an encoder."""
        super().__init__()
        self.encoder = encoder
        self.fc_norm = nn.LayerNorm(encoder.width, eps=NORM_EPS)
        self.head = nn.Linear(encoder.width, len(DEFECT_LABELS))
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 RGB to (N, 3) logits."""
        out: Tensor = self.head(self.fc_norm(self.encoder.pooled(normalise(images))))
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
            (default 0).

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    return DefectModel(encoder_from(settings))


def load_graph(path: Path) -> DefectGraph:
    """The network of a checkpoint file, as it is exported.

    Raises:
        CheckpointError: If the file cannot be read or does not fit.
    """
    return DefectGraph(restore(read_checkpoint(path), build_defects)).eval()
