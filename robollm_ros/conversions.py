# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""From the nouns of the core to ROS messages.

Pixels go out as `array.array`: a NumPy array assigned to a `uint8[]` field is
copied element by element, 200 ms for a megapixel in colour.
"""

import array
import copy
import json
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from robollm_core.types import DEFECT_LABELS, ItemReport, PerceptionResult, UInt8Array
from robollm_ros.status import Status

Hypothesis = tuple[str, float]
"""(class_id, score) of a vision_msgs/ObjectHypothesis."""
_NO_POSE = ObjectHypothesisWithPose()
"""Copied, and its pose shared, by all hypotheses: an image does not tell one."""


def hypotheses(report: ItemReport) -> tuple[Hypothesis, ...]:
    """What a detection says, the answer first.

    An accepted item: the candidates by falling similarity, then the class of
    the instance with its detection score. No accepted item: the class first.
    """
    label = (report.instance.label, report.instance.score)
    candidates = report.identification.candidates
    return (*candidates, label) if report.identification.item_id else (label, *candidates)


def verdict(report: ItemReport) -> tuple[Hypothesis, ...]:
    """All defect classes: the verdict first, the others by falling probability."""
    pairs = list(zip(DEFECT_LABELS, report.defect.probabilities, strict=True))
    return tuple(sorted(pairs, key=lambda pair: (pair[0] != report.defect.label, -pair[1])))


def detections_message(result: PerceptionResult, header: Header) -> Detection2DArray:
    """Boxes, ids and what each instance is, in the order of `result.items`."""
    return _array(result, header, [hypotheses(report) for report in result.items])


def defects_message(result: PerceptionResult, header: Header) -> Detection2DArray:
    """The same boxes and ids, and whether each instance is sound."""
    return _array(result, header, [verdict(report) for report in result.items])


def detection_id(result: PerceptionResult, index: int) -> str:
    """The name of one instance of a frame, the same on all topics."""
    return f"{result.camera}/{result.stamp_ns}/{index}"


def _array(
    result: PerceptionResult, header: Header, answers: Sequence[Sequence[Hypothesis]]
) -> Detection2DArray:
    message = Detection2DArray(header=header)
    for index, (report, answer) in enumerate(zip(result.items, answers, strict=True)):
        detection = Detection2D(header=header, id=detection_id(result, index))
        x0, y0, x1, y1 = report.instance.box_xyxy_px
        detection.bbox.center.position.x = (x0 + x1) / 2
        detection.bbox.center.position.y = (y0 + y1) / 2
        detection.bbox.size_x = float(x1 - x0)
        detection.bbox.size_y = float(y1 - y0)
        for class_id, score in answer:
            hypothesis = copy.copy(_NO_POSE)  # making a pose of 49 zeros each time costs the most
            hypothesis.hypothesis = ObjectHypothesis(class_id=class_id, score=float(score))
            detection.results.append(hypothesis)
        message.detections.append(detection)
    return message


def image_message(image: UInt8Array, encoding: str, header: Header) -> Image:
    """An image message of a (H, W) mono8 or (H, W, 3) rgb8 array."""
    height, width = image.shape[:2]
    pixels = array.array("B")
    pixels.frombytes(np.ascontiguousarray(image).tobytes())
    step = width * (1 if image.ndim == 2 else image.shape[2])
    return Image(
        header=header, height=height, width=width, encoding=encoding, step=step, data=pixels
    )


def image_cdr(image: UInt8Array, encoding: str, header: Header) -> bytes:
    """The same image message, serialised: publishing it copies the pixels twice less.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        encoding: such as "mono8" or "rgb8".
        header: of the message.

    Returns:
        Plain CDR, little endian: what rclpy makes of `image_message`, with zeros as padding.
    """
    height, width = image.shape[:2]
    stamp, step = header.stamp, width * (1 if image.ndim == 2 else image.shape[2])
    head = pack("<iI", stamp.sec, stamp.nanosec) + _cdr_string(header.frame_id)
    head = _aligned(head) + pack("<II", height, width) + _cdr_string(encoding)
    head = _aligned(head + b"\0") + pack("<II", step, height * step)
    return b"".join((b"\0\1\0\0", head, np.ascontiguousarray(image).data))


def _cdr_string(text: str) -> bytes:
    data = text.encode()
    return pack("<I", len(data) + 1) + data + b"\0"


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def json_message(tree: Mapping[str, Any]) -> String:
    """A string message with one line of JSON."""
    return String(data=json.dumps(tree))


def diagnostics_message(statuses: Sequence[Status], node: str, stamp: Time) -> DiagnosticArray:
    """The health of a node; each status is named `<node>: <name>`.

    Args:
        statuses: what to say.
        node: fully qualified name: all cells of a robot share one topic.
        stamp: time of the message.
    """
    message = DiagnosticArray(header=Header(stamp=stamp))
    message.status = [status_message(status, node) for status in statuses]
    return message


def status_message(status: Status, node: str) -> DiagnosticStatus:
    """One line of health, named after the node."""
    return DiagnosticStatus(
        level=bytes([status.level]),
        name=f"{node}: {status.name}",
        message=status.message,
        hardware_id=node,
        values=[KeyValue(key=key, value=str(value)) for key, value in status.values.items()],
    )
