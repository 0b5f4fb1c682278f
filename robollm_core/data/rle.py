# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Masks as COCO's compressed run lengths, over the whole image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from robollm_core.errors import DatasetError
from robollm_core.types import BoolArray, Instance

MAX_PIXELS = 20_000**2


def whole_rle(instance: Instance, image_hw: tuple[int, int]) -> dict[str, Any]:
    """An instance's mask over the whole image, as pycocotools takes it.

    Args:
        instance: its box lies in the image.
        image_hw: (height, width) of the image.

    Returns:
        {"size": [height, width], "counts": bytes}.
    """
    x0, y0, x1, y1 = instance.box_xyxy_px
    whole = np.zeros(image_hw, dtype=np.uint8, order="F")
    whole[y0:y1, x0:x1] = instance.mask_in_box
    rle: dict[str, Any] = coco.encode(whole)
    return rle


def encode_instance(instance: Instance, image_hw: tuple[int, int]) -> dict[str, Any]:
    """As `whole_rle`, with counts as text, ready for JSON."""
    counts = whole_rle(instance, image_hw)["counts"]
    return {"size": list(image_hw), "counts": counts.decode("ascii")}


def encode(mask: BoolArray) -> dict[str, Any]:
    """Encode an (H, W) bool mask, with counts as text, ready for JSON; `decode` reads it back."""
    code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": code["counts"].decode("ascii")}


def decode(tree: Mapping[str, Any]) -> BoolArray:
    """Decode a mask from outside.

    Args:
        tree: {"size": [height, width], "counts": text}.

    Returns:
        (height, width) bool.

    Raises:
        DatasetError: If it is no compressed RLE, or does not cover its size exactly.
    """
    try:
        height, width = (int(edge) for edge in tree["size"])
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"a size of {height} x {width} pixels")
        counts = str(tree["counts"]).encode("ascii")
        check_runs(decode_runs(counts), height * width)
        mask: BoolArray = coco.decode({"size": [height, width], "counts": counts}).astype(np.bool_)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"not a compressed COCO RLE: {error!r} in {str(tree)[:80]}.") from error
    return mask


def decode_runs(text: bytes) -> list[int]:
    """Run lengths of COCO's compressed text, checked where pycocotools trusts.

    Raises:
        ValueError: If the text has a foreign character or ends within a number.

    Source:
        cocoapi's maskApi.c: six bits a character from 48, five of them data, the
        sixth "more follows"; from the third run on, the difference to the run
        two before.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in text:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("the run lengths hold a foreign character or too large a number")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run lengths end within a number")
    return runs


def check_runs(runs: Sequence[int], area: int) -> None:
    """Refuse run lengths that do not cover an image; pycocotools would read what is not there.

    Raises:
        ValueError: If one is negative, or they cover more or less than `area` pixels.
    """
    if any(run < 0 for run in runs) or sum(runs) != area:
        raise ValueError(f"the run lengths cover {sum(runs)} pixels, the image has {area}")
