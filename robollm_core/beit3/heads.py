# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What sits between the pooled feature and the answer of a crop network."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from robollm_core.errors import ConfigError

HEADS = ("linear", "mlp")


def head_from(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take the name of the head out of the "model" branch of a recipe.

    Args:
        settings: with or without "head"; older checkpoints have none.

    Returns:
        The name, "linear" by default, and the other settings.

    Raises:
        ConfigError: If there is no such head.
    """
    name = settings.get("head", "linear")
    if name not in HEADS:
        raise ConfigError(f"no head {name!r}; the heads are {', '.join(HEADS)}.")
    return name, {key: value for key, value in settings.items() if key != "head"}


def build_head(name: str, width: int, out: int, *, bias: bool) -> nn.Module:
    """Build a head, (N, width) to (N, out).

    Args:
        name: "linear", or "mlp": two layers with a ReLU, the inner one as wide
            as the input.
        width: of the features.
        out: of the answer.
        bias: of the last layer.

    Source:
        The projection of LaCViT (spec section 3) for "mlp".
    """
    last = nn.Linear(width, out, bias=bias)
    if name == "linear":
        return last
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)


def last_layer(head: nn.Module) -> nn.Linear:
    """The layer that gives the answer."""
    layer = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(layer, nn.Linear)
    return layer
