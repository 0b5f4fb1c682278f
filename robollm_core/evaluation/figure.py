# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a figure is; apart from the intervals, which need scipy."""

from typing import TypedDict


class Figure(TypedDict):
    """A figure of metrics.json; all of it is NaN-free, an empty sample has n = 0.

    Attributes:
        value: the estimate.
        n: what it rests on: picks or images.
        low, high: limits of the 95 % interval.
    """

    value: float
    n: int
    low: float
    high: float
