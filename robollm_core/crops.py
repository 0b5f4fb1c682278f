# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The crops of one frame, cut once for all stages, on all threads."""

from collections.abc import Sequence

import numpy as np

from robollm_core.images import CropSpec, crop
from robollm_core.threads import for_each
from robollm_core.types import Frame, Instance, UInt8Array


class FrameCrops:
    """The instances of one frame, cut out once for all networks that see them the same way."""

    def __init__(self, frame: Frame, instances: Sequence[Instance]) -> None:
        """Cut nothing yet."""
        self._frame, self._instances = frame, instances
        self._cut: dict[CropSpec, UInt8Array] = {}

    def cut(self, spec: CropSpec) -> UInt8Array:
        """The crops, (N, S, S, 3) uint8 in the order of the instances; not to be written to."""
        found = self._cut.get(spec)
        if found is None:
            found = self._cut[spec] = cut_out(self._frame, self._instances, spec)
        return found


def cut_out(frame: Frame, instances: Sequence[Instance], spec: CropSpec) -> UInt8Array:
    """Cut every instance out of its frame, (N, S, S, 3) uint8 in their order."""
    size = spec.size_px
    crops: UInt8Array = np.empty((len(instances), size, size, 3), np.uint8)

    def fill(index: int) -> None:
        one = instances[index]
        crops[index] = crop(frame.image_rgb, one.box_xyxy_px, spec, one.mask_in_box)

    for_each(fill, len(instances))
    return crops
