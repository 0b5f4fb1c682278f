# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts in which BEiT-3 weights are published, and what becomes of each entry.

torchscale keeps two experts of every layer, A for images and B for text; this
package has A alone. Every entry of a file is either used under a name of ours or
dropped for a reason that is told; one that is neither is an error.

Source: the names of torchscale 0.2 and 0.3, of unilm's fine-tuning code, of
timm 1.0 (`beit3_*_patch16_224`) and of the official RoboLLM code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "encoder."
"""What stands before the encoder's names in a network of ours."""
NATIVE, RELEASED = "native", "released"
"""How embeddings are compared: unit vectors, or raw dot products as in the official code."""

VIEW_ORDER = ("OnArmLowRGB", "PickRGB", "ToteWallRGB")
"""The views in the order of the released 3-view network."""

TORCHSCALE_BLOCK = {
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
TORCHSCALE_OUTSIDE = {
    "vision_embed.cls_token": "cls_token",
    "vision_embed.proj.weight": "patch_embed.weight",
    "vision_embed.proj.bias": "patch_embed.bias",
    "encoder.embed_positions.weight": "positions",
    "encoder.layer_norm.weight": "norm.weight",
    "encoder.layer_norm.bias": "norm.bias",
}
TIMM_BLOCK = {
    "norm1": "attention_norm",
    "attn.qkv": "attention.qkv",
    "attn.norm": "attention.inner_norm",
    "attn.proj": "attention.out",
    "norm2": "ffn_norm",
    "mlp.fc1": "ffn.fc1",
    "mlp.norm": "ffn.inner_norm",
    "mlp.fc2": "ffn.fc2",
}
TIMM_OUTSIDE = {
    "cls_token": "cls_token",
    "pos_embed": "positions",
    "patch_embed.proj.weight": "patch_embed.weight",
    "patch_embed.proj.bias": "patch_embed.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}
TORCHSCALE_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
TIMM_LAYER = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")

TEXT = "the text side; images never reach it"
_PRETRAINING = "a head of the pre-training; a head of the task takes its place"
_CLASSIFIER = "the classifier the file was fine-tuned with; a head of the task takes its place"
PADDING = "rows 0 and 1, the padding of fairseq's positions; no token has them"


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file.

    Attributes:
        name: how sidecars name it.
        title: what it is, for people.
        stage: "backbone" for an encoder alone, "identification" or "defects".
        scoring: `NATIVE` or `RELEASED`.
        heads: pattern of an entry outside the encoder to our name.
        dropped: pattern of an entry outside the encoder to the reason.
        views: how many views a query may have; empty where nothing is asked.
        mean, std: of the colours in training, in [0, 1]. This package always feeds
            0.5 and 0.5; fine-tuning makes up for the small difference.
    """

    name: str
    title: str
    stage: str = "backbone"
    scoring: str = NATIVE
    heads: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    views: tuple[int, ...] = ()
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE = {r"logit_scale": "log_scale"}
_FC_NORM = {r"fc_norm\.(weight|bias)": r"fc_norm.\1"}

BEIT3 = Layout(
    "beit3",
    "Microsoft BEiT-3, pretrained",
    dropped={r"(mlm|mim)_head\.(weight|bias)": _PRETRAINING},
)
BEIT3_ITC = Layout(
    "beit3_itc",
    "Microsoft BEiT-3, trained further by image-text contrast",
    dropped={
        r"language_head\.weight": TEXT,
        r"vision_head\.weight": _PRETRAINING,
        r"logit_scale": "the temperature of the image-text contrast",
    },
)
BEIT3_CLASSIFIER = Layout(
    "beit3_classifier",
    "Microsoft BEiT-3, fine-tuned as an image classifier",
    dropped={r"(fc_norm|head)\.(weight|bias)": _CLASSIFIER},
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
TIMM = Layout(
    "timm",
    "timm's vision-only BEiT-3",
    dropped={r"(fc_norm|head)\.(weight|bias)": _CLASSIFIER},
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
RELEASED_PICK1 = Layout(
    "armbenchpick1",
    "released RoboLLM identification, one view",
    "identification",
    RELEASED,
    heads={**_FC_NORM, **_SCALE},
    views=(1,),
)
RELEASED_3T1 = Layout(
    "armbench3t1",
    "released RoboLLM identification, three views",
    "identification",
    RELEASED,
    heads={
        r"vision_pooler_([012])\.(norm|dense)\.(weight|bias)": r"view_poolers.\1.\2.\3",
        r"ref_vision_pooler\.(norm|dense)\.(weight|bias)": r"reference_pooler.\1.\2",
        r"head\.(norm1|dense1|norm2|dense2)\.(weight|bias)": r"fusion.\1.\2",
        **_SCALE,
    },
    views=(3,),
)
RELEASED_NEAREST = Layout(
    "armbenchpick1_nearestref",
    "released RoboLLM identification, one view by the CLS token",
    "identification",
    RELEASED,
    heads={
        r"vision_head\.weight": "query_head.weight",
        r"ref_head\.weight": "reference_head.weight",
        **_SCALE,
    },
    views=(1,),
)
RELEASED_DEFECTS = Layout(
    "defection1by1",
    "released RoboLLM defect classifier",
    "defects",
    RELEASED,
    heads={**_FC_NORM, r"head\.(weight|bias)": r"head.\1"},
)
ENCODER = Layout("encoder", "an encoder of this package, alone")
