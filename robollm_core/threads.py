# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Work on a frame's instances, shared among the threads that images may use."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import cv2

T = TypeVar("T")


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
