# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pick events over ROS: pick/event in; pick/identity, pick/defects and pick/status out.

The executor takes events on and watches their deadlines; the worker looks at the
views. So a deadline is kept while a network hangs, and what the worker says later is
dropped.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from struct import unpack_from
from typing import Any, Protocol

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray

from robollm_core.config import Config
from robollm_core.errors import RobollmError
from robollm_core.picks.answers import REJECTED, PickAnswer
from robollm_core.picks.binding import Manifests
from robollm_core.picks.desk import Desk, Effect
from robollm_core.picks.event import check_installed
from robollm_core.picks.look import Looker, Scoring
from robollm_core.picks.pending import ViewJob
from robollm_core.pipeline import Stages
from robollm_core.types import Frame
from robollm_ros.cdr import FrameReader
from robollm_ros.conversions import json_message
from robollm_ros.pick_messages import defects_message, identity_message

EVENTS = "pick/event"
PICKS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
ACKS_S = 0.2
"""How long `PickDesk.close` waits until the last answers have arrived."""
QUIET_S = 5.0
"""A refusal is logged once in this many seconds."""
_LEAST_NS = 1_000_000
_NEVER_S = 3600.0
_LONGEST = 257
"""Bytes of a frame_id that an event could name, with its terminator."""


class Urgent(Protocol):
    """The part of the worker that picks need."""

    @property
    def stages(self) -> Stages:
        """In force."""

    def urgent(self, job: Callable[[], None]) -> None:
        """Run a job in the worker's thread before the next frame."""


class PickDesk:
    """The pick events of a node; made on configure, open while it is active.

    Attributes:
        desk: the state machine.
        decode: message to frame and header; used in the worker's thread.
        worked: called in the worker's thread when a view was looked at.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        worker: Urgent,
        cameras: Sequence[str],
        manifests: Manifests,
        *,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Make the publishers; they are no lifecycle ones, so that `close` can still answer.

        Args:
            node: whose names and callbacks.
            config: the tree.
            worker: runs the looking.
            cameras: names that `on_frame` will use.
            manifests: what was in force.
            failed: is told when a view could not be looked at, in the worker's thread;
                without it that is logged.

        Raises:
            PickError: If the schema of events is not installed.
        """
        check_installed()
        self._node, self._worker, self._failed = node, worker, failed
        self.desk = Desk(cameras, config, manifests)
        self._looker = Looker()
        self.decode: Callable[[Any], tuple[Frame, Header]] = FrameReader()
        self.worked: Callable[[], None] = lambda: None
        make = node.create_publisher
        self._identity = make(Detection2DArray, "pick/identity", PICKS)
        self._defects = make(Detection2DArray, "pick/defects", PICKS)
        self._status = make(String, "pick/status", PICKS)
        self._events: Subscription | None = None
        self._logged_at = -QUIET_S
        # a steady clock: a deadline does not wait for a paused simulation
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_NEVER_S, self._on_timer, clock=steady)
        self._timer.cancel()

    @property
    def models(self) -> Mapping[str, str]:
        """Description of the networks by stage, for the receipts."""
        return self.desk.models

    @models.setter
    def models(self, models: Mapping[str, str]) -> None:
        self.desk.models = dict(models)

    def open(self, qos_events: SubscriptionEventCallbacks | None = None) -> None:
        """Listen to pick events.

        Args:
            qos_events: told of publishers that do not fit, of `pick/event`.
        """
        self.desk.open()
        if self._events is None:
            self._events = self._node.create_subscription(
                String, EVENTS, self._on_event, PICKS, event_callbacks=qos_events
            )

    def close(self) -> None:
        """Stop listening, and answer what waits with cancelled."""
        if self._events is not None:
            self._node.destroy_subscription(self._events)
            self._events = None
        effects = self.desk.close("the node was deactivated.")
        self._do(effects)
        if effects:
            end = time.monotonic() + ACKS_S
            for publisher in (self._identity, self._defects, self._status):
                left = max(end - time.monotonic(), 0.0)
                publisher.wait_for_all_acked(Duration(seconds=left))

    def destroy(self) -> None:
        """Free publishers and timer."""
        self.close()
        self._node.destroy_timer(self._timer)
        for publisher in (self._identity, self._defects, self._status):
            self._node.destroy_publisher(publisher)

    def retune(self, config: Config) -> None:
        """Use other live settings from the next event on."""
        self.desk.config = config

    def on_frame(self, camera: str, stamp_ns: int, message: bytes | CompressedImage) -> None:
        """A frame has arrived; call it for every one, whatever becomes of it in the stream.

        Args:
            camera: one of the names given.
            stamp_ns: of its header.
            message: a serialised sensor_msgs/Image or a CompressedImage.
        """
        if isinstance(message, CompressedImage):
            size, frame_id = len(message.data), message.header.frame_id
        else:
            size, frame_id = len(message), _frame_id(message)
        self._do(self.desk.on_frame(camera, stamp_ns, message, size=size, frame_id=frame_id))

    def manifest_came(self) -> None:
        """A manifest has come into force, which events may have waited for; from any thread."""
        self._do(self.desk.manifest_came())

    def clear(self, reason: str = "time has jumped back.") -> None:
        """Forget frames and picks; what waits is answered cancelled."""
        self._do(self.desk.clear(reason))

    def counts(self) -> dict[str, int]:
        """Events: requests = done + timeout + cancelled + rejected + error + pending."""
        return self.desk.counts()

    def recent(self, seconds: float = 60.0) -> dict[str, int]:
        """How many events ended in each state lately."""
        return self.desk.recent(seconds)

    def answer_ms(self) -> tuple[float, ...]:
        """Milliseconds from arrival to answer, of the newest answers."""
        return self.desk.answer_ms()

    def ring(self) -> dict[str, int]:
        """Frames and bytes kept for events to come."""
        return self.desk.kept()

    def _on_event(self, message: String) -> None:
        self._do(self.desk.receive(message.data))
        self._watch()

    def _on_timer(self) -> None:
        self._do(self.desk.tick())
        self._watch()

    def _watch(self) -> None:
        """Let the timer ring when the next event is due; it rests while nothing waits.

        Called in the executor's thread alone: only there events are taken on, and a bell
        that rings too often does no harm.
        """
        due = self.desk.next_due()
        if due is None:
            self._timer.cancel()
            return
        self._timer.timer_period_ns = max(int((due - time.monotonic()) * 1e9), _LEAST_NS)
        self._timer.reset()

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ViewJob):
                self._worker.urgent(partial(self._look, effect))
            elif isinstance(effect, PickAnswer):
                self._answer(effect)
            else:
                self._tell(effect.status)

    def _answer(self, answer: PickAnswer) -> None:
        self._defects.publish(defects_message(answer))
        self._identity.publish(identity_message(answer))
        # last: who has the receipt can rely on the rest being on its way
        self._tell(answer.status)

    def _tell(self, status: Mapping[str, Any]) -> None:
        self._status.publish(json_message(status))
        if status["state"] == REJECTED and not status["replayed"]:
            self._log(f"rejected: {status['reason']}")

    def _look(self, job: ViewJob) -> None:
        """Look at a view, in the worker's thread."""
        if not self.desk.wanted(job):
            return
        started = time.perf_counter()
        try:
            frame, _ = self.decode(job.frame.payload)
            decoded = time.perf_counter()
            stages = self._worker.stages
            answer = self._looker.look(frame, job.index, job.event, job.manifest, stages)
            answer.secs["decode"] = decoded - started
        except Exception as error:  # noqa: BLE001 - whatever happens, the event is answered
            self._do(self.desk.failed(job, str(error) or type(error).__name__))
            self._complain(job, error)
            return
        self._do(self.desk.seen(job, answer, Scoring.of(stages.identification)))
        self.worked()

    def _complain(self, job: ViewJob, error: Exception) -> None:
        if self._failed is not None:
            self._failed(error)
            return
        expected = isinstance(error, RobollmError)
        trace = "" if expected else "\n" + "".join(traceback.format_exception(error))
        self._log(f"view {job.index} of {job.event.event_id}: {error}{trace}")

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= QUIET_S:
            self._logged_at = now
            name = self._node.resolve_topic_name(EVENTS)
            self._node.get_logger().warning(f"{name}: {text}")


def _frame_id(serialised: bytes) -> str:
    """The frame_id of a serialised message that begins with a header; "" where it has none."""
    if len(serialised) < 16:
        return ""
    order = "<" if serialised[1] & 1 else ">"
    (size,) = unpack_from(order + "I", serialised, 12)
    text = serialised[16 : 16 + max(size - 1, 0)] if size <= _LONGEST else b""
    return text.decode("utf-8", "replace")
