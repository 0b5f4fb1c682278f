# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as serialised vision_msgs/Detection2DArray, without a message in between.

rclpy turns each of ten times six hypotheses, with the 36 covariances of a pose that says
nothing, into C structures one by one: a millisecond an array. Written here as bytes, the same
message takes a tenth of that. `conversions` makes the messages that these bytes must equal.
"""

import struct
from collections.abc import Sequence

from geometry_msgs.msg import PoseWithCovariance
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from robollm_core.types import PerceptionResult
from robollm_ros.conversions import Hypothesis, hypotheses, verdict

_PREFIX = b"\0\1\0\0"
"""Plain CDR, little endian; alignment is counted from its end."""
_NO_POSE: bytes = serialize_message(PoseWithCovariance())[len(_PREFIX) :]
_PAD = tuple(b"\0" * count for count in range(8))
_UINT = struct.Struct("<I")
_BOX = struct.Struct("<5d")
_DOUBLE = struct.Struct("<d")


def detections_cdr(result: PerceptionResult, header: Header) -> bytes:
    """Serialised `conversions.detections_message`."""
    return _array(result, header, [hypotheses(report) for report in result.items])


def defects_cdr(result: PerceptionResult, header: Header) -> bytes:
    """Serialised `conversions.defects_message`."""
    return _array(result, header, [verdict(report) for report in result.items])


def _array(
    result: PerceptionResult, header: Header, answers: Sequence[Sequence[Hypothesis]]
) -> bytes:
    start = struct.pack("<iI", header.stamp.sec, header.stamp.nanosec) + _string(header.frame_id)
    out = bytearray(start)
    _count(out, len(answers))
    for index, (report, answer) in enumerate(zip(result.items, answers, strict=True)):
        _align(out, 4)
        out += start
        _count(out, len(answer))
        for class_id, score in answer:
            _align(out, 4)
            out += _string(class_id)
            _align(out, 8)
            out += _DOUBLE.pack(score)
            out += _NO_POSE
        x0, y0, x1, y1 = report.instance.box_xyxy_px
        _align(out, 8)
        out += _BOX.pack((x0 + x1) / 2, (y0 + y1) / 2, 0.0, x1 - x0, y1 - y0)
        out += _string(f"{result.camera}/{result.stamp_ns}/{index}")
    return _PREFIX + bytes(out)


def _string(text: str) -> bytes:
    """Length with the closing zero, and the text; begins at a multiple of four."""
    data = text.encode() + b"\0"
    return _UINT.pack(len(data)) + data


def _count(out: bytearray, number: int) -> None:
    """Add the length of a sequence."""
    _align(out, 4)
    out += _UINT.pack(number)


def _align(out: bytearray, size: int) -> None:
    out += _PAD[-len(out) % size]
