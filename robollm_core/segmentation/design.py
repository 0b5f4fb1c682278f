# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every size and threshold of the detector, as a recipe and a checkpoint carry it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robollm_core.errors import ConfigError

CASCADE_IOUS = (0.5, 0.6, 0.7)
CASCADE_WEIGHTS = (1.0, 0.5, 0.25)
BOX_STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
ANCHOR_RATIOS = (0.5, 1.0, 2.0)
MASK_ROI = 14
MASK_SIZE = 28
BOX_ROI = 7
_STRIDE = 32


@dataclass(frozen=True)
class DetectorDesign:
    """Cascade Mask R-CNN on a plain backbone.

    Attributes:
        encoder: size of the BEiT-3 encoder: tiny, base or large.
        input_height, input_width: network input, pixels, multiples of 32.
        export_sizes: input sizes besides it that an artifact is exported for, such
            as "480x640 768x1024", height first.
        drop_path: stochastic depth of the encoder's last block.
        channels: channels of the pyramid.
        finest_stride: 4, or 8 to leave the dearest level of the pyramid out.
        anchor_scale: anchor edge in strides of its level.
        rpn_pre: boxes a level that enter the proposal NMS.
        rpn_iou: overlap at which the proposal NMS drops the lesser box.
        proposals: proposals an image that enter the cascade.
        finest_scale: a RoI below twice this edge, pixels, is read from the finest level.
        roi_samples: samples a bin side in RoIAlign.
        head_width: width of the two fully connected layers of a box head.
        mask_width, mask_convs: channels and 3x3 convolutions of a mask head.
        mask_all_stages: a mask head at every stage, averaged; else at the last alone.
        score_threshold: detections below it are dropped.
        nms_iou: overlap at which the last NMS drops the lesser box.
        detections: most detections an image, K of the exported network.
        train_proposals, train_rois, train_anchors: per image in training.
        train_positive: wanted fraction of positive RoIs.
    """

    encoder: str = "tiny"
    input_height: int = 384
    input_width: int = 512
    export_sizes: str = ""
    drop_path: float = 0.0
    channels: int = 256
    finest_stride: int = 4
    anchor_scale: float = 8.0
    rpn_pre: int = 1000
    rpn_iou: float = 0.7
    proposals: int = 1000
    finest_scale: int = 56
    roi_samples: int = 2
    head_width: int = 1024
    mask_width: int = 256
    mask_convs: int = 4
    mask_all_stages: bool = True
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    detections: int = 100
    train_proposals: int = 1000
    train_rois: int = 512
    train_anchors: int = 256
    train_positive: float = 0.25

    @property
    def input_hw(self) -> tuple[int, int]:
        """(height, width) of the network input, pixels."""
        return self.input_height, self.input_width

    @property
    def mask_stages(self) -> tuple[int, ...]:
        """Stages of the cascade that own a mask head."""
        last = len(CASCADE_IOUS) - 1
        return tuple(range(last + 1)) if self.mask_all_stages else (last,)

    def __post_init__(self) -> None:
        """Refuse an input the strides do not divide.

        Raises:
            ConfigError: If a side of an input is not a multiple of 32.
        """
        _check_sides("input_height and input_width", self.input_hw)
        for text in self.export_sizes.split():
            read_size(text)

    def at(self, input_hw: tuple[int, int]) -> "DetectorDesign":
        """The same detector for an input of another size.

        Raises:
            ConfigError: If a side is not a multiple of 32.
        """
        height, width = input_hw
        return dataclasses.replace(self, input_height=height, input_width=width, export_sizes="")


def read_size(text: str) -> tuple[int, int]:
    """Read an input size.

    Args:
        text: such as "480x640", height first, pixels.

    Raises:
        ConfigError: If it is not of that form, or a side is not a multiple of 32.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"a size is HEIGHTxWIDTH in pixels, such as 480x640, got {text!r}.")
    size = int(height), int(width)
    _check_sides(f"the sides of {text}", size)
    return size


def _check_sides(what: str, size: tuple[int, int]) -> None:
    if any(side <= 0 or side % _STRIDE for side in size):
        near = "x".join(str(max(_STRIDE, round(side / _STRIDE) * _STRIDE)) for side in size)
        raise ConfigError(f"{what} must be multiples of {_STRIDE}, got {size}; {near} is near.")


def design_from(recipe: Mapping[str, Any]) -> DetectorDesign:
    """Pick the detector's fields out of a recipe, which may hold more.

    Raises:
        ConfigError: If a value does not fit.
    """
    names = {field.name for field in dataclasses.fields(DetectorDesign)}
    try:
        return DetectorDesign(**{name: recipe[name] for name in names & recipe.keys()})
    except TypeError as error:
        raise ConfigError(f"the recipe does not describe a detector: {error}") from error
