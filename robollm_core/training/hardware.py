# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a run computes on, and in which precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from robollm_core.errors import ConfigError, RuntimeUnavailableError
from robollm_core.training.recipe import LoopRecipe

PRECISIONS = ("auto", "fp32", "bf16")


def pick_device(recipe: LoopRecipe) -> torch.device:
    """The device the recipe asks for; with several processes, the one of this process.

    Raises:
        RuntimeUnavailableError: If it is not there.
    """
    if recipe.device not in ("cpu", "cuda"):
        raise RuntimeUnavailableError(f"device must be cpu or cuda, got {recipe.device!r}.")
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            "the recipe asks for cuda and torch sees no such device: add --set device=cpu, or "
            "install a torch and a driver for the GPU."
        )
    if recipe.threads > 0:
        torch.set_num_threads(recipe.threads)
    if recipe.device == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    # sharp attention has gradients too small for normal floats, on which a CPU
    # computes so slowly that a step of a trained network takes twice its time
    torch.set_flush_denormal(True)
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself, as torch reports it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public question for this on a CPU
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def pick_precision(recipe: LoopRecipe, device: torch.device) -> str:
    """The precision of the forward pass.

    Returns:
        "fp32" or "bf16"; for "auto" bf16 where the hardware has it.

    Raises:
        ConfigError: If the recipe names another.
    """
    if recipe.precision not in PRECISIONS:
        raise ConfigError(
            f"precision must be one of {', '.join(PRECISIONS)}, got {recipe.precision!r}."
        )
    if recipe.precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return recipe.precision


def plain_attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention as matrix products on a CPU, torch's choice elsewhere.

    For short sequences the backward of the CPU's fused kernel takes longer than
    the products it saves: a step of the tiny encoder is a fifth faster without.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
