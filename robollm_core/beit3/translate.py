# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of a foreign file under our names, every entry of it accounted for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robollm_core.beit3.build import size_of
from robollm_core.beit3.encoder import PATCH
from robollm_core.beit3.layouts import (
    BEIT3,
    BEIT3_CLASSIFIER,
    BEIT3_ITC,
    ENCODER,
    PADDING,
    PREFIX,
    RELEASED_3T1,
    RELEASED_DEFECTS,
    RELEASED_NEAREST,
    RELEASED_PICK1,
    TEXT,
    TIMM,
    TIMM_BLOCK,
    TIMM_LAYER,
    TIMM_OUTSIDE,
    TORCHSCALE_BLOCK,
    TORCHSCALE_LAYER,
    TORCHSCALE_OUTSIDE,
    VIEW_ORDER,
    Layout,
)
from robollm_core.errors import CheckpointError


@dataclass(frozen=True, slots=True, eq=False)
class Translation:
    """A foreign file in our names.

    Attributes:
        layout: what the file is.
        tensors: our name to tensor.
        used: name in the file to our name.
        dropped: name in the file to the reason.
        size: name of the encoder's size, "" if no size has its dimensions.
        dimensions: (depth, width, ffn) of the encoder.
        image_px: edge of the images its positions belong to, 0 if they are no square.
    """

    layout: Layout
    tensors: Mapping[str, Tensor]
    used: Mapping[str, str]
    dropped: Mapping[str, str]
    size: str
    dimensions: tuple[int, int, int]
    image_px: int

    @property
    def has_final_norm(self) -> bool:
        """Whether the encoder ends in a norm; classifiers normalise the pooled feature instead."""
        return PREFIX + "norm.weight" in self.tensors

    def meta(self) -> dict[str, Any]:
        """What a checkpoint says beside its weights; "recipe" only for a size we can build."""
        layout = self.layout
        meta: dict[str, Any] = {
            "layout": layout.name,
            "size": self.size,
            "stage": layout.stage,
            "scoring": layout.scoring,
            "final_norm": self.has_final_norm,
        }
        if layout.views:
            meta["views"] = list(layout.views)
        if 3 in layout.views:
            meta["view_order"] = list(VIEW_ORDER)
        if not self.size or not self.image_px:
            return meta
        model: dict[str, Any] = {"size": self.size, "img_size": self.image_px}
        if layout.stage == "identification":
            model["released"] = layout.name
        spec = {"size_px": self.image_px, "mode": "squash", "blank": False, "margin": 0.0}
        meta["recipe"] = {"model": model, **({} if layout is ENCODER else {"crop": spec})}
        return meta


def translate(tensors: Mapping[str, Tensor], file: str) -> Translation:
    """Bring the weights of a foreign file under our names.

    Args:
        tensors: the state dict of the file.
        file: its name, for messages.

    Returns:
        The weights of images in float32, query, key and value joined; whether
        they are complete is seen when a network is filled.

    Raises:
        CheckpointError: If the layout is not known, or an entry is neither used
            nor dropped for a reason.
    """
    layout = recognise(tensors, file)
    explain = _EXPLAIN.get(layout.name, _explain_torchscale)
    used: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    for key in tensors:
        verdict = explain(key) or _explain_head(_bare(key), layout)
        if verdict is None:
            unknown.append(key)
        else:
            (used if verdict[0] else dropped)[key] = verdict[1]
    if unknown:
        raise CheckpointError(
            f"{file} looks like {layout.title} ({layout.name}), but has {len(unknown)} entries "
            f"that such a file has not: {', '.join(unknown[:4])}. Is it of another model?"
        )
    renamed: dict[str, Tensor] = {}
    for key, name in used.items():
        if name in renamed:
            raise CheckpointError(f"{file} holds {name} twice, the second time as {key}.")
        renamed[name] = _single(tensors[key])
    _join_attention(renamed, file)
    if _cut_positions(renamed, file, torchscale=explain is _explain_torchscale):
        dropped[f"{_key_of(used, 'positions')}[0:2]"] = PADDING
    dimensions = _dimensions(renamed)
    pixels = _image_px(renamed)
    return Translation(layout, renamed, used, dropped, size_of(*dimensions), dimensions, pixels)


def recognise(tensors: Mapping[str, Tensor], file: str) -> Layout:
    """Which layout a state dict has.

    Raises:
        CheckpointError: If it has none that is known.
    """
    if "patch_embed.weight" in tensors:
        return ENCODER
    names = {_bare(key) for key in tensors}
    if any(name.startswith("vision_embed.") for name in names):
        return _recognise_torchscale(names, tensors)
    if {"pos_embed", "patch_embed.proj.weight"} <= names:
        if "blocks.0.attn.norm.weight" in names and "blocks.0.mlp.norm.weight" in names:
            return TIMM
        raise CheckpointError(
            f"{file} holds a vision transformer without the inner norms of BEiT-3 "
            "(blocks.0.attn.norm). Take timm's beit3_base_patch16_224 or beit3_large_patch16_224."
        )
    shown = ", ".join(list(tensors)[:3])
    raise CheckpointError(
        f"{file} has no layout known here: {len(tensors)} tensors such as {shown}, and nothing "
        "that sees images. Expected BEiT-3 weights of Microsoft, timm or RoboLLM, or a "
        "checkpoint of `robollm train`; a language model is none."
    )


def _recognise_torchscale(names: set[str], tensors: Mapping[str, Tensor]) -> Layout:
    if "vision_pooler_0.dense.weight" in names:
        return RELEASED_3T1
    if "ref_head.weight" in names:
        return RELEASED_NEAREST
    if "language_head.weight" in names:
        return BEIT3_ITC
    if "head.weight" in names:
        # a classifier of images ends without the encoder's norm and has many classes
        three = tensors["head.weight"].shape[:1] == (3,)
        final = bool({"encoder.layer_norm.A.weight", "encoder.layer_norm.weight"} & names)
        return RELEASED_DEFECTS if three and final else BEIT3_CLASSIFIER
    if "fc_norm.weight" in names:
        return RELEASED_PICK1
    return BEIT3


Verdict = tuple[bool, str] | None
"""(True, our name) of an entry that is used, (False, reason) of one that is dropped."""


def _explain_torchscale(key: str) -> Verdict:
    name = _bare(key)
    if name == "text_embed.weight":
        return False, TEXT
    if name == "vision_embed.mask_token":
        return False, "the mask token of the pre-training"
    ours = _torchscale_name(name.replace(".B.", ".").replace(".A.", "."))
    if ours is None:
        return None
    return (False, "language expert") if ".B." in name else (True, PREFIX + ours)


def _torchscale_name(name: str) -> str | None:
    match = TORCHSCALE_LAYER.fullmatch(name)
    if match and match[2] in TORCHSCALE_BLOCK:
        return f"blocks.{match[1]}.{TORCHSCALE_BLOCK[match[2]]}.{match[3]}"
    return TORCHSCALE_OUTSIDE.get(name)


def _explain_timm(key: str) -> Verdict:
    match = TIMM_LAYER.fullmatch(key)
    if match and match[2] in TIMM_BLOCK:
        return True, f"{PREFIX}blocks.{match[1]}.{TIMM_BLOCK[match[2]]}.{match[3]}"
    return (True, PREFIX + TIMM_OUTSIDE[key]) if key in TIMM_OUTSIDE else None


def _explain_encoder(key: str) -> Verdict:
    return True, PREFIX + key


_EXPLAIN: Mapping[str, Callable[[str], Verdict]] = {
    TIMM.name: _explain_timm,
    ENCODER.name: _explain_encoder,
}


def _explain_head(name: str, layout: Layout) -> Verdict:
    for pattern, ours in layout.heads.items():
        match = re.fullmatch(pattern, name)
        if match:
            return True, match.expand(ours)
    for pattern, reason in layout.dropped.items():
        if re.fullmatch(pattern, name):
            return False, reason
    return None


def _bare(key: str) -> str:
    return key.removeprefix("beit3.")


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _key_of(used: Mapping[str, str], name: str) -> str:
    return next(key for key, ours in used.items() if ours == PREFIX + name)


def _join_attention(tensors: dict[str, Tensor], file: str) -> None:
    """Query, key and value become one matrix, in place."""
    parts = ("query", "key", "value")
    stems = {re.sub(r"\.(query|key|value)\.", ".{}.", name) for name in tensors}
    for stem in sorted(stem for stem in stems if ".{}." in stem):
        names = [stem.format(part) for part in parts]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise CheckpointError(f"{file} lacks {', '.join(missing)}; the file is incomplete.")
        tensors[stem.format("qkv")] = torch.cat([tensors.pop(name) for name in names])


def _cut_positions(tensors: dict[str, Tensor], file: str, *, torchscale: bool) -> bool:
    """Take the padding off torchscale's positions, in place; whether there was any."""
    rows = tensors.get(PREFIX + "positions")
    if rows is None or not torchscale:
        return False
    if rows.dim() != 2 or rows.shape[0] < 4:
        raise CheckpointError(
            f"{file}: vision positions must be (3 + patches, width), got {tuple(rows.shape)}."
        )
    # rows 0 and 1 are fairseq's padding offset, row 2 is CLS
    tensors[PREFIX + "positions"] = rows[2:].unsqueeze(0)
    return True


def _dimensions(tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith(PREFIX + "blocks.")}
    cls = tensors.get(PREFIX + "cls_token")
    inner = tensors.get(PREFIX + "blocks.0.ffn.fc1.bias")
    width = 0 if cls is None or not cls.dim() else int(cls.shape[-1])
    return len(layers), width, 0 if inner is None else inner.numel()


def _image_px(tensors: Mapping[str, Tensor]) -> int:
    positions = tensors.get(PREFIX + "positions")
    if positions is None or positions.dim() != 3:
        return 0
    edge = round((positions.shape[1] - 1) ** 0.5)
    return edge * PATCH if edge and edge * edge == positions.shape[1] - 1 else 0
