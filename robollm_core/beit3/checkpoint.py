# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Read weights: our own checkpoints and the BEiT-3 layouts of unilm and torchscale.

Files are distrusted: nothing but tensors and plain data is unpickled.
"""

import argparse
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robollm_core.beit3.encoder import Encoder, resize_positions
from robollm_core.errors import CheckpointError, ConfigError

FORMAT = 1
PREFIX = "encoder."

Network = TypeVar("Network", bound=nn.Module)

# a torchscale block's parts and ours; query, key and value are joined apart
_PARTS = {
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.out_proj": "attention.out",
    "self_attn.inner_attn_ln": "attention.inner_norm",
    "self_attn_layer_norm": "attention_norm",
    "final_layer_norm": "ffn_norm",
    "ffn.fc1": "ffn.fc1",
    "ffn.fc2": "ffn.fc2",
    "ffn.ffn_layernorm": "ffn.inner_norm",
}
_OUTSIDE = {
    "vision_embed.cls_token": "cls_token",
    "vision_embed.proj.weight": "patch_embed.weight",
    "vision_embed.proj.bias": "patch_embed.bias",
    "encoder.embed_positions.weight": "positions",
    "encoder.layer_norm.weight": "norm.weight",
    "encoder.layer_norm.bias": "norm.bias",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Weights in our names, and what came with them.

    Attributes:
        tensors: name to tensor; the encoder's names begin with "encoder.".
        meta: the other entries of one of our checkpoints ("stage", "recipe",
            "step", ...); empty for foreign files.
        file: file name.
        sha256: hex digest of the file.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe the network was built and trained from; empty for foreign files."""
        return dict(self.meta.get("recipe") or {})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours, of unilm or of torchscale.

    Args:
        path: a file `torch.save` wrote: our dict with "format" and "model", a
            dict with "model" or "module", or a bare state dict.

    Returns:
        The weights in our names; language experts are dropped.

    Raises:
        CheckpointError: If the file is missing, holds more than tensors and
            plain data, or has no layout known here.
    """
    content = _load(path)
    own = "format" in content
    if own and content["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {content['format']!r}, this version reads {FORMAT}. "
            "Train it again, or read it with the version that wrote it."
        )
    tensors = _tensors(content, path)
    meta = {key: value for key, value in content.items() if key != "model"} if own else {}
    if not own and any("vision_embed." in name for name in tensors):
        tensors = _from_torchscale(tensors, path)
    elif "patch_embed.weight" in tensors:  # an encoder alone
        tensors = {PREFIX + name: tensor for name, tensor in tensors.items()}
    return Checkpoint(tensors, meta, path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def _load(path: Path) -> dict[str, Any]:
    try:
        # unilm stores its command line as an argparse.Namespace, which is plain data
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}.") from error
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise CheckpointError(
            f"{path} is no checkpoint that can be read safely ({type(error).__name__}: {reason}). "
            "Expected a torch.save file holding only tensors and plain data."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict.")
    return content


def _tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    inner = next((content[key] for key in ("model", "module") if key in content), content)
    if not isinstance(inner, Mapping) or not inner:
        raise CheckpointError(f"{path}: the model must be a dict of tensors and not empty.")
    for name, tensor in inner.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: entry {name!r} of the model is a {type(tensor).__name__}, "
                "expected a tensor under a name."
            )
    return dict(inner)


def _from_torchscale(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Vision expert A in our names, query, key and value joined, heads kept."""
    renamed = dict(_rename(tensors))
    for name in [name for name in renamed if ".attention.query." in name]:
        names = [name.replace("query", part) for part in ("query", "key", "value")]
        missing = [part for part in names if part not in renamed]
        if missing:
            raise CheckpointError(f"{path} lacks {', '.join(missing)}; the file is incomplete.")
        joined = torch.cat([renamed.pop(part) for part in names])
        renamed[name.replace("query", "qkv")] = joined
    if PREFIX + "positions" in renamed:
        rows = renamed[PREFIX + "positions"]
        if rows.dim() != 2 or rows.shape[0] < 4:
            raise CheckpointError(
                f"{path}: vision positions must be (3 + patches, width), got {tuple(rows.shape)}."
            )
        # rows 0 and 1 are fairseq's padding offset, row 2 is CLS
        renamed[PREFIX + "positions"] = rows[2:].unsqueeze(0)
    return renamed


def _rename(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for full, tensor in tensors.items():
        name = full.removeprefix("beit3.")
        if ".B." in name or name.startswith(("text_embed.", "vision_embed.mask_token")):
            continue
        name = name.replace(".A.", ".")
        match = _LAYER.fullmatch(name)
        if name in _OUTSIDE:
            yield PREFIX + _OUTSIDE[name], tensor
        elif match and match[2] in _PARTS:
            yield f"{PREFIX}blocks.{match[1]}.{_PARTS[match[2]]}.{match[3]}", tensor
        elif not name.startswith("encoder."):
            yield name, tensor  # fc_norm, head: kept for a network that has them
        # other encoder entries (mask tokens, version buffers) carry no vision weights


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
        checkpoint: what `read_checkpoint` returned; heads in it are ignored.

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
    _fill(encoder, _fit_positions(own, "positions", encoder), checkpoint.file)


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
    module.load_state_dict(dict(tensors))


def _short(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
