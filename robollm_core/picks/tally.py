# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How many events there were, how they ended and how long answers took."""

from collections import Counter, deque

from robollm_core.picks.answers import FINAL, REJECTED

WINDOW = 512
"""Answer times are those of this many newest answers."""
_RECENT = 4096


class Tally:
    """Counts events; not thread-safe: the desk, its one user, takes turns."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ended: deque[tuple[float, str]] = deque(maxlen=_RECENT)
        self._ms: deque[float] = deque(maxlen=WINDOW)

    def count(self, name: str) -> None:
        """One more of "requests", "replayed" or "cancels"."""
        self._counts[name] += 1

    def ended(self, state: str, now: float, took_ms: float | None) -> None:
        """An event was answered.

        Args:
            state: one of `answers.FINAL`.
            now: seconds of the monotonic clock.
            took_ms: since its arrival; None for one that nobody had to wait for.
        """
        self._counts[state] += 1
        self._ended.append((now, state))
        if took_ms is not None:
            self._ms.append(took_ms)

    def rejected(self, now: float) -> None:
        """An event was refused on arrival."""
        self.count("requests")
        self.ended(REJECTED, now, None)

    def counts(self) -> dict[str, int]:
        """All of them, by name."""
        return {name: self._counts[name] for name in ("requests", *FINAL, "replayed", "cancels")}

    def recent(self, since: float) -> dict[str, int]:
        """Events by how they ended, from a time of the monotonic clock on."""
        return dict(Counter(state for ended, state in self._ended if ended >= since))

    def answer_ms(self) -> tuple[float, ...]:
        """Of the newest answers."""
        return tuple(self._ms)
