# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Loops over pixels that neither NumPy nor OpenCV does in one pass, compiled by Numba.

`shrink` is OpenCV's area filter to the last bit, `paste` is bilinear sampling within float32
rounding; the tests hold them against OpenCV and against NumPy. They leave Python's lock
alone and work on the calling thread.

What is compiled is kept beside this file or, where that cannot be written, in the
user's cache; where neither can, every start compiles anew (some seconds).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def _compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def compile_now(loop: Callable[..., Any]) -> Callable[..., Any]:
        try:
            done = njit(signature, nogil=True, cache=True)(loop)
        except (RuntimeError, OSError):  # no folder for what is compiled
            done = njit(signature, nogil=True)(loop)
        return done

    return compile_now


@njit(nogil=True)
def _widened(prob: Any, before: Any, weight: Any) -> Any:
    """Resampled along the rows, with a row of 0 above and below."""
    cells = np.zeros(prob.shape[1] + 2, np.float32)
    wide = np.zeros((prob.shape[0] + 2, len(before)), np.float32)
    for row in range(prob.shape[0]):
        cells[1:-1] = prob[row]
        line = wide[row + 1]
        for x in range(len(line)):
            at = np.uint64(before[x] + 1)
            line[x] = weight[0, x] * cells[at] + weight[1, x] * cells[at + np.uint64(1)]
    return wide


@njit(nogil=True)
def _compare(above: Any, under: Any, weights: Any, level: Any, out: Any, hit: Any) -> bool:
    high, low = weights[0], weights[1]
    some = np.uint8(0)
    for x in range(len(out)):
        inside = np.uint8(high * above[x] + low * under[x] >= level)
        out[x] = inside
        hit[x] |= inside
        some |= inside
    return bool(some)


@_compiled(
    "Tuple((int64, int64, uint8[:,::1]))(float32[:,::1], int64[::1], float32[:,::1], int64[::1],"
    " float32[:,::1], float32)"
)
def paste(
    prob: Any, before_x: Any, weight_x: Any, before_y: Any, weight_y: Any, level: Any
) -> tuple[int, int, Any]:
    """Resample a mask along both axes and keep what reaches a level.

    Args:
        prob: (h, w) float32.
        before_x: (W,) int64, ascending, the cell before each column; -1 before the first.
        weight_x: (2, W) float32, of that cell and the next; cells outside are 0.
        before_y: (H,), as `before_x`, of the rows.
        weight_y: (2, H), as `weight_x`.
        level: what a pixel must reach.

    Returns:
        (x, y, mask): (h, w) uint8, 1 where the level is reached, cut to its extent; and
        where that begins. The mask of nothing is (0, 0).
    """
    columns, rows = len(before_x), len(before_y)
    wide = _widened(prob, before_x, weight_x)
    scratch = np.empty((rows, columns), np.uint8)
    hit = np.zeros(columns, np.uint8)
    first, last = rows, -1
    for y in range(rows):
        above, under = wide[before_y[y] + 1], wide[before_y[y] + 2]
        if _compare(above, under, weight_y[:, y], level, scratch[y], hit):
            first, last = min(first, y), y
    if last < 0:
        return 0, 0, np.empty((0, 0), np.uint8)
    left, right = 0, columns
    while not hit[left]:
        left += 1
    while not hit[right - 1]:
        right -= 1
    return left, first, scratch[first : last + 1, left:right].copy()


@njit(nogil=True)
def _average_along(row: Any, source: Any, share: Any, line: Any) -> None:
    three = np.uint32(3)
    for x in range(source.shape[1]):
        a, b, c = source[0, x] * three, source[1, x] * three, source[2, x] * three
        p, q, r = share[0, x], share[1, x], share[2, x]
        for k in range(3):
            n = np.uint32(k)
            line[np.uint32(3 * x) + n] = row[a + n] * p + row[b + n] * q + row[c + n] * r


@njit(nogil=True)
def _add(line: Any, share: Any, sums: Any) -> None:
    for j in range(len(sums)):
        sums[j] += line[j] * share


@_compiled(
    "void(uint8[:,:,::1], uint32[:,::1], float32[:,::1], uint32[:,::1], float32[:,::1],"
    " uint8[:,:,::1])"
)
def shrink(image: Any, from_x: Any, share_x: Any, from_y: Any, share_y: Any, out: Any) -> None:
    """Average over areas, in the order of OpenCV's INTER_AREA, which makes it the same.

    Args:
        image: (h, w, 3) uint8.
        from_x: (3, W) uint32, columns that each column of the result is made of.
        share_x: (3, W) float32, how much of each.
        from_y: (3, H), as `from_x`.
        share_y: (3, H), as `share_x`.
        out: (H, W, 3) uint8.
    """
    height, width, _ = image.shape
    lines = np.empty((height, from_x.shape[1] * 3), np.float32)
    row = np.empty(width * 3, np.float32)
    for y in range(height):
        source = image[y].reshape(width * 3)
        for j in range(width * 3):
            row[j] = source[j]
        _average_along(row, from_x, share_x, lines[y])
    sums = np.empty(lines.shape[1], np.float32)
    for y in range(from_y.shape[1]):
        sums[:] = 0
        for tap in range(3):
            if share_y[tap, y] != 0:
                _add(lines[from_y[tap, y]], share_y[tap, y], sums)
        target = out[y].reshape(lines.shape[1])
        for j in range(lines.shape[1]):
            target[j] = np.uint8(np.rint(sums[j]))
