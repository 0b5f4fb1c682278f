# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Masks as COCO's compressed run lengths, over the whole image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco

from robollm_core.errors import DatasetError
from robollm_core.types import BoolArray, Instance


def encode_instance(instance: Instance, image_hw: tuple[int, int]) -> dict[str, Any]:
    """Encode the mask of an instance.

    Args:
        instance: its box lies in the image.
        image_hw: (height, width) of the image.

    Returns:
        {"size": [height, width], "counts": text}, ready for JSON.
    """
    x0, y0, x1, y1 = instance.box_xyxy_px
    whole = np.zeros(image_hw, dtype=np.uint8, order="F")
    whole[y0:y1, x0:x1] = instance.mask_in_box
    encoded = coco.encode(whole)
    return {"size": list(image_hw), "counts": encoded["counts"].decode("ascii")}


def decode(tree: Mapping[str, Any]) -> BoolArray:
    """Decode a mask from outside.

    Args:
        tree: {"size": [height, width], "counts": text}.

    Returns:
        (height, width) bool.

    Raises:
        DatasetError: If it is no compressed RLE.
    """
    try:
        height, width = (int(edge) for edge in tree["size"])
        counts = str(tree["counts"]).encode("ascii")
        mask: BoolArray = coco.decode({"size": [height, width], "counts": counts}).astype(np.bool_)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"not a compressed COCO RLE: {error!r} in {str(tree)[:80]}.") from error
    return mask
