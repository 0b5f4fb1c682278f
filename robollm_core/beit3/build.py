# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes, spelled out.

Detection uses windows with some global blocks, as ViTDet (Li et al., 2022)
does on a plain backbone; weights do not change between the two.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from robollm_core.beit3.adapters import attach_asked
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.errors import ConfigError

ImageSize = int | Sequence[int]


def tiny(img_size: ImageSize = 128, *, detection: bool = False, drop_path: float = 0.0) -> Encoder:
    """Depth 6, width 256: about 5 M parameters, trained by the project itself."""
    return Encoder(
        EncoderShape(
            depth=6,
            width=256,
            heads=4,
            ffn=1024,
            image_hw=_pair(img_size),
            window=8 if detection else 0,
            global_blocks=(2, 5) if detection else (),
            drop_path=drop_path,
        )
    )


def base(img_size: ImageSize = 224, *, detection: bool = False, drop_path: float = 0.0) -> Encoder:
    """Depth 12, width 768: 85.89 M parameters, BEiT-3 Base."""
    return Encoder(
        EncoderShape(
            depth=12,
            width=768,
            heads=12,
            ffn=3072,
            image_hw=_pair(img_size),
            window=14 if detection else 0,
            global_blocks=(2, 5, 8, 11) if detection else (),
            drop_path=drop_path,
        )
    )


def large(img_size: ImageSize = 224, *, detection: bool = False, drop_path: float = 0.0) -> Encoder:
    """Depth 24, width 1024: 303.55 M parameters, BEiT-3 Large."""
    return Encoder(
        EncoderShape(
            depth=24,
            width=1024,
            heads=16,
            ffn=4096,
            image_hw=_pair(img_size),
            window=14 if detection else 0,
            global_blocks=(5, 11, 17, 23) if detection else (),
            drop_path=drop_path,
        )
    )


_MOST = 16384
SIZES = {"tiny": tiny, "base": base, "large": large}


def build(
    size: str, img_size: ImageSize, *, detection: bool = False, drop_path: float = 0.0
) -> Encoder:
    """Build an encoder by the name of its size.

    Args:
        size: "tiny", "base" or "large".
        img_size: (height, width) in pixels, or one edge of a square, that the
            learned positions belong to.
        detection: attend in windows, with some global blocks.
        drop_path: stochastic depth of the last block.

    Raises:
        ConfigError: If there is no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"no encoder size {size!r}; the sizes are {', '.join(SIZES)}.")
    return SIZES[size](img_size, detection=detection, drop_path=drop_path)


def encoder_from(settings: Mapping[str, Any], *, known: Sequence[str] = ()) -> Encoder:
    """Build the encoder that the "model" branch of a recipe asks for.

    Args:
        settings: "size", "img_size" (pixels, one edge of a square), "drop_path"
            (default 0) and "adapter" (default none: an `AdapterShape` in JSON);
            anything else is refused.
        known: further keys, which belong to the heads; whole numbers from 1 up.

    Raises:
        ConfigError: If a key is unknown or missing, or a value is out of range.
    """
    own = ("size", "img_size", "drop_path", "adapter")
    if not {"size", "img_size"} <= settings.keys() <= {*own, *known}:
        raise ConfigError(
            f"model takes {', '.join((*own, *known))} and needs size and img_size, "
            f"got {sorted(map(str, settings))}."
        )
    for name in ("img_size", *known):
        value = settings.get(name, 1)
        if type(value) is not int or not 1 <= value <= _MOST:
            raise ConfigError(f"model.{name} must be a whole number in 1..{_MOST}, got {value!r}.")
    drop_path = settings.get("drop_path", 0.0)
    if not isinstance(drop_path, int | float) or not 0.0 <= drop_path < 1.0:
        raise ConfigError(f"model.drop_path must be in [0, 1), got {drop_path!r}.")
    encoder = build(str(settings["size"]), settings["img_size"], drop_path=float(drop_path))
    attach_asked(encoder, settings)
    return encoder


def size_of(depth: int, width: int, ffn: int) -> str:
    """The name of the size with these dimensions, "" if no size has them.

    Args:
        depth: number of blocks.
        width: channels of a token.
        ffn: inner width of the feed-forward networks.
    """
    with torch.device("meta"):  # shapes alone, no memory
        shapes = {name: make(224).shape for name, make in SIZES.items()}
    wanted = (depth, width, ffn)
    return next((n for n, s in shapes.items() if (s.depth, s.width, s.ffn) == wanted), "")


def _pair(img_size: ImageSize) -> tuple[int, int]:
    return (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
