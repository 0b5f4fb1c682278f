# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How pick events are answered: counts, times, and what went wrong in the last minute."""

from typing import Any

from robollm_ros.status import ERROR, OK, WARN, PickFacts, Status, percentiles

UNWELL = ("timeout", "rejected")
"""Ends of an event that are a warning for a minute; "error" is an error for as long."""


def pick_status(picks: PickFacts | None) -> Status:
    """Sum up; None while nothing listens to pick events."""
    if picks is None:
        return Status("pick", OK, "not listening")
    values: dict[str, Any] = {
        **picks.counts,
        **percentiles("answer", picks.answer_ms, (50, 99)),
    }
    recent = picks.recent
    if failed := recent.get("error", 0):
        text = f"{failed} failed in the last minute; pick/status says why"
        return Status("pick", ERROR, text, values)
    told = [f"{recent[state]} ended in {state}" for state in UNWELL if recent.get(state)]
    if told:
        text = f"{' and '.join(told)} in the last minute; pick/status says why"
        return Status("pick", WARN, text, values)
    return Status("pick", OK, f"{picks.counts.get('done', 0)} answered", values)
