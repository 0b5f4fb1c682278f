# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a grasp planner does in a simulated cell: of the detections it heard, it chooses one."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray

from robollm_core.geometry import box_iou
from robollm_ros.qos import ANSWERS

DETECTIONS = "perception/detections"
_KEPT = 60
_LEAST_IOU = 0.5


class Planner:
    """Listens to the detections of the perception node."""

    def __init__(self, node: Node) -> None:
        """Subscribe.

        Args:
            node: whose names and callbacks.
        """
        self._heard: OrderedDict[tuple[str, int], Detection2DArray] = OrderedDict()
        self._listening = node.create_subscription(
            Detection2DArray, DETECTIONS, self.on_detections, ANSWERS
        )

    def on_detections(self, message: Detection2DArray) -> None:
        """Keep an answer; the oldest is forgotten."""
        stamp = message.header.stamp
        key = message.header.frame_id, stamp.sec * 1_000_000_000 + stamp.nanosec
        self._heard[key] = message
        while len(self._heard) > _KEPT:
            self._heard.popitem(last=False)

    def choose(
        self, camera: str, stamps_ns: Iterable[int], roi: Mapping[str, float]
    ) -> tuple[int, str] | None:
        """The detection that lies best over a region.

        Args:
            camera: frame_id of the frames.
            stamps_ns: of the frames to choose from, the one preferred first.
            roi: x, y, w, h in pixels.

        Returns:
            Stamp of the frame and id of the detection; None when none fits well.
        """
        x, y = roi["x"], roi["y"]
        wanted = np.array([[x, y, x + roi["w"], y + roi["h"]]], np.float64)
        for stamp_ns in stamps_ns:
            found = self._heard.get((camera, stamp_ns))
            if found is None or not found.detections:
                continue
            overlaps = box_iou(_boxes(found), wanted)[:, 0]
            best = int(overlaps.argmax())
            if overlaps[best] >= _LEAST_IOU:
                return stamp_ns, str(found.detections[best].id)
        return None


def _boxes(found: Detection2DArray) -> npt.NDArray[np.float64]:
    """Edges (N, 4) of the boxes."""
    rows = [
        (each.bbox.center.position.x, each.bbox.center.position.y,
         each.bbox.size_x / 2, each.bbox.size_y / 2)
        for each in found.detections
    ]  # fmt: skip
    middles, halves = np.hsplit(np.array(rows, np.float64), 2)
    return np.hstack([middles - halves, middles + halves])
