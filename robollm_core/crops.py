# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The crops of one frame, cut once for all stages, on all threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import cv2
import numpy as np

from robollm_core.images import CropSpec, crop
from robollm_core.types import Frame, Instance, UInt8Array

T = TypeVar("T")


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


def for_each(task: Callable[[int], T], count: int) -> list[T]:
    """Do a task for each number from 0, on as many threads as OpenCV may use.

    Args:
        task: spends its time outside Python's lock, as NumPy and OpenCV do.
        count: how many numbers.

    Returns:
        The answers in order.

    Raises:
        Exception: What the task raises.
    """
    found: list[T | None] = [None] * count
    numbers = iter(range(count))

    def work() -> None:
        # whoever is free takes the next number: tasks differ in size
        for index in numbers:
            found[index] = task(index)

    helpers = min(cv2.getNumThreads(), count) - 1
    if helpers > 0:
        others = [_pool(os.getpid(), helpers).submit(work) for _ in range(helpers)]
        work()
        for other in others:
            other.result()
    else:
        work()
    return found  # type: ignore[return-value]  # every number has been taken


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # by process: the threads of a parent are not there in a child that was forked
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="images")
