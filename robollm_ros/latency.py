# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How long answers take, stage by stage, and whether they keep to the budget."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from robollm_core.config import HealthConfig
from robollm_ros.status import ERROR, OK, WARN, WINDOW, Status, percentiles

PERCENTS = (50, 90, 99)


class Latency:
    """Windows of milliseconds by stage; not locked: `Health` does that."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._ms: dict[str, deque[float]] = {}
        self._over = 0

    def answered(self, ms: Mapping[str, float], budget_ms: float) -> None:
        """A frame was answered.

        Args:
            ms: milliseconds by stage; "total" is what the budget is for.
            budget_ms: a frame that takes longer is over budget.
        """
        for stage, value in ms.items():
            self._ms.setdefault(stage, deque(maxlen=WINDOW)).append(value)
        self._over = self._over + 1 if ms.get("total", 0.0) > budget_ms else 0

    def status(self, config: HealthConfig) -> Status:
        """Sum up; one slow frame is a warning, `error_after` in a row are an error."""
        values: dict[str, Any] = {"over_budget_in_a_row": self._over}
        for stage, window in self._ms.items():
            values |= percentiles(stage, window, PERCENTS)
            values[f"{stage}_max_ms"] = round(max(window), 3)
        total = values.get("total_p90_ms")
        if total is None:
            return Status("latency", OK, "no frame yet", values)
        budget = f"the budget of {config.budget_ms:.0f} ms"
        if self._over >= config.error_after:
            text = (
                f"{self._over} frames in a row took longer than {budget}, p90 {total:.0f} ms; "
                "use a faster runtime or raise health.budget_ms"
            )
            return Status("latency", ERROR, text, values)
        if self._over:
            return Status("latency", WARN, f"the newest frame took longer than {budget}", values)
        if total > config.budget_ms:
            return Status("latency", WARN, f"p90 {total:.0f} ms is over {budget}", values)
        return Status("latency", OK, f"p90 {total:.0f} ms", values)
