# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The answer to a pick event as ROS messages.

The header of both arrays names the event: frame_id is its event_id, the stamp that of
the newest view. Detection 0 is the answer, its id the pick_id; the others are the views,
each under the header of its own image.
"""

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from robollm_core.picks.answers import PickAnswer
from robollm_core.picks.fuse import defect_hypotheses
from robollm_core.picks.look import ViewAnswer

_Hypotheses = Sequence[tuple[str, float]]


def identity_message(answer: PickAnswer) -> Detection2DArray:
    """Which item was picked; class_id is an item_id or "unknown", scores are shares in [0, 1]."""
    alone = [identity.hypotheses() for identity in answer.identities]
    return _array(answer, answer.identity.hypotheses(), alone)


def defects_message(answer: PickAnswer) -> Detection2DArray:
    """What is wrong with it; class_id is one of `DEFECT_LABELS` or "unknown"."""
    alone = [defect_hypotheses(view.defect) for view in answer.views]
    return _array(answer, defect_hypotheses(answer.defect), alone)


def _array(
    answer: PickAnswer, fused: _Hypotheses, alone: Sequence[_Hypotheses]
) -> Detection2DArray:
    header = _header(answer.stamp_ns, answer.event_id)
    message = Detection2DArray(header=header)
    message.detections.append(_detection(header, answer.pick_id, fused))
    for view, hypotheses in zip(answer.views, alone, strict=True):
        name = view.detection_id or f"{view.frame_id}/{view.stamp_ns}"
        detection = _detection(_header(view.stamp_ns, view.frame_id), name, hypotheses)
        _place(detection, view)
        message.detections.append(detection)
    return message


def _detection(header: Header, name: str, hypotheses: _Hypotheses) -> Detection2D:
    detection = Detection2D(header=header, id=name)
    for class_id, score in hypotheses:
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis = ObjectHypothesis(class_id=class_id, score=float(score))
        detection.results.append(hypothesis)
    return detection


def _place(detection: Detection2D, view: ViewAnswer) -> None:
    if view.box_xyxy_px is None:
        return
    x0, y0, x1, y1 = view.box_xyxy_px
    detection.bbox.center.position.x = (x0 + x1) / 2
    detection.bbox.center.position.y = (y0 + y1) / 2
    detection.bbox.size_x = float(x1 - x0)
    detection.bbox.size_y = float(y1 - y0)


def _header(stamp_ns: int, frame_id: str) -> Header:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
