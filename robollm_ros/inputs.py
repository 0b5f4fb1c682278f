# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node listens to, and with which QoS."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from robollm_core.config import Leaf
from robollm_ros.cameras import CAMERA_NAMES, Camera, default_topic, heard_topic, names_given
from robollm_ros.health import MANIFEST
from robollm_ros.parameters import overrides_of
from robollm_ros.qos import IMAGES_IN, LATCHED

__all__ = ["IMAGES_IN", "LATCHED", "Inputs", "image_topic", "qos_leaves"]

_HISTORIES, _RELIABILITIES = (
    tuple(name.lower() for name in policy.__members__ if name != "UNKNOWN")
    for policy in (HistoryPolicy, ReliabilityPolicy)
)


class Inputs:
    """The subscriptions of the node; made on activate, closed on deactivate."""

    def __init__(
        self,
        node: Node,
        cameras: Sequence[Camera],
        *,
        on_image: Callable[[str, Any], None],
        on_manifest: Callable[[str], None],
        on_jump: Callable[[], None],
        events: Callable[[str], Any],
    ) -> None:
        """Subscribe.

        Args:
            node: whose names and callbacks.
            cameras: all there are.
            on_image: gets the name of a camera and its message, serialised or compressed.
            on_manifest: gets the text of a manifest.
            on_jump: called when the clock of the node went back.
            events: the event callbacks of a subscription, by its topic.
        """
        self._node, self._events, self.on_image = node, events, on_image
        # the manifest comes first: of two messages that wait, rclpy serves the older subscription
        self._subscriptions = [
            self._listen(String, MANIFEST, lambda message: on_manifest(message.data), LATCHED),
            *(self._see(camera) for camera in cameras),
        ]
        back = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = node.get_clock().create_jump_callback(
            back, post_callback=lambda jump: on_jump()
        )

    def _see(self, camera: Camera) -> Any:
        raw = camera.transport == "raw"
        callback = partial(self.on_image, camera.name)
        # serialised: a frame that is overwritten in its slot is never unpacked
        kind = Image if raw else CompressedImage
        return self._listen(kind, camera.heard, callback, IMAGES_IN, raw=raw)

    def _listen(
        self, kind: Any, topic: str, callback: Callable[[Any], None], qos: QoSProfile, **how: Any
    ) -> Any:
        return self._node.create_subscription(
            kind,
            topic,
            callback,
            # rclpy writes the overrides, which `qos_leaves` has declared, into what it is given
            copy.copy(qos),
            event_callbacks=self._events(topic),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            **how,
        )

    def close(self) -> None:
        """Stop listening."""
        self._jumps.unregister()
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())


def qos_leaves(node: Node) -> tuple[Leaf, ...]:
    """The `qos_overrides` parameters of all the node may listen to, as ROS names them.

    Args:
        node: made with `automatically_declare_parameters_from_overrides`, before
            `Parameters` declares anything.
    """
    found: list[Leaf] = []
    for topic, profile in _heard(node):
        name = _resolved(node, topic)
        kept, reliable = profile.history.name.lower(), profile.reliability.name.lower()
        prefix, doc = f"qos_overrides.{name}.subscription", f"of the subscription of {name}."
        found += [
            Leaf(f"{prefix}.history", kept, f"History {doc}", None, None, _HISTORIES, False),
            Leaf(f"{prefix}.depth", profile.depth, f"Queue {doc}", 1, 1000, (), False),
            Leaf(f"{prefix}.reliability", reliable, f"Reliability {doc}",
                 None, None, _RELIABILITIES, False),
        ]  # fmt: skip
    return tuple(found)


def _heard(node: Node) -> Iterator[tuple[str, QoSProfile]]:
    overrides = overrides_of(node)
    names = names_given(overrides.get(CAMERA_NAMES))
    for name in names:
        topic = overrides.get(f"cameras.{name}.topic", default_topic(name, names))
        for raw in (True, False):  # input.transport may still change
            yield heard_topic(str(topic), raw=raw), IMAGES_IN
    yield MANIFEST, LATCHED


def _resolved(node: Node, topic: str) -> str:
    try:
        return str(node.resolve_topic_name(topic))
    except Exception:  # noqa: BLE001 - rclpy's own kind; configure refuses the topic with a reason
        return topic


def image_topic(raw: bool) -> str:
    """The relative image topic of a cell with one camera, named as image_transport names it."""
    return heard_topic("image", raw=raw)
