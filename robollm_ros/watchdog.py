# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Notices networks that hang or fail again and again; a timer of the executor ticks it."""

import sys
import threading
import traceback

from robollm_core.config import HealthConfig


class Watchdog:
    """Says once an episode why the networks cannot be relied on any more.

    Attributes:
        reason: of the episode that lasts; "" while all is well.
    """

    def __init__(self) -> None:
        """Start with all well."""
        self.reason = ""
        self._kind = ""
        self._secs = 0.0

    def tick(
        self, config: HealthConfig, busy: tuple[str, float] | None, failures: int, last: str
    ) -> str:
        """Look.

        Args:
            config: how long is too long, how often is too often.
            busy: what the worker does, and for how many seconds; None while it waits.
            failures: times in a row that the networks failed.
            last: why they failed the last time.

        Returns:
            The reason when an episode begins, "" otherwise.
        """
        what, secs = busy or ("", 0.0)
        another = secs < self._secs  # it has turned to another job since the last tick
        self._secs = secs
        kind, reason = "", ""
        if secs > config.hang_s:
            kind = "hang"
            reason = f"the networks hang: {what} has not answered for {secs:.1f} s"
        elif failures >= config.error_after:
            kind, reason = "fail", f"the networks failed {failures} times in a row: {last}"
        began = bool(kind) and (kind != self._kind or (kind == "hang" and another))
        self._kind, self.reason = kind, reason
        return reason if began else ""


def stacks() -> str:
    """Where every other thread of this process stands, for the log."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    return "\n".join(
        f"thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
        if number != own
    )
