# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node publishes for one answered frame, and with which QoS."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionClass, VisionInfo

from robollm_core.geometry import label_image
from robollm_core.runtime.announcement import Announcement
from robollm_core.types import Frame, PerceptionResult
from robollm_ros.answer_cdr import defects_cdr, detections_cdr
from robollm_ros.conversions import image_cdr, json_message
from robollm_ros.painter import Painter
from robollm_ros.qos import ANSWERS, IMAGES_OUT, LATCHED

__all__ = ["ANSWERS", "IMAGES_OUT", "LATCHED", "TOPICS", "Answer", "Outputs"]

TOPICS: Mapping[str, tuple[Any, QoSProfile]] = {
    "detections": (Detection2DArray, ANSWERS),
    "defects": (Detection2DArray, ANSWERS),
    "timing": (String, ANSWERS),
    "masks": (Image, IMAGES_OUT),
    "overlay": (Image, IMAGES_OUT),
    "label_info": (LabelInfo, LATCHED),
    "vision_info": (VisionInfo, LATCHED),
}
"""Type and QoS of each output, all under the name of the node."""
_NOTHING = PerceptionResult(0, "", (1, 1), ())


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One frame on its way out.

    Attributes:
        camera: name of the camera.
        frame: what was looked at.
        header: of the image message, verbatim.
        arrived: `time.perf_counter()` when the frame arrived.
        taken: the same when its turn came.
        result: what was seen.
        ms: milliseconds so far: "queue", "decode" and the stages.
        counts: of the camera since activation, as `worker.frame_counts` adds them up.
    """

    camera: str
    frame: Frame
    header: Header
    arrived: float
    taken: float
    result: PerceptionResult = _NOTHING
    ms: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class Outputs:
    """The publishers of the node; silent unless the node is active."""

    def __init__(
        self,
        node: LifecycleNode,
        *,
        masks: bool,
        overlay: bool,
        events: Callable[[str], Any],
        age_ms: Callable[[int], float | None],
    ) -> None:
        """Create the publishers; they live until `close`.

        Args:
            node: whose they are.
            masks: whether the label image is published when somebody subscribes.
            overlay: whether the overlay is drawn when somebody subscribes.
            events: the event callbacks of a publisher, by its topic.
            age_ms: milliseconds since a stamp, None when nobody knows.
        """
        self._node, self._age_ms = node, age_ms
        self._want_masks = masks
        self._publishers = {
            name: node.create_lifecycle_publisher(
                kind, f"~/{name}", qos, event_callbacks=events(f"~/{name}")
            )
            for name, (kind, qos) in TOPICS.items()
        }
        self.painter = Painter(self._publishers["overlay"], wanted=overlay)

    def publish(self, answer: Answer) -> dict[str, float]:
        """Publish an answer; masks only if somebody listens, the overlay later.

        Returns:
            `answer.ms` with "publish", "answer" (arrival to publication) and, if the stamp
            tells, "age" (stamp to publication) added.
        """
        start, send = time.perf_counter(), self._publishers
        result, header = answer.result, answer.header
        send["defects"].publish(defects_cdr(result, header))
        if self._want_masks and send["masks"].get_subscription_count():
            labels = label_image([item.instance for item in result.items], result.image_size_px)
            send["masks"].publish(image_cdr(labels, "mono8", header))
        # last of the answer: who has the detections can rely on the rest being on its way
        send["detections"].publish(detections_cdr(result, header))
        end, age = time.perf_counter(), self._age_ms(result.stamp_ns)
        ms = {**answer.ms, "publish": (end - start) * 1e3, "answer": (end - answer.arrived) * 1e3}
        if age is not None:
            ms["age"] = age
        send["timing"].publish(json_message(_timing(answer, ms)))
        self.painter.offer(answer.camera, answer.frame, answer.header, result)
        return ms

    def announce(self, said: Announcement, stamp: Time) -> None:
        """Latch what the classes and the item ids of all answers mean."""
        header = Header(stamp=stamp)
        classes = [VisionClass(class_id=number, class_name=name) for number, name in said.classes]
        self._publishers["label_info"].publish(
            LabelInfo(header=header, class_map=classes, threshold=said.threshold)
        )
        self._publishers["vision_info"].publish(
            VisionInfo(
                header=header,
                method=said.method,
                database_location=said.database_location,
                database_version=said.database_version,
            )
        )

    def listeners(self) -> dict[str, int]:
        """How many subscriptions each output has been matched with."""
        return {name: p.get_subscription_count() for name, p in self._publishers.items()}

    def close(self) -> None:
        """Destroy the publishers."""
        self.painter.stop()
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)


def _timing(answer: Answer, ms: Mapping[str, float]) -> dict[str, object]:
    result = answer.result
    return {
        "stamp_ns": result.stamp_ns,
        "camera": result.camera,
        "input": answer.camera,
        "instances": len(result.items),
        "manifest": list(result.manifest),
        "ms": {name: round(value, 3) for name, value in ms.items()},
        **answer.counts,
    }
