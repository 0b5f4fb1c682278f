# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How the node is doing: counts, ages and latencies, and what they add up to.

Times come from a monotonic clock: a paused simulation must not silence health.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robollm_core.config import Config
from robollm_core.types import Frame, Manifest

OK, WARN, ERROR = 0, 1, 2
"""Levels, as in diagnostic_msgs/DiagnosticStatus."""
TOPICS = ("image", "container/manifest")
"""What the node listens to; refusals are counted for each."""
IMAGE, MANIFEST = TOPICS
QUIET_S = 5.0
"""A refusal is logged once a topic in this many seconds."""
RECENT_S = 10.0
"""A refusal younger than this makes the node unwell."""
WINDOW = 512
"""Latencies are those of this many newest frames."""


@dataclass(frozen=True, slots=True)
class Status:
    """One line of health.

    Attributes:
        name: "lifecycle", "model", "input", "latency", "output", "errors" or "manifest".
        level: `OK`, `WARN` or `ERROR`.
        message: one sentence.
        values: details, in order.
    """

    name: str
    level: int
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Health:
    """Gathers what happens; safe to use from the executor and the worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing known.

        Args:
            clock: seconds that never go back.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self.state = "unconfigured"
        """Label of the lifecycle state."""
        self.model: dict[str, str] = {}
        """What was loaded, by stage; empty when nothing is."""
        self.refusal = ""
        """Why the newest manifest was refused; empty once a later one is in force."""
        self._logged_at: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Forget the counts; called when the node activates."""
        with self._lock:
            self.processed = 0
            self.errors = dict.fromkeys(TOPICS, 0)
            self._since = self._clock()
            self._last_arrival: float | None = None
            self._ms: dict[str, deque[float]] = {}
            self._last_error = ""
            self._last_error_at = -np.inf
            self._input: dict[str, Any] = {}

    def arrived(self) -> None:
        """A frame came in."""
        self._last_arrival = self._clock()

    def described(self, frame: Frame) -> str:
        """Note what the frames look like.

        Returns:
            What is new about it; "" while the size stays what it was.
        """
        height, width = frame.image_rgb.shape[:2]
        before = self._input
        self._input = {"width": width, "height": height, "frame_id": frame.camera}
        if not before or (before["width"], before["height"]) == (width, height):
            return ""
        return f"the size changed from {before['width']}x{before['height']} to {width}x{height}."

    def answered(self, ms: Mapping[str, float]) -> None:
        """A frame was answered, in these milliseconds by stage."""
        with self._lock:
            self.processed += 1
            for stage, value in ms.items():
                self._ms.setdefault(stage, deque(maxlen=WINDOW)).append(value)

    def refused(self, topic: str, text: str) -> bool:
        """Something on one of `TOPICS` was refused.

        Returns:
            Whether to log it: the first on its topic in `QUIET_S` seconds.
        """
        now = self._clock()
        with self._lock:
            self.errors[topic] += 1
            self._last_error = f"{topic}: {text}"
            self._last_error_at = now
            if topic == MANIFEST:
                self.refusal = text
            due = now - self._logged_at.get(topic, -np.inf) >= QUIET_S
            if due:
                self._logged_at[topic] = now
            return due

    def accepted(self) -> None:
        """The newest manifest is in force."""
        with self._lock:
            self.refusal = ""

    def statuses(
        self,
        config: Config,
        manifest: Manifest | None,
        counts: Mapping[str, int],
        listeners: Mapping[str, int],
    ) -> tuple[Status, ...]:
        """Sum up.

        Args:
            config: thresholds.
            manifest: what is in force.
            counts: "received" frames since activation, and "dropped" ones, which a
                newer one overwrote.
            listeners: subscriptions by output topic; a recorder waits for its own.
        """
        with self._lock:
            loaded = "loaded" if self.model else "not loaded"
            return (
                Status("lifecycle", OK if self.state == "active" else WARN, self.state),
                Status("model", OK if self.model else WARN, loaded, dict(self.model)),
                self._input_status(config, counts),
                self._latency_status(config),
                Status("output", OK, f"{sum(listeners.values())} listeners", dict(listeners)),
                self._error_status(),
                _manifest_status(manifest, self.refusal),
            )

    def _input_status(self, config: Config, counts: Mapping[str, int]) -> Status:
        now = self._clock()
        last = self._last_arrival
        age = now - (self._since if last is None else last)
        values = {
            **counts,
            "processed": self.processed,
            "hz": round(counts["received"] / max(now - self._since, 1e-3), 3),
            "age_s": round(age, 3),
            **self._input,
        }
        if self.state != "active":
            return Status("input", OK, "not listening", values)
        if age > config.input.stale_after_s:
            text = "no frame yet" if last is None else "stale"
            return Status("input", ERROR, f"{text} for {age:.1f} s; is the camera up?", values)
        return Status("input", OK, "frames arrive", values)

    def _latency_status(self, config: Config) -> Status:
        values: dict[str, Any] = {}
        for stage, window in self._ms.items():
            for percent in (50, 90, 99):
                values[f"{stage}_p{percent}_ms"] = round(float(np.percentile(window, percent)), 3)
        total = values.get("total_p90_ms")
        if total is None:
            return Status("latency", OK, "no frame yet", values)
        if total > config.health.budget_ms:
            text = f"p90 {total:.0f} ms is over the budget of {config.health.budget_ms:.0f} ms"
            return Status("latency", WARN, text, values)
        return Status("latency", OK, f"p90 {total:.0f} ms", values)

    def _error_status(self) -> Status:
        values = {**self.errors, "last": self._last_error}
        recent = self._clock() - self._last_error_at < RECENT_S
        text = self._last_error if recent else f"{sum(self.errors.values())} refused inputs"
        return Status("errors", ERROR if recent else OK, text, values)


def _manifest_status(manifest: Manifest | None, refusal: str) -> Status:
    refused = f"refused: {refusal.rstrip('.')}; " if refusal else ""
    if manifest is None:
        return Status("manifest", WARN, f"{refused}none yet; instances are found but not named")
    values = {
        "container_id": manifest.container_id,
        "version": manifest.version,
        "items": len(manifest.items),
        "sha256": manifest.sha256[:12],
    }
    if refused:
        kept = f"{manifest.container_id} v{manifest.version} stays in force"
        return Status("manifest", WARN, refused + kept, values)
    return Status("manifest", OK, f"{len(manifest.items)} items", values)
