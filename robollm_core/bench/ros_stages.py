# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a fixed cost in place of networks, so that only what is around them is timed.

By default the cost is slept: as with an engine on an accelerator, the processor is
free meanwhile, and whatever else takes its time shows. "spin" computes without the
interpreter's lock, as an engine does that keeps one core busy.
"""

import time
import zlib
from collections.abc import Sequence

import numpy as np

from robollm_core.images import from_ros_image
from robollm_core.pipeline import Stages, perceive
from robollm_core.types import (
    Crops,
    DefectReport,
    Frame,
    Identification,
    Instance,
    Manifest,
    UInt8Array,
)

_COLUMNS = 8
_SIDE_PX = 24
_BLOCK = bytes(1 << 18)
"""Summed again and again by a stage that computes; zlib lets go of the interpreter meanwhile."""


class Segmentation:
    """Finds the same things in every frame, after a fixed time."""

    def __init__(self, ms: float, how: str, instances: int) -> None:
        """Set the cost of a frame: milliseconds, "sleep" or "spin", and how many things."""
        self._secs, self._spin, self._count = ms / 1e3, how == "spin", instances
        self._mask = np.ones((_SIDE_PX, _SIDE_PX), np.bool_)

    def segment(self, frame: Frame) -> tuple[Instance, ...]:
        """Spend the time; things lie in rows of eight, as far as they fit into the frame."""
        begun = time.perf_counter()
        if not self._spin:
            time.sleep(self._secs)
        while time.perf_counter() - begun < self._secs:
            zlib.crc32(_BLOCK)
        height, width = frame.image_rgb.shape[:2]
        corners = (
            (_SIDE_PX * (number % _COLUMNS), _SIDE_PX * (number // _COLUMNS))
            for number in range(self._count)
        )
        return tuple(
            Instance((x, y, x + _SIDE_PX, y + _SIDE_PX), self._mask, 0.9)
            for x, y in corners
            if x + _SIDE_PX <= width and y + _SIDE_PX <= height
        )


class Identifications:
    """Names every thing alike, at no cost."""

    _ANSWER = Identification(tuple((f"item_{i}", 0.9 - 0.1 * i) for i in range(5)), "item_0")

    def warm_up(self) -> None:
        """Nothing is cold."""

    def prepare(self, manifest: Manifest) -> None:
        """Nothing is embedded."""

    def identify(
        self,
        frame: Frame,
        instances: Sequence[Instance],
        manifest: Manifest | None,
        crops: Crops | None = None,
    ) -> tuple[Identification, ...]:
        """Five candidates a thing, as many as the node reports by default."""
        return (self._ANSWER,) * len(instances)


class Defects:
    """Calls every thing sound, at no cost."""

    _ANSWER = DefectReport((0.01, 0.98, 0.01), "nominal", 0.02)

    def inspect(
        self, frame: Frame, instances: Sequence[Instance], crops: Crops | None = None
    ) -> tuple[DefectReport, ...]:
        """One report a thing."""
        return (self._ANSWER,) * len(instances)


def fixed_stages(ms: float, how: str, instances: int) -> Stages:
    """The three stages of a bench; see `Segmentation`."""
    return Stages(Segmentation(ms, how, instances), Identifications(), Defects())


def core_alone_ms(image: UInt8Array, stages: Stages, rounds: int = 50) -> list[float]:
    """Milliseconds in which the core answers a picture that lies in memory, run by run.

    Args:
        image: (H, W, 3) uint8 RGB.
        stages: what takes the time.
        rounds: runs.
    """
    height, width = image.shape[:2]
    flat = image.reshape(-1)
    took = []
    for number in range(rounds):
        begun = time.perf_counter()
        pixels = from_ros_image(height, width, "rgb8", 3 * width, 0, flat)
        perceive(Frame(pixels, number, "bench"), None, stages)
        took.append((time.perf_counter() - begun) * 1e3)
    return took
