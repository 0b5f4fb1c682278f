# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes, spelled out.

Detection uses windows with some global blocks, as ViTDet (Li et al., 2022)
does on a plain backbone; weights do not change between the two.
"""

from collections.abc import Sequence

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


def _pair(img_size: ImageSize) -> tuple[int, int]:
    return (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
