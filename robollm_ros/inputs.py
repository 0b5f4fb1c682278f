# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node listens to, and with which QoS."""

import copy
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from robollm_core.config import Leaf
from robollm_ros.health import IMAGE, MANIFEST, Health
from robollm_ros.worker import Worker

IMAGES_IN = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Matches reliable and best effort cameras. Not depth 1: what the middleware overwrites nobody can
count; the mailbox behind it keeps the newest and counts the rest."""
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
_PROFILES = {IMAGE: IMAGES_IN, f"{IMAGE}/compressed": IMAGES_IN, MANIFEST: LATCHED}
_HISTORIES, _RELIABILITIES = (
    tuple(name.lower() for name in policy.__members__ if name != "UNKNOWN")
    for policy in (HistoryPolicy, ReliabilityPolicy)
)


class Inputs:
    """The subscriptions of the node; made on activate, closed on deactivate."""

    def __init__(self, node: Node, raw: bool, worker: Worker, health: Health) -> None:
        """Subscribe.

        Args:
            node: whose names and callbacks.
            raw: whether images are sensor_msgs/Image, else CompressedImage.
            worker: gets images and manifests.
            health: is told when an image arrives.
        """
        self._node, self._worker, self._health = node, worker, health
        kind = Image if raw else CompressedImage
        # the manifest comes first: of two messages that wait, rclpy serves the older subscription
        self._subscriptions = [
            self._listen(String, MANIFEST, self._on_manifest),
            # serialised: a frame that is overwritten in the mailbox is never unpacked
            self._listen(kind, image_topic(raw), self.on_image, raw=raw),
        ]

    def _listen(self, kind: Any, topic: str, callback: Callable[[Any], None], **how: Any) -> Any:
        # rclpy writes the overrides, which `qos_leaves` has declared, into the profile it is given
        profile = copy.copy(_PROFILES[topic])
        options = QoSOverridingOptions.with_default_policies()
        return self._node.create_subscription(
            kind, topic, callback, profile, qos_overriding_options=options, **how
        )

    def on_image(self, message: Any) -> None:
        """Leave an image, serialised or compressed, to the worker."""
        self._health.arrived()
        self._worker.mailbox.put((message, time.perf_counter()))

    def _on_manifest(self, message: String) -> None:
        self._worker.read_manifest(message.data)

    def close(self) -> None:
        """Stop listening."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())


def qos_leaves(node: Node) -> tuple[Leaf, ...]:
    """The `qos_overrides` parameters of all the node may listen to, as ROS names them."""
    found: list[Leaf] = []
    for topic, profile in _PROFILES.items():
        name = node.resolve_topic_name(topic)
        kept, reliable = profile.history.name.lower(), profile.reliability.name.lower()
        prefix, doc = f"qos_overrides.{name}.subscription", f"of the subscription of {name}."
        found += [
            Leaf(f"{prefix}.history", kept, f"History {doc}", None, None, _HISTORIES, False),
            Leaf(f"{prefix}.depth", profile.depth, f"Queue {doc}", 1, 1000, (), False),
            Leaf(f"{prefix}.reliability", reliable, f"Reliability {doc}",
                 None, None, _RELIABILITIES, False),
        ]  # fmt: skip
    return tuple(found)


def image_topic(raw: bool) -> str:
    """The relative image topic, named as image_transport names it."""
    return IMAGE if raw else f"{IMAGE}/compressed"
