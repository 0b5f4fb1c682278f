# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""AdamW or Muon with layer-wise rates, the schedule, and the running mean of the weights."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from robollm_core.errors import ConfigError
from robollm_core.training.recipe import LoopRecipe

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers)\.(\d+)\.")
_BOTTOM = re.compile(r"cls_token|position|pos_embed|patch|embed\.")


def depth_of(name: str, blocks: int) -> int:
    """Distance of a parameter from the pixels.

    Args:
        name: dotted parameter name.
        blocks: number of transformer blocks of the encoder.

    Returns:
        0 for patches and positions, i + 1 for block i, blocks + 1 for all above.
    """
    match = _BLOCK.search(name)
    if match:
        return min(int(match.group(1)), blocks - 1) + 1
    return 0 if _BOTTOM.search(name) else blocks + 1


def parameter_groups(
    module: nn.Module, *, weight_decay: float, layer_decay: float, blocks: int
) -> list[dict[str, Any]]:
    """Group parameters by depth and by whether they decay.

    Biases, norms, tokens, positions and scalars do not decay. The group's
    "scale" is layer_decay ** (blocks + 1 - depth); multiply it with the rate.

    Args:
        module: what is trained; frozen parameters are left out.
        weight_decay: of the matrices.
        layer_decay: 1 gives every depth the same rate.
        blocks: number of transformer blocks.

    Returns:
        AdamW groups, deepest last, in a fixed order; "hidden" marks those that
        hold the matrices of the blocks alone.
    """
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depth_of(name, blocks)
        decays = parameter.ndim >= 2 and "token" not in name and "pos" not in name
        hidden = parameter.ndim == 2 and _BLOCK.search(name) is not None
        group = groups.setdefault(
            (depth, decays, hidden),
            {
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
                "scale": layer_decay ** (blocks + 1 - depth),
                "hidden": hidden,
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


class Paired:
    """Two optimisers, each with parameters of its own, used as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        """Hold the parts."""
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, the very dictionaries."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each part."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of all parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back.

        Raises:
            ValueError: If it is of another number of parts, or does not fit one.
        """
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)


OPTIMIZERS = ("adamw", "muon")


def build_optimizer(module: nn.Module, recipe: LoopRecipe, blocks: int) -> Paired:
    """The optimiser of a recipe over the groups of `parameter_groups`.

    "adamw" is AdamW for everything, betas (0.9, 0.98) for short runs. "muon"
    gives the matrices of the transformer blocks to Muon, torch's own, with
    updates scaled to the size of AdamW's, so that one rate serves both.

    Source: K. Jordan et al., "Muon" (2024); the scaling is that of J. Liu et
    al., "Muon is Scalable for LLM Training" (2025).

    Raises:
        ConfigError: If there is no such optimiser.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {recipe.optimizer!r}."
        )
    groups = parameter_groups(
        module,
        weight_decay=recipe.weight_decay,
        layer_decay=recipe.layer_decay,
        blocks=blocks,
    )
    muon = recipe.optimizer == "muon"
    hidden = [group for group in groups if muon and group["hidden"]]
    others = [group for group in groups if not (muon and group["hidden"])]
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    ]
    if hidden:
        parts.append(torch.optim.Muon(hidden, lr=recipe.rate, adjust_lr_fn="match_rms_adamw"))
    return Paired(*parts)


def progress(step: int, steps: int, elapsed_s: float, minutes: float | None) -> float:
    """How far the run is, 0 to 1: by steps, or by time when time ends it sooner.

    A time budget stretches or shortens the schedule, so that the rate reaches
    its floor when the clock does.
    """
    by_steps = step / steps
    by_time = elapsed_s / (60.0 * minutes) if minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def rate_factor(done: float, *, warmup: float, floor: float) -> float:
    """Cosine with linear warm-up.

    Args:
        done: progress, 0 to 1.
        warmup: fraction of the run that rises linearly from 1 % of the rate.
        floor: factor at the end.

    Returns:
        Factor of the peak rate, in [floor, 1] after the warm-up.

    Raises:
        ConfigError: If warm-up or floor is outside [0, 1).
    """
    if not (0.0 <= warmup < 1.0 and 0.0 <= floor < 1.0):
        raise ConfigError(f"warmup and floor must be in [0, 1), got {warmup} and {floor}.")
    if done < warmup:
        return max(0.01, done / warmup)
    fraction = (done - warmup) / (1.0 - warmup)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))


def set_rate(optimizer: Paired, rate: float) -> None:
    """Give every group the rate times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def running_mean(module: nn.Module, decay: float) -> AveragedModel:
    """Exponential mean of the weights; young means forget faster.

    The decay in force after n updates is min(decay, (1 + n) / (10 + n)), so a
    short run is not held back by its random start.
    """

    @torch.no_grad()
    def blend(means: Any, weights: Any, updates: Any) -> None:
        count = float(updates)
        keep = min(decay, (1.0 + count) / (10.0 + count))
        floating = [i for i, mean in enumerate(means) if mean.is_floating_point()]
        torch._foreach_lerp_(
            [means[i] for i in floating], [weights[i] for i in floating], 1.0 - keep
        )

    return AveragedModel(module, multi_avg_fn=blend)


def clip_gradient(module: nn.Module, limit: float) -> Tensor:
    """Scale the gradient down to a norm of at most `limit`; returns the norm before."""
    return torch.nn.utils.clip_grad_norm_(module.parameters(), limit)
