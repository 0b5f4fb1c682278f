# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node publishes for one answered frame, and with which QoS."""

import time
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray

from robollm_core.config import OutputConfig
from robollm_core.geometry import label_image
from robollm_core.overlay import draw_overlay
from robollm_core.types import Frame, PerceptionResult
from robollm_ros.conversions import (
    defects_message,
    detections_message,
    image_message,
    json_message,
)

ANSWERS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
IMAGES_OUT = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One answered frame on its way out.

    Attributes:
        frame: what was looked at.
        header: of the image message, verbatim.
        result: what was seen.
        ms: milliseconds so far: "queue", "decode" and the stages.
        arrived: `time.perf_counter()` when the frame arrived.
        counts: "received", "processed", "dropped", "errors" since activation.
    """

    frame: Frame
    header: Header
    result: PerceptionResult
    ms: dict[str, float]
    arrived: float
    counts: dict[str, int]


class Outputs:
    """The publishers of the node; silent unless the node is active."""

    def __init__(self, node: LifecycleNode, config: OutputConfig) -> None:
        """Create the publishers; they live until `close`."""
        self._node = node
        self._config = config
        make = node.create_lifecycle_publisher
        self._detections = make(Detection2DArray, "~/detections", ANSWERS)
        self._defects = make(Detection2DArray, "~/defects", ANSWERS)
        self._timing = make(String, "~/timing", ANSWERS)
        self._masks = make(Image, "~/masks", IMAGES_OUT)
        self._overlay = make(Image, "~/overlay", IMAGES_OUT)
        self._publishers = {
            "detections": self._detections,
            "defects": self._defects,
            "timing": self._timing,
            "masks": self._masks,
            "overlay": self._overlay,
        }

    def publish(self, answer: Answer) -> dict[str, float]:
        """Publish an answer; masks and overlay only if somebody listens.

        Returns:
            `answer.ms` with "publish" and "answer" (arrival to publication) added.
        """
        start = time.perf_counter()
        result, header = answer.result, answer.header
        self._defects.publish(defects_message(result, header))
        if self._config.masks and self._masks.get_subscription_count():
            labels = label_image([item.instance for item in result.items], result.image_size_px)
            self._masks.publish(image_message(labels, "mono8", header))
        # last of the answer: who has the detections can rely on the rest being on its way
        self._detections.publish(detections_message(result, header))
        end = time.perf_counter()
        extra = {"publish": end - start, "answer": end - answer.arrived}
        ms = {**answer.ms, **{name: secs * 1e3 for name, secs in extra.items()}}
        self._timing.publish(json_message(_timing(answer, ms)))
        if self._config.overlay and self._overlay.get_subscription_count():
            drawn = draw_overlay(answer.frame.image_rgb, result)
            self._overlay.publish(image_message(drawn, "rgb8", header))
        return ms

    def listeners(self) -> dict[str, int]:
        """How many subscriptions each output has been matched with."""
        return {name: p.get_subscription_count() for name, p in self._publishers.items()}

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)


def _timing(answer: Answer, ms: dict[str, float]) -> dict[str, object]:
    result = answer.result
    return {
        "stamp_ns": result.stamp_ns,
        "camera": result.camera,
        "instances": len(result.items),
        "manifest": list(result.manifest),
        "ms": {name: round(value, 3) for name, value in ms.items()},
        **answer.counts,
    }
