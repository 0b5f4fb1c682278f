# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that lives from configure to cleanup, and who tells whom of it."""

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from robollm_core.config import Config
from robollm_core.errors import ImageError, PickError
from robollm_core.identification.prefetch import Prefetcher
from robollm_core.manifests import ManifestHistory
from robollm_core.pipeline import Stages
from robollm_core.runtime.announcement import announcement
from robollm_core.types import Manifest
from robollm_ros.cameras import Camera
from robollm_ros.cdr import FrameReader
from robollm_ros.conversions import image_message
from robollm_ros.health import MANIFEST, Health
from robollm_ros.inputs import Inputs
from robollm_ros.intake import Intake
from robollm_ros.outputs import Outputs
from robollm_ros.pick_desk import PickDesk
from robollm_ros.qos_events import QosEvents
from robollm_ros.self_test import golden
from robollm_ros.services import Services
from robollm_ros.status import CameraFacts, Facts, PickFacts
from robollm_ros.worker import SKIPPED, Worker

PICK = "pick/event"
KEPT = "The manifest before stays in force."
MISSING = "The view counts as missing."
LAST_S = 0.3
"""So long cleanup waits for a batch of references that is being embedded."""
END_S = 1.0
"""So long a process that is asked to end waits for the frame at hand."""


class Configured:
    """The worker with all it takes in and gives out.

    Attributes:
        config: as it stands, live changes included.
        health: is told of everything.
        version: of the database that item ids come from; grows with every manifest in force
            and every reload of the gallery.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: Config,
        cameras: tuple[Camera, ...],
        stages: Stages,
        health: Health,
    ) -> None:
        """Make everything; nothing is heard or said before `activate`.

        Args:
            node: whose publishers, names and clock.
            config: checked.
            cameras: with topics that differ.
            stages: warmed up.
            health: is told of everything.

        Raises:
            ArtifactError: If a network has changed on disk since it was loaded.
        """
        self.config, self.version = config, 0
        # what may fail comes before what would then be left behind
        self._said, stored = announcement(config), golden(stages)
        self._node, self.health = node, health
        self._events = QosEvents(node)
        self.intake = Intake(cameras, health, now_ns=self._now_ns, log=self._log)
        self.outputs = Outputs(
            node,
            masks=config.output.masks,
            overlay=config.output.overlay,
            events=self._events.of_publisher,
            age_ms=self.intake.age_ms,
        )
        reader = _checked_reader(node)
        self.worker = Worker(
            stages, health, self.intake,
            decode=reader, publish=self.outputs.publish, log=self._log,
        )  # fmt: skip
        self.history = ManifestHistory(config.picks.manifests)
        self.manifests = Prefetcher(
            lambda: self.worker.stages.identification, self._in_force, self._refused
        )
        self.desk = PickDesk(
            node, config, self.worker, list(self.intake.cameras), self.history, failed=self._failed
        )
        self.desk.decode = reader
        self.services = Services(node, self, stages, stored)
        self._inputs: Inputs | None = None
        self._doomed: Manifest | None = None
        self._link(config, cameras)

    def _link(self, config: Config, cameras: tuple[Camera, ...]) -> None:
        self._announcing = threading.Lock()
        self.desk.worked, self.intake.on_back = self.health.worked, self._back
        self.desk.desk.coming = lambda: self.manifests.busy
        self._retune(config, cameras)
        self.manifests.start()
        # what stands until cleanup is never looked at again: a full collection of a loaded node
        # takes longer than many frames
        gc.collect()
        gc.freeze()

    @property
    def active(self) -> bool:
        """Whether it listens."""
        return self._inputs is not None

    def activate(self) -> None:
        """Listen and answer; the publishers are enabled already.

        Raises:
            RobollmError: If a network that was given up still hangs.
        """
        self.worker.start()
        self.health.restart(self.intake.cameras)
        try:
            self.outputs.painter.start()
            self.desk.open(self._events.of_subscription(PICK))
            self._announce(0)
            self._inputs = Inputs(
                self._node,
                list(self.intake.cameras.values()),
                on_image=self.on_image,
                on_manifest=self.manifests.offer,
                on_jump=self.intake.went_back,
                events=self._events.of_subscription,
            )
        except BaseException:
            self._stop(lambda: False)
            raise

    def deactivate(self, ending: Callable[[], bool]) -> None:
        """Stop listening; the frame at hand is still answered, unless its network hangs.

        Args:
            ending: whether the process is asked to end, and cannot wait for long.
        """
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
            self._stop(ending)

    def _stop(self, ending: Callable[[], bool]) -> None:
        self.desk.close()
        self.services.cancel()
        self.outputs.painter.stop()
        if not self.worker.stop(self._give_up(ending)):
            self._node.get_logger().error(
                "the frame at hand was given up: its network has not answered."
            )

    def close(self) -> None:
        """Free everything."""
        gc.unfreeze()
        self.services.close()
        self.manifests.stop(LAST_S)
        self.desk.destroy()
        self.outputs.close()

    def retune(self, config: Config, cameras: tuple[Camera, ...], stages: Stages) -> None:
        """Take live settings over.

        Args:
            config: differs in live leaves only.
            cameras: of the same names and topics.
            stages: the same networks under the new thresholds.
        """
        self.worker.stages = stages
        self.desk.retune(config)
        self._retune(config, cameras)

    def on_image(self, camera: str, message: Any) -> None:
        """Leave a message, serialised or compressed, to the worker and to the picks."""
        with self.worker.refusals.of(self.intake.cameras[camera].heard, SKIPPED):
            stamp_ns = self.worker.put(camera, message)
            if stamp_ns is not None:
                self.desk.on_frame(camera, stamp_ns, message)

    def reloaded(self) -> None:
        """The gallery was read anew."""
        self._announce(1)

    def facts(self) -> Facts:
        """What health cannot know by itself."""
        node, counts = self._node, self.worker.counts()
        cameras = {
            name: CameraFacts(
                node.resolve_topic_name(camera.heard),
                camera.stale_after_s,
                counts[name],
                node.count_publishers(camera.heard),
            )
            for name, camera in self.intake.cameras.items()
        }
        picks = PickFacts(self.desk.counts(), self.desk.recent(), self.desk.answer_ms())
        identifier: Any = self.worker.stages.identification
        gallery = identifier.gallery_status() if hasattr(identifier, "gallery_status") else None
        return Facts(
            cameras, self.outputs.listeners(), self.worker.manifest, gallery, picks,
            self.worker.busy(), self._events.standing(),
        )  # fmt: skip

    def _retune(self, config: Config, cameras: tuple[Camera, ...]) -> None:
        self.config = config
        self.intake.cameras = {camera.name: camera for camera in cameras}
        self.intake.enabled = config.input.enabled
        self.outputs.painter.rate_hz = config.output.overlay_hz

    def _give_up(self, ending: Callable[[], bool]) -> Callable[[], bool]:
        begun = time.monotonic()

        def over() -> bool:
            _, busy_s = self.worker.busy() or ("", 0.0)
            late = ending() and time.monotonic() - begun > END_S
            return late or busy_s > self.config.health.hang_s

        return over

    def _in_force(self, manifest: Manifest) -> None:
        self.history.put(manifest)
        self.worker.manifest = manifest
        if manifest is not self._doomed:  # a newer one was refused while this was embedded
            self.health.accepted()
        self._announce(1)
        self.desk.manifest_came()

    def _refused(self, error: Exception) -> None:
        self._doomed = self.manifests.pending
        self.worker.refusals.refused(MANIFEST, error, KEPT)

    def _failed(self, error: Exception) -> None:
        # an image that is none, or a wrong selection, is no failure of a network
        refusals, foreign = self.worker.refusals, isinstance(error, ImageError | PickError)
        (refusals.refused if foreign else refusals.failed)(PICK, error, MISSING)

    def _back(self, camera: str | None) -> None:
        what = "the clock" if camera is None else f"the stamps of {camera}"
        self._node.get_logger().warning(f"{what} went back; what waited is of no use any more.")
        self.health.jumped(camera)
        self.desk.clear(f"{what} went back")

    def _announce(self, step: int) -> None:
        with self._announcing:  # manifests and reloads come from different threads
            self.version += step
            edition = replace(self._said, database_version=self.version)
            self.outputs.announce(edition, self._node.get_clock().now().to_msg())

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _log(self, topic: str, text: str) -> None:
        self._node.get_logger().warning(f"{self._node.resolve_topic_name(topic)}: {text}")


def _checked_reader(node: LifecycleNode) -> FrameReader:
    """A reader that has compared its ways to read on a small image, and not on the first frame."""
    if os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1":
        node.get_logger().warning("ROS_PYTHON_CHECK_FIELDS=1 costs 200 ms an image; unset it.")
    reader = FrameReader()
    small = image_message(np.zeros((2, 3, 3), np.uint8), "rgb8", Header(frame_id="check"))
    reader(bytes(serialize_message(small)))
    return reader
