# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Photos of totes with what is in them, wherever they were read from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from robollm_core.errors import DatasetError, ImageError
from robollm_core.images import read_image
from robollm_core.types import BoolArray, UInt8Array

CLASS_NAME = "object"
"""ARMBench's class of the things to pick."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One annotated instance.

    Attributes:
        height, width: size of its image, pixels.
        counts: COCO compressed run lengths over the whole image, column by column.
        category: name of its class, lower case.
        item_id: product, "" when not said.
        crowd: the mask covers several instances nobody told apart.
    """

    height: int
    width: int
    counts: bytes
    category: str = CLASS_NAME
    item_id: str = ""
    crowd: bool = False

    @property
    def rle(self) -> dict[str, Any]:
        """The mask as pycocotools takes it."""
        return {"size": [self.height, self.width], "counts": self.counts}

    def mask(self) -> BoolArray:
        """(H, W) bool, True where the instance is visible."""
        return np.asarray(coco_mask.decode(self.rle), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ToteImage:
    """One photo and what is in it.

    Attributes:
        path: the image file.
        height, width: declared size, pixels.
        truths: instances of the classes that were asked for, in the order of the file.
    """

    path: Path
    height: int
    width: int
    truths: tuple[Truth, ...]

    def read(self) -> UInt8Array:
        """The (H, W, 3) uint8 RGB pixels.

        Raises:
            DatasetError: If the file cannot be decoded, or has another size than
                declared.
        """
        try:
            pixels = read_image(self.path)
        except ImageError as error:
            raise DatasetError(
                f"{error} Copy {self.path.name} from its source again, or take the image and "
                "its annotations out of the COCO file."
            ) from error
        if pixels.shape[:2] != (self.height, self.width):
            raise DatasetError(
                f"{self.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, its annotations say "
                f"{self.width}x{self.height}. Use the image that was annotated."
            )
        return pixels
