# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How the node is doing: counts, ages and latencies, and what they add up to.

Times come from a monotonic clock: a paused simulation must not silence health.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from robollm_core.config import Config
from robollm_core.types import Frame, Manifest
from robollm_ros.camera_health import CameraHealth, Moment
from robollm_ros.gallery_health import gallery_status
from robollm_ros.gpu import read_gpu
from robollm_ros.latency import Latency
from robollm_ros.pick_health import pick_status
from robollm_ros.status import ERROR, OK, RECENT_S, WARN, Facts, Status

CAMERA = "camera"
"""Name of the camera of a cell that names none."""
IMAGE, MANIFEST = TOPICS = ("image", "container/manifest")
"""What a cell with one camera listens to; refusals are counted for each."""
QUIET_S = 5.0
"""A refusal is logged once a topic in this many seconds."""


class Health:
    """Gathers what happens; safe to use from the executor, the worker and other threads.

    Attributes:
        config: thresholds; replaced at configure and at each live change.
        doing: what a transition that takes long does now; "" otherwise.
        trouble: why the last transition failed; "" after one that did not.
        model: what was loaded, by stage; empty when nothing is.
        refusal: why the newest manifest was refused; empty once a later one is in force.
        fatal: why the watchdog stopped the node; cleared by `restart`.
        processed: frames answered since activation.
        errors: refusals since activation, by topic.
        failures: times in a row that the networks failed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing known.

        Args:
            clock: seconds that never go back.
        """
        self._clock = clock
        self._lock = threading.RLock()
        self.config = Config()
        self.model: dict[str, str] = {}
        self.doing = self.trouble = self.refusal = self.fatal = ""
        self._logged_at: dict[str, float] = {}
        self._born = clock()
        self.state = "unconfigured"
        self.restart()

    @property
    def last_error(self) -> str:
        """Topic and reason of the newest refusal since activation; "" without one."""
        return self._last_error

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return self._state

    @state.setter
    def state(self, label: str) -> None:
        self._state, self._state_since = label, self._clock()

    def restart(self, cameras: Iterable[str] = (CAMERA,)) -> None:
        """Forget the counts; called when the node activates, with the cameras it listens to."""
        with self._lock:
            now = self._clock()
            self.processed = self.failures = 0
            self.fatal = ""
            self.errors: dict[str, int] = {}
            self._refused: dict[str, tuple[float, str]] = {}
            self._cameras = {name: CameraHealth(name, now) for name in cameras}
            self._latency = Latency()
            self._last_error, self._last_error_at = "", -np.inf

    def arrived(self, camera: str, age_ms: float | None = None) -> None:
        """A frame came in.

        Args:
            camera: name of the camera.
            age_ms: milliseconds since its stamp; None when the stamp is zero or in the future.
        """
        with self._lock:
            self._camera(camera).arrived(self._clock(), age_ms)

    def described(self, camera: str, frame: Frame, encoding: str = "") -> str:
        """Note what the frames of a camera look like.

        Returns:
            What is new about it; "" while the size stays what it was.
        """
        with self._lock:
            return self._camera(camera).described(frame, encoding)

    def answered(self, camera: str, ms: Mapping[str, float]) -> None:
        """A frame was answered, in these milliseconds by stage; "total" is held to the budget."""
        with self._lock:
            self.processed += 1
            self.failures = 0
            self._camera(camera).answered(self._clock())
            self._latency.answered(ms, self.config.health.budget_ms)

    def worked(self) -> None:
        """The networks looked at something else than a frame of the stream, and did not fail."""
        with self._lock:
            self.failures = 0

    def jumped(self, camera: str | None) -> None:
        """Time went back, for one camera or for all (None): ages from before mean nothing."""
        with self._lock:
            for name, each in self._cameras.items():
                if camera in (None, name):
                    each.jumped()

    def failed(self, topic: str, text: str) -> bool:
        """The networks raised, or gave what is no number, for a frame of a topic.

        Returns:
            Whether to log it, as `refused` says.
        """
        with self._lock:
            self.failures += 1
            return self.refused(topic, text)

    def refused(self, topic: str, text: str) -> bool:
        """Something on a topic was refused.

        Args:
            topic: relative name: "image", "tote_top/image", "container/manifest", ...
            text: why.

        Returns:
            Whether to log it: the first on its topic in `QUIET_S` seconds.
        """
        now = self._clock()
        with self._lock:
            self.errors[topic] = self.errors.get(topic, 0) + 1
            self._last_error, self._last_error_at = f"{topic}: {text}", now
            if topic == MANIFEST:
                self.refusal = text
            self._refused[topic] = (now, text)
            due = now - self._logged_at.get(topic, -np.inf) >= QUIET_S
            if due:
                self._logged_at[topic] = now
            return due

    def accepted(self) -> None:
        """The newest manifest is in force."""
        with self._lock:
            self.refusal = ""

    def statuses(self, facts: Facts) -> tuple[Status, ...]:
        """Sum up what was gathered and what the node knows."""
        gpu = read_gpu()
        with self._lock:
            now = self._clock()
            everything = (
                self._lifecycle_status(now),
                self._model_status(facts),
                *self._input_statuses(now, facts),
                self._latency.status(self.config.health),
                gallery_status(facts.gallery),
                pick_status(facts.picks),
                gpu,
                _output_status(facts),
                self._error_status(now),
                _manifest_status(facts.manifest, self.refusal),
            )
            return tuple(status for status in everything if status is not None)

    def _camera(self, name: str) -> CameraHealth:
        return self._cameras.setdefault(name, CameraHealth(name, self._clock()))

    def _refusal_of(self, name: str, resolved: str) -> tuple[float, str] | None:
        """When and why the newest message on a camera's topic was refused; None: none was."""
        for topic, refusal in self._refused.items():
            if topic == name or f"/{resolved}".endswith(f"/{topic.lstrip('/')}"):
                return refusal
        return None

    def _lifecycle_status(self, now: float) -> Status:
        age = now - self._state_since
        values = {"uptime_s": round(now - self._born, 1), "state_s": round(age, 1)}
        if self.doing:
            return Status("lifecycle", WARN, f"{self.state}: {self.doing}, {age:.0f} s", values)
        if self.trouble:
            return Status("lifecycle", ERROR, f"{self.state}: {self.trouble}", values)
        return Status("lifecycle", OK if self.state == "active" else WARN, self.state, values)

    def _model_status(self, facts: Facts) -> Status:
        what, secs = facts.busy or ("", 0.0)
        values = {**self.model, "busy": what, "busy_s": round(secs, 3), "failures": self.failures}
        if self.fatal:
            return Status("model", ERROR, self.fatal, values)
        if self.failures >= self.config.health.error_after:
            text = f"failed {self.failures} times in a row: {self._last_error}"
            return Status("model", ERROR, text, values)
        if self.failures:
            return Status("model", WARN, f"failed on the newest frame: {self._last_error}", values)
        loaded = "loaded" if self.model else "not loaded"
        return Status("model", OK if self.model else WARN, loaded, values)

    def _input_statuses(self, now: float, facts: Facts) -> list[Status]:
        active = self.state == "active"
        moments = {
            name: Moment(
                now,
                active,
                camera,
                facts.mismatches.get(camera.topic),
                self._refusal_of(name, camera.topic),
                self.config.input.enabled,
            )
            for name, camera in facts.cameras.items()
        }
        return [self._camera(name).status(moment) for name, moment in moments.items()]

    def _error_status(self, now: float) -> Status:
        values = {**self.errors, "last": self._last_error}
        recent = now - self._last_error_at < RECENT_S
        text = self._last_error if recent else f"{sum(self.errors.values())} refused inputs"
        return Status("errors", ERROR if recent else OK, text, values)


def _output_status(facts: Facts) -> Status:
    values = dict(facts.listeners)
    inputs = {camera.topic for camera in facts.cameras.values()}
    others = [bad.text for topic, bad in facts.mismatches.items() if topic not in inputs]
    if others:
        return Status("output", WARN, " | ".join(others), values)
    return Status("output", OK, f"{sum(values.values())} listeners", values)


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
