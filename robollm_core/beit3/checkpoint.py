# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Read weights, our own and those of others, and fill networks with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robollm_core.beit3.containers import (
    FORMAT,
    SAFETENSORS,
    file_digest,
    read_safetensors,
    read_sidecar,
    read_torch,
)
from robollm_core.beit3.encoder import Encoder, resize_positions
from robollm_core.beit3.layouts import PREFIX
from robollm_core.beit3.translate import translate
from robollm_core.errors import CheckpointError, ConfigError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Weights in our names, and what came with them.

    Attributes:
        tensors: name to tensor; the encoder's names begin with "encoder.".
        meta: the other entries of one of our checkpoints ("stage", "recipe",
            "step", ...), or what is known of the layout of a foreign file.
        file: file name.
        sha256: hex digest of the file.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""

    @property
    def recipe(self) -> dict[str, Any]:
        """How the network is built and was trained; of foreign files "model" and "crop"."""
        return dict(self.meta.get("recipe") or {})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours, or the BEiT-3 weights of others.

    Args:
        path: `x.safetensors` of `robollm convert` beside its sidecar, or a file
            `torch.save` wrote: our dict with "format" and "model", or one of the
            layouts of `beit3.layouts`.

    Returns:
        The weights in our names; of others what images need, and as "meta" what
        `robollm convert` would write.

    Raises:
        CheckpointError: If the file is missing, holds more than tensors and
            plain data, differs from its sidecar or has no layout known here.
    """
    if path.suffix == SAFETENSORS:
        return _read_converted(path)
    tensors, others = read_torch(path)
    digest = file_digest(path)
    if "format" in others:
        check_format(others, path)
        if "patch_embed.weight" in tensors:  # an encoder alone
            tensors = {PREFIX + name: tensor for name, tensor in tensors.items()}
        return Checkpoint(tensors, others, path.name, digest)
    if is_own(tensors):
        return Checkpoint(tensors, {}, path.name, digest)
    foreign = translate(tensors, str(path))
    return Checkpoint(foreign.tensors, foreign.meta(), path.name, digest)


def check_format(others: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint of ours in another format.

    Raises:
        CheckpointError: If it is of another version.
    """
    if others["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {others['format']!r}, this version reads {FORMAT}. "
            "Train it again, or read it with the version that wrote it."
        )


def _read_converted(path: Path) -> Checkpoint:
    tree = read_sidecar(path)
    tensors, digest = read_safetensors(path)
    if digest != tree["sha256"]:
        raise CheckpointError(
            f"{path} was changed or damaged: its sidecar says sha256 {tree['sha256'][:16]}..., the "
            f"file has {digest[:16]}... Copy both files again, or convert the source again."
        )
    meta = {key: value for key, value in tree.items() if key not in ("format", "sha256")}
    return Checkpoint(tensors, meta, path.name, digest)


def is_own(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a bare state dict has the names of a network of ours."""
    return any(PREFIX + "blocks." in name for name in tensors)


def model_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """The "model" branch of the recipe, from which a stage builds its network.

    Raises:
        CheckpointError: If the checkpoint has none.
    """
    settings = checkpoint.recipe.get("model")
    if not isinstance(settings, dict):
        raise CheckpointError(
            f'the recipe in {checkpoint.file or "the checkpoint"} must have a branch "model", got '
            f"{settings!r}. Only checkpoints of `robollm train` describe their network."
        )
    return settings


def restore(checkpoint: Checkpoint, build: Callable[[Mapping[str, Any]], Network]) -> Network:
    """Build the network a checkpoint holds, from the settings in it, ready to answer.

    Args:
        checkpoint: what `read_checkpoint` returned.
        build: makes the network of a stage from the "model" branch of a recipe.

    Raises:
        CheckpointError: If the recipe does not describe the network, or a
            weight is missing or does not fit.
    """
    try:
        model = build(model_settings(checkpoint))
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.file}: {error}") from error
    load_model(model, checkpoint)
    return model.eval()


def load_encoder(encoder: Encoder, checkpoint: Checkpoint) -> None:
    """Put the encoder's weights in place, positions resized to its grid.

    Args:
        encoder: the network to fill.
        checkpoint: what `read_checkpoint` returned; heads in it are ignored. The
            final norm of one that says "final_norm": false starts as in training
            from scratch.

    Raises:
        CheckpointError: If a weight is missing, unknown or of another shape;
            the encoder is then unchanged.
    """
    own = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(PREFIX)
    }
    if not own:
        raise CheckpointError(
            f"{checkpoint.file or 'the checkpoint'} has no weights under {PREFIX!r}. Give the "
            "best.pt of a training run, or BEiT-3 weights."
        )
    if checkpoint.meta.get("final_norm") is False:
        own |= fresh_norm(encoder.width)
    _fill(encoder, _fit_positions(own, "positions", encoder), checkpoint.file)


def fresh_norm(width: int) -> dict[str, Tensor]:
    """The final norm of an encoder whose file has none, as a classifier's has not."""
    return {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}


def load_model(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put all weights in place; the model's encoder, if any, is `model.encoder`.

    Raises:
        CheckpointError: If a weight is missing, unknown or of another shape;
            the model is then unchanged.
    """
    tensors = dict(checkpoint.tensors)
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, Encoder):
        tensors = _fit_positions(tensors, PREFIX + "positions", encoder)
    _fill(model, tensors, checkpoint.file)


def _fit_positions(tensors: dict[str, Tensor], name: str, encoder: Encoder) -> dict[str, Tensor]:
    positions = tensors.get(name)
    target = encoder.shape.grid
    if positions is None or positions.dim() != 3 or positions.shape == encoder.positions.shape:
        return tensors
    # a foreign grid is square by convention of every published BEiT-3
    edge = round((positions.shape[1] - 1) ** 0.5)
    if edge < 1 or edge * edge != positions.shape[1] - 1:
        return tensors
    return {**tensors, name: resize_positions(positions, (edge, edge), target)}


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    check_fit(module, tensors, file)
    module.load_state_dict(dict(tensors))


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """See that weights are those of a network, each there, of its shape and finite.

    Args:
        module: the network; may be on the device "meta".
        tensors: the weights under its names.
        file: where they come from, for the message.

    Raises:
        CheckpointError: If a weight is missing, unknown, of another shape or not finite.
    """
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - wanted.keys())
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    broken = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    faults = {"missing": missing, "unknown": unknown, "wrong shape": wrong, "not finite": broken}
    text = "; ".join(f"{kind}: {_short(names)}" for kind, names in faults.items() if names)
    if text:
        raise CheckpointError(
            f"{file or 'the checkpoint'} does not fit {type(module).__name__}: {text}. "
            "Build the network from the recipe the weights were trained with."
        )


def _short(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
