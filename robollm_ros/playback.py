# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The node that plays a recording: its publishers, who listens, what was answered, the clock."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import error as StructError
from struct import unpack_from
from typing import Any

from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock as ClockMessage  # type: ignore[import-untyped]
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray, VisionInfo

from robollm_core.data.bag import MANIFEST_TOPIC, PICK_TOPIC
from robollm_core.data.camera_topics import camera_names
from robollm_ros.qos import ANSWERS, LATCHED

IMAGES = {
    "sensor_msgs/msg/Image": (Image, "image"),
    "sensor_msgs/msg/CompressedImage": (CompressedImage, "image/compressed"),
}
EVENTS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
_TICK_S = 0.05
_CLOCK_S = 0.01
"""A clock of 100 Hz: deadlines and ages are no finer than that."""
_ASK_S = 0.2

Moment = tuple[str, int]
"""frame_id and stamp of an image, which its answer repeats."""


@dataclass(slots=True)
class Played:
    """What was sent, in all rounds.

    Attributes:
        stamps: of the images, in order.
        by_camera: how many images of each camera.
        manifests: how many.
        events: ids of the pick events; "" for one that names none.
        given_up: images whose answer did not come while it was waited for.
        unanswered: of these, the ones not answered later either.
        silent: ids of the pick events without a final status.
        answers: images that were answered.
    """

    stamps: list[int] = field(default_factory=list)
    by_camera: dict[str, int] = field(default_factory=dict)
    manifests: int = 0
    events: list[str] = field(default_factory=list)
    given_up: list[Moment] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    answers: int = 0


class Player(Node):
    """Publishes what a bag holds, and knows who listens and what was answered."""

    def __init__(
        self, cameras: Mapping[str, str], others: Mapping[str, str], arguments: Any
    ) -> None:
        """Make the publishers.

        Args:
            cameras: image topic of the bag to its message type.
            others: topic of the bag to "manifest" or "pick".
            arguments: of the command line.
        """
        super().__init__("bag_player")
        self._lockstep: bool = arguments.lockstep
        self._answers = self.resolve_topic_name(arguments.answers or f"{arguments.node}/detections")
        # in lockstep this player listens too
        self._listeners = arguments.listeners + int(self._lockstep)
        self.names = camera_names(list(cameras))
        self._publishers_of: dict[str, Publisher] = {}
        for topic, msgtype in cameras.items():
            kind, ending = IMAGES[msgtype]
            # of one camera as image_transport names it, of several each under its name
            name = ending if len(cameras) == 1 else f"{self.names[topic]}/{ending}"
            self._publishers_of[topic] = self.create_publisher(kind, name, QoSProfile(depth=5))
        shared = {"manifest": (MANIFEST_TOPIC, LATCHED), "pick": (PICK_TOPIC, EVENTS)}
        made = {
            what: self.create_publisher(String, *shared[what])
            for what in sorted(set(others.values()))
        }
        self._publishers_of |= {topic: made[what] for topic, what in others.items()}
        self.perception = None if arguments.any_listener else Perception(self, arguments.node)
        self.clock = BagClock(self, arguments.rate) if arguments.clock else None
        self.played = Played()
        self._waiting: list[Moment] = []
        self._answered: set[Moment] = set()
        self._final: set[str] = set()
        self._edition = -1
        """Newest database_version that the node has said, which grows with every manifest."""
        if self._lockstep:
            self._listen(Detection2DArray, self._answers, ANSWERS, self._on_answer)
            self._listen(String, "pick/status", EVENTS, self._on_status)
            name = f"{arguments.node}/vision_info"
            self.create_subscription(VisionInfo, name, self._on_edition, LATCHED)
        self._executor_of_mine = SingleThreadedExecutor(context=self.context)
        self._executor_of_mine.add_node(self)

    def _listen(
        self, kind: Any, topic: str, qos: QoSProfile, heard: Callable[[bytes], None]
    ) -> None:
        self.create_subscription(kind, topic, heard, qos, raw=True)

    def wait(self, stop: threading.Event, seconds: float, done: Callable[[], bool]) -> bool:
        """Serve callbacks until `done`, the end of the time, or `stop`; returns whether done."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0 or stop.is_set():
                return False
            self._executor_of_mine.spin_once(timeout_sec=min(_TICK_S, left))
        return True

    def unheard(self) -> str:
        """What nobody listens to yet; "" when everything has a listener and the node is active."""
        for publisher in dict.fromkeys(self._publishers_of.values()):
            if not self._heard(publisher):
                return str(publisher.topic_name)
        if self.count_subscribers(self._answers) < self._listeners:
            return str(self._answers)
        if self.perception is None:
            return ""
        known = self.perception.active() and (self._edition >= 0 or not self._lockstep)
        return "" if known else str(self.perception.name)

    def _heard(self, publisher: Publisher) -> bool:
        infos = self.get_subscriptions_info_by_topic(publisher.topic_name)
        if self.perception is not None and not any(map(self.perception.is_of, infos)):
            return False
        # with everybody whom the graph shows, so that the first message reaches the node for sure
        latched = publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        fitting = [
            info for info in infos
            if latched or info.qos_profile.durability != DurabilityPolicy.TRANSIENT_LOCAL
        ]  # fmt: skip
        return bool(publisher.get_subscription_count() >= max(1, len(fitting)))

    def play(self, topic: str, serialised: bytes) -> None:
        """Publish a message as it was recorded; a manifest until it has arrived."""
        publisher = self._publishers_of[topic]
        publisher.publish(serialised)
        if topic in self.names:
            moment = header_of(serialised)
            name = self.names[topic]
            self.played.stamps.append(moment[1])
            self.played.by_camera[name] = self.played.by_camera.get(name, 0) + 1
            self._waiting.append(moment)
            self._answered.discard(moment)
            return
        if str(publisher.topic_name).endswith(f"/{MANIFEST_TOPIC}"):
            publisher.wait_for_all_acked()
            self.played.manifests += 1
        else:
            # not acknowledged before the next heartbeat, up to 3 s later: no frame waits for that
            self.played.events.append(_event_id(serialised))

    def awaited_edition(self) -> Callable[[], bool]:
        """Whether the node has put a manifest in force since; asked before one is played.

        Always true out of lockstep, and of a node that says nothing of manifests.
        """
        before, silent = self._edition, self.perception is None or not self._lockstep
        return lambda: silent or self._edition > before

    def answered_newest(self) -> bool:
        """Whether the newest image was answered; always true out of lockstep."""
        return not (self._lockstep and self._waiting) or self._waiting[-1] in self._answered

    def answered_picks(self) -> bool:
        """Whether all pick events that name themselves have ended; always true out of lockstep."""
        return not self._lockstep or {each for each in self.played.events if each} <= self._final

    def give_up(self) -> None:
        """The newest image is not waited for any longer."""
        self.played.given_up.append(self._waiting[-1])

    def end_round(self) -> None:
        """Add up what was answered of a round; a next one sends the same stamps again."""
        played = self.played
        played.answers += sum(moment in self._answered for moment in self._waiting)
        played.unanswered += [m[1] for m in played.given_up if m not in self._answered]
        played.silent = [each for each in played.events if each and each not in self._final]
        self._waiting.clear()
        self._answered.clear()
        played.given_up.clear()

    def _on_edition(self, message: VisionInfo) -> None:
        self._edition = int(message.database_version)

    def _on_answer(self, serialised: bytes) -> None:
        self._answered.add(header_of(serialised))

    def _on_status(self, serialised: bytes) -> None:
        try:
            tree = json.loads(deserialize_message(serialised, String).data)
            if tree["final"]:
                self._final.add(str(tree["event_id"]))
        except (ValueError, TypeError, KeyError):
            self.get_logger().warning("a message on pick/status is no status of a pick event")


class Perception:
    """The perception node, as its lifecycle services and the graph show it."""

    def __init__(self, node: Node, name: str) -> None:
        """Name it; nothing is asked yet.

        Args:
            node: who asks.
            name: of the perception node, relative to the asking node's namespace.
        """
        self.name = str(node.resolve_topic_name(name, only_expand=True))
        self._client = node.create_client(GetState, f"{name}/get_state")
        self._asked: Any = None
        self._asked_at = 0.0
        self._state = State.PRIMARY_STATE_UNKNOWN

    def is_of(self, endpoint: Any) -> bool:
        """Whether an endpoint in the graph is one of its own."""
        own = f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
        return bool(own == self.name)

    def active(self) -> bool:
        """Whether it has said that it is active; asks again five times a second."""
        if self._asked is not None and self._asked.done():
            self._state, self._asked = self._asked.result().current_state.id, None
        now = time.monotonic()
        # a request may be lost when the node ends
        patience = _ASK_S if self._asked is None else 10 * _ASK_S
        if now - self._asked_at > patience and self._client.service_is_ready():
            self._asked, self._asked_at = self._client.call_async(GetState.Request()), now
        return bool(self._state == State.PRIMARY_STATE_ACTIVE)


class BagClock:
    """The time of the recording on /clock: of each message, and 100 times a second between."""

    def __init__(self, node: Node, rate: float) -> None:
        """Make the publisher.

        Args:
            node: whose.
            rate: times the recorded pace.
        """
        self._publisher = node.create_publisher(ClockMessage, "/clock", QoSProfile(depth=10))
        self._rate = rate
        self._from: tuple[int, float] | None = None
        self._until_ns = 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_CLOCK_S, self._tick, clock=steady)

    def message(self, log_ns: int) -> None:
        """The time of a message that is about to be published; may go back at a new round."""
        self._from, self._until_ns = (log_ns, time.monotonic()), log_ns
        self._say(log_ns)

    def run_until(self, log_ns: int) -> None:
        """Go on at the recorded pace, up to the next message."""
        self._until_ns = log_ns

    def _tick(self) -> None:
        if self._from is None:
            return
        log_ns, since = self._from
        passed = round((time.monotonic() - since) * self._rate * 1e9)
        # without a next message in sight, as in lockstep, time stands still
        self._say(min(log_ns + passed, self._until_ns))

    def _say(self, log_ns: int) -> None:
        sec, nanosec = divmod(log_ns, 1_000_000_000)
        self._publisher.publish(ClockMessage(clock=Time(sec=sec, nanosec=nanosec)))


def header_of(serialised: bytes) -> Moment:
    """frame_id and stamp of a serialised message that begins with a header.

    Raises:
        ValueError: If the bytes end too early.
    """
    order = "<" if serialised[1] & 1 else ">"
    try:
        sec, nanosec, size = unpack_from(order + "iII", serialised, 4)
    except StructError as error:
        raise ValueError(f"a message without a whole header: {error}") from error
    name = serialised[16 : 16 + max(0, size - 1)].decode("utf-8", "replace")
    return name, int(sec) * 1_000_000_000 + int(nanosec)


def _event_id(serialised: bytes) -> str:
    try:
        return str(json.loads(deserialize_message(serialised, String).data)["event_id"])
    except (ValueError, TypeError, KeyError):
        return ""
