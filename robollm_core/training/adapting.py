# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters on a frozen encoder: put on, counted, and made ready to ship.

MultiWay-Adapters are part of the network that ships (`beit3.adapters`). LoRA is
trained by peft beside the linear layers of the blocks and folded into their
weights when a checkpoint is written, so what ships is a plain network.

Source: E. Hu et al., "LoRA" (2022): W + alpha B A, A random, B zero at the start.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robollm_core.beit3.adapters import attach, is_adapter
from robollm_core.beit3.encoder import Encoder
from robollm_core.errors import CheckpointError, ConfigError
from robollm_core.training.recipe import AdapterRecipe

KINDS = ("multiway", "lora")
CHOICES = ("head", *KINDS)
"""What a recipe may ask for; with "head" there is nothing to carry besides the heads."""
TARGETS = re.compile(r"blocks\.\d+\.(attention\.(qkv|out)|ffn\.(fc1|fc2))")
"""The linear layers LoRA stands beside, by their names in the encoder."""

_SITE = "site"
_FACTOR = re.compile(rf"(.+\.lora_[AB])\.{_SITE}\.weight")
_FROZEN = ".base_layer."


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a module is trained.

    Attributes:
        trainable: parameters that take gradients.
        total: all parameters.
    """

    trainable: int
    total: int

    @property
    def fraction(self) -> float:
        """Trainable of total, 0 to 1."""
        return self.trainable / max(self.total, 1)

    def __str__(self) -> str:
        """As a training run prints it."""
        millions = f"{self.trainable / 1e6:.2f} M of {self.total / 1e6:.2f} M"
        return f"{millions} parameters are trained ({self.fraction:.2%})"


def trainable_share(module: nn.Module) -> Share:
    """Count the parameters of a module, shared ones once."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return Share(sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes))


def adapt(encoder: Encoder, recipe: AdapterRecipe) -> None:
    """Freeze an encoder and put the adapters of a recipe on it.

    Call it after the weights are loaded. At first the encoder answers as before;
    heads on it are not touched, they stay trainable.

    Args:
        encoder: plain, with the weights to adapt.
        recipe: its key adapter "" leaves everything as it is.

    Raises:
        ConfigError: If there is no such adapter, or a size is out of range.
    """
    if recipe.adapter == "":
        return
    if recipe.adapter not in CHOICES:
        raise ConfigError(
            f'adapter must be "" or one of {", ".join(CHOICES)}, got {recipe.adapter!r}.'
        )
    encoder.requires_grad_(False)
    if recipe.adapter == "multiway":
        attach(encoder, recipe.adapter_shape())
    elif recipe.adapter == "lora":
        attach_lora(encoder, recipe.adapter_rank, recipe.adapter_alpha)


def attach_lora(encoder: Encoder, rank: int, alpha: float) -> None:
    """Put LoRA beside the linear layers of the blocks, in place.

    The weights of the layers stay the very tensors they are.

    Args:
        encoder: without LoRA.
        rank: inner width of the two factors.
        alpha: factor of their product, whatever the rank.

    Raises:
        ConfigError: If the rank or alpha is not positive.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if rank < 1 or not 0.0 < alpha < float("inf"):
        raise ConfigError(f"LoRA needs a rank and an alpha above 0, got {rank} and {alpha}.")
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS.pattern, bias="none")
    inject_adapter_in_model(config, encoder, adapter_name=_SITE)
    for _, layer in lora_layers(encoder):
        layer.scaling[_SITE] = alpha  # peft divides by the rank; ours has one meaning for both
        layer.train(encoder.training)


def detach_lora(encoder: Encoder) -> None:
    """Take LoRA off: the layers it stood beside come back, the very modules."""
    for name, layer in lora_layers(encoder):
        parent, _, leaf = name.rpartition(".")
        setattr(encoder.get_submodule(parent), leaf, layer.base_layer)
    for left in ("peft_config", "active_adapter"):
        if hasattr(encoder, left):
            delattr(encoder, left)


def lora_layers(encoder: nn.Module) -> list[tuple[str, Any]]:
    """Names and modules of the layers that LoRA stands beside; peft has no types."""
    found = ((name, module) for name, module in encoder.named_modules() if TARGETS.fullmatch(name))
    return [(name, module) for name, module in found if hasattr(module, "base_layer")]


def find_encoder(network: nn.Module) -> tuple[str, Encoder]:
    """The encoder of a network and what its tensors' names begin with, "encoder." or longer.

    Raises:
        CheckpointError: If the network has none, or several.
    """
    found = [(name, part) for name, part in network.named_modules() if isinstance(part, Encoder)]
    if len(found) != 1:
        raise CheckpointError(
            f"{type(network).__name__} must have one encoder to adapt, it has {len(found)}."
        )
    return f"{found[0][0]}.", found[0][1]


def backbone(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The encoder's own tensors under plain names: no adapters, no heads.

    Args:
        tensors: of an encoder or a network, with or without adapters.
        prefix: what the names of the encoder begin with; it is taken off.
    """
    return {
        name.removeprefix(prefix).replace(_FROZEN, "."): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not is_adapter(name) and not _is_factor(name)
    }


def base_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of a backbone: names, shapes and float32 values, in the order of names.

    Args:
        tensors: of `backbone`.

    Returns:
        Hex digest; independent of device and of how a file stored the tensors.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def shipped(network: nn.Module) -> dict[str, Any]:
    """What best.pt holds of a network: weights, and factors of LoRA where it had them.

    Returns:
        "model", name to tensor, LoRA folded in; for a network with LoRA also
        "adapter": kind, rank, alpha, base_sha256 and the factors as "tensors".
    """
    state = network.state_dict()
    factors = dict(_factors(state))
    if not factors:
        return {"model": state}
    prefix, encoder = find_encoder(network)
    layers = lora_layers(encoder)
    alpha = float(layers[0][1].scaling[_SITE])
    plain = {
        name.replace(_FROZEN, "."): value for name, value in state.items() if not _is_factor(name)
    }
    adapter = {
        "kind": "lora",
        "rank": int(layers[0][1].r[_SITE]),
        "alpha": alpha,
        "base_sha256": base_sha256(backbone(state, prefix)),
        "tensors": factors,
    }
    return {"model": fold(plain, factors, alpha), "adapter": adapter}


def fold(
    plain: Mapping[str, Tensor], factors: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """W + alpha B A for every layer that has factors.

    Args:
        plain: tensors under plain names; not changed.
        factors: "LAYER.lora_A" (r, in) and "LAYER.lora_B" (out, r).
        alpha: factor of the product.
    """
    folded = dict(plain)
    for name in factors:
        if name.endswith(".lora_A"):
            layer = name.removesuffix(".lora_A")
            change = factors[f"{layer}.lora_B"] @ factors[name]
            folded[f"{layer}.weight"] = plain[f"{layer}.weight"] + alpha * change
    return folded


def factor_parameter(name: str) -> str:
    """Name of the parameter in a network with LoRA that holds a factor "LAYER.lora_A"."""
    return f"{name}.{_SITE}.weight"


def _factors(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        match = _FACTOR.fullmatch(name)
        if match:
            yield match[1], tensor


def _is_factor(name: str) -> bool:
    return ".lora_" in name
