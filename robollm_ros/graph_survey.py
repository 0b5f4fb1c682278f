# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Joins the running graph for a while, without changing it, and writes down what is there."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from robollm_ros.graph_seen import ERROR, CellSeen, Endpoint, StatusSeen, Survey, TopicSeen
from robollm_ros.qos_events import name_of

ANSWER_S = 2.0
"""A service that has not answered for so long does not."""
ASKED = ("segmentation.artifact", "input.enabled", "input.transport", "use_sim_time")
"""The first is there in a perception node alone."""
FRAMES_S = 2.0
"""How long frames are counted that a cell misses."""
_IMAGES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_STATE_SERVICE = "lifecycle_msgs/srv/GetState"
_OWN = ("lifecycle", "model")
"""Who reports both is a perception node."""


class Surveyor:
    """A node that only listens and asks."""

    def __init__(self, context: Any = None) -> None:
        """Join the graph.

        Args:
            context: of rclpy; None for the default one.
        """
        self.node = Node(
            f"robollm_doctor_{os.getpid()}",
            context=context,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._statuses: dict[str, dict[str, StatusSeen]] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._heard, 50)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()

    def survey(
        self, seconds: float, namespace: str = "", stopped: Callable[[], bool] = lambda: False
    ) -> Survey:
        """Listen, then ask.

        Args:
            seconds: how long to listen.
            namespace: only cells in it or below it count; "" for all.
            stopped: asked ten times a second; True ends it early.
        """
        began = time.monotonic()
        self._spin(lambda: stopped() or time.monotonic() - began >= seconds)
        nodes = self._nodes()
        inside = [name for name in nodes if _within(name, namespace)]
        found = {name: self._cell(name) for name in inside if self._may_be_cell(name)}
        cells = {name: cell for name, cell in found.items() if cell is not None}
        topics = self._topics()
        frames = self._count_frames(missed(cells.values(), topics))
        return Survey(nodes, cells, topics, time.monotonic() - began, frames)

    def _heard(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node, colon, name = status.name.partition(": ")
            if colon and node == status.hardware_id:
                values = {pair.key: pair.value for pair in status.values}
                level = int.from_bytes(status.level, "little")
                seen = StatusSeen(level, status.message, values)
                self._statuses.setdefault(node, {})[name] = seen

    def _spin(self, done: Callable[[], bool]) -> None:
        while not done():
            self._executor.spin_once(timeout_sec=0.1)

    def _nodes(self) -> Counter[str]:
        own = self.node.get_fully_qualified_name()
        pairs = self.node.get_node_names_and_namespaces()
        names = [f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs]
        # ROS hides what begins with an underscore: the command line's daemon
        shown = [name for name in names if not name.rpartition("/")[2].startswith("_")]
        return Counter(name for name in shown if name != own)

    def _may_be_cell(self, node: str) -> bool:
        if set(_OWN) <= set(self._statuses.get(node, ())):
            return True
        namespace, _, name = node.rpartition("/")
        offered = self.node.get_service_names_and_types_by_node(name, namespace or "/")
        return any(_STATE_SERVICE in kinds for _, kinds in offered)

    def _cell(self, node: str) -> CellSeen | None:
        """The cell of that name; None when it is a lifecycle node of another kind."""
        statuses = self._statuses.get(node, {})
        state = self._ask(GetState, f"{node}/get_state", GetState.Request())
        label = state.current_state.label if state else ""
        parameters = self._parameters(node)
        known = bool(statuses) or parameters.get(ASKED[0]) is not None
        # who answers nothing at all can only be known by its name
        mute = state is None and not parameters and node.endswith("/perception")
        return CellSeen(node, label, statuses, parameters) if known or mute else None

    def _parameters(self, node: str) -> Mapping[str, object]:
        request = GetParameters.Request(names=list(ASKED))
        answer = self._ask(GetParameters, f"{node}/get_parameters", request)
        # a node that lacks one of the names answers with none
        if answer is None or len(answer.values) != len(ASKED):
            return {}
        found = (parameter_value_to_python(value) for value in answer.values)
        return dict(zip(ASKED, found, strict=True))

    def _ask(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        try:
            end = time.monotonic() + ANSWER_S
            self._spin(lambda: client.service_is_ready() or time.monotonic() > end)
            future = client.call_async(request)
            self._spin(lambda: future.done() or time.monotonic() > end)
            return future.result() if future.done() else None
        finally:
            self.node.destroy_client(client)

    def _count_frames(self, kinds: Mapping[str, str]) -> dict[str, int]:
        """Frames heard in `FRAMES_S` on topics of these types; the images are not unpacked."""
        heard = dict.fromkeys(kinds, 0)

        def count(topic: str, _message: bytes) -> None:
            heard[topic] += 1

        ears = [
            self.node.create_subscription(
                _IMAGES[kind], topic, partial(count, topic), qos_profile_sensor_data, raw=True
            )
            for topic, kind in kinds.items()
        ]
        end = time.monotonic() + FRAMES_S * bool(ears)
        self._spin(lambda: time.monotonic() > end)
        for ear in ears:
            self.node.destroy_subscription(ear)
        return heard

    def _topics(self) -> dict[str, TopicSeen]:
        own = self.node.get_fully_qualified_name()
        return {
            topic: TopicSeen(
                _endpoints(self.node.get_publishers_info_by_topic(topic), own),
                _endpoints(self.node.get_subscriptions_info_by_topic(topic), own),
            )
            for topic, _ in self.node.get_topic_names_and_types()
        }


def missed(cells: Iterable[CellSeen], topics: Mapping[str, TopicSeen]) -> dict[str, str]:
    """Image topics, with their type, that a cell misses though somebody publishes them."""
    cells = tuple(cells)
    names = {cell.name for cell in cells}
    wanted = {
        status.values.get("topic", "")
        for cell in cells
        for name, status in cell.statuses.items()
        if cell.state == "active" and name.startswith("input/") and status.level == ERROR
    }
    found = {}
    for topic in sorted(wanted & topics.keys()):
        seen = topics[topic]
        offered = {end.kind for end in seen.publishers}
        asked = {end.kind for end in seen.subscriptions if end.node in names}
        if fitting := offered & asked & set(_IMAGES):
            found[topic] = min(fitting)
    return found


def _within(name: str, namespace: str) -> bool:
    return name.startswith(f"/{namespace.strip('/')}/") if namespace.strip("/") else True


def _endpoints(infos: Iterable[Any], own: str) -> tuple[Endpoint, ...]:
    ends = (Endpoint(name_of(info), info.topic_type, info.qos_profile) for info in infos)
    return tuple(end for end in ends if end.node != own)
