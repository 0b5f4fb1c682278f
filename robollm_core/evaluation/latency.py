# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How long frames took, as percentiles; never a mean, never the first frame alone."""

from collections.abc import Sequence

import numpy as np

from robollm_core.types import PerceptionResult

PERCENTILES = (50, 90, 99)
STAGES = ("segment", "identify", "inspect", "total")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99 of at least one value, linear between neighbours.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("percentiles of no value")
    found = np.percentile(np.asarray(values, np.float64), PERCENTILES)
    return {f"p{p}": float(value) for p, value in zip(PERCENTILES, found, strict=True)}


def stage_latency_ms(results: Sequence[PerceptionResult]) -> dict[str, dict[str, float]]:
    """Percentiles of every stage, milliseconds.

    Args:
        results: at least one, with `stage_secs`.
    """
    return {
        stage: percentiles([result.stage_secs[stage] * 1e3 for result in results])
        for stage in STAGES
    }
