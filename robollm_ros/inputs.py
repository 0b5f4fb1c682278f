# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node listens to, and with which QoS."""

import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from robollm_ros.health import Health
from robollm_ros.worker import IMAGE, MANIFEST, Worker

IMAGES_IN = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Matches reliable and best effort cameras. Not depth 1: what the middleware overwrites nobody can
count; the mailbox behind it keeps the newest and counts the rest."""
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
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
        listen, topic = node.create_subscription, image_topic(raw)
        # the manifest comes first: of two messages that wait, rclpy serves the older subscription
        self._subscriptions = [
            listen(String, MANIFEST, self._on_manifest, LATCHED),
            # serialised: a frame that is overwritten in the mailbox is never unpacked
            listen(Image, topic, self.on_image, IMAGES_IN, raw=True)
            if raw
            else listen(CompressedImage, topic, self.on_image, IMAGES_IN),
        ]

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


def image_topic(raw: bool) -> str:
    """The relative image topic, named as image_transport names it."""
    return IMAGE if raw else f"{IMAGE}/compressed"
