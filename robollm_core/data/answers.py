# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A result as the messages that the perception node would publish, for bags.

The node's own builders (robollm_ros/conversions.py) make ROS classes; these make
rosbags' classes. A test holds the two against each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.geometry import label_image
from robollm_core.runtime.announcement import Announcement
from robollm_core.types import DEFECT_LABELS, ItemReport, PerceptionResult

DETECTIONS = Topic("/perception/detections", rostypes.DETECTIONS)
DEFECTS = Topic("/perception/defects", rostypes.DETECTIONS)
MASKS = Topic("/perception/masks", rostypes.IMAGE)
TOPICS = (DETECTIONS, DEFECTS, MASKS)
LABEL_INFO = Topic("/perception/label_info", rostypes.LABEL_INFO, latched=True)
VISION_INFO = Topic("/perception/vision_info", rostypes.VISION_INFO, latched=True)
ANNOUNCED = (LABEL_INFO, VISION_INFO)

Hypothesis = tuple[str, float]


def write_answer(bag: BagWriter, result: PerceptionResult, log_ns: int | None = None) -> None:
    """Write all messages of one result.

    Args:
        bag: open, with `TOPICS`.
        result: of one frame; an empty one is written too.
        log_ns: when they count as recorded; None for the time stamp of the frame.
    """
    log = result.stamp_ns if log_ns is None else log_ns
    bag.write(DETECTIONS.name, log, _array(result, _identities(result)))
    bag.write(DEFECTS.name, log, _array(result, _verdicts(result)))
    bag.write(MASKS.name, log, _masks(result))


def write_announcement(bag: BagWriter, said: Announcement, log_ns: int) -> None:
    """Write what a cell says of itself once, stamped with the time of writing.

    Args:
        bag: open, with `ANNOUNCED`.
        said: of the cell that answers.
        log_ns: when it counts as recorded.
    """
    header = rostypes.header(log_ns, "")
    classes = [
        rostypes.make("vision_msgs/msg/VisionClass", class_id=number, class_name=name)
        for number, name in said.classes
    ]
    labels = rostypes.make(
        LABEL_INFO.msgtype, header=header, class_map=classes, threshold=said.threshold
    )
    bag.write(LABEL_INFO.name, log_ns, labels)
    vision = rostypes.make(
        VISION_INFO.msgtype,
        header=header,
        method=said.method,
        database_location=said.database_location,
        database_version=said.database_version,
    )
    bag.write(VISION_INFO.name, log_ns, vision)


def _identities(result: PerceptionResult) -> list[Sequence[Hypothesis]]:
    return [_identity(report) for report in result.items]


def _identity(report: ItemReport) -> Sequence[Hypothesis]:
    """The answer first: the accepted item, or else the class of the instance."""
    label = (report.instance.label, report.instance.score)
    candidates = report.identification.candidates
    return (*candidates, label) if report.identification.item_id else (label, *candidates)


def _verdicts(result: PerceptionResult) -> list[Sequence[Hypothesis]]:
    return [_verdict(report) for report in result.items]


def _verdict(report: ItemReport) -> Sequence[Hypothesis]:
    pairs = zip(DEFECT_LABELS, report.defect.probabilities, strict=True)
    return sorted(pairs, key=lambda pair: (pair[0] != report.defect.label, -pair[1]))


def _array(result: PerceptionResult, answers: Sequence[Sequence[Hypothesis]]) -> Any:
    header = rostypes.header(result.stamp_ns, result.camera)
    detections = [
        rostypes.make(
            "vision_msgs/msg/Detection2D",
            header=header,
            results=[hypothesis_message(*answer) for answer in answers[index]],
            bbox=box_message(report.instance.box_xyxy_px),
            id=f"{result.camera}/{result.stamp_ns}/{index}",
        )
        for index, report in enumerate(result.items)
    ]
    return rostypes.make(rostypes.DETECTIONS, header=header, detections=detections)


def box_message(box: tuple[int, int, int, int]) -> Any:
    """A vision_msgs/BoundingBox2D of pixel edges x0 y0 x1 y1."""
    x0, y0, x1, y1 = box
    point = rostypes.make("vision_msgs/msg/Point2D", x=(x0 + x1) / 2, y=(y0 + y1) / 2)
    centre = rostypes.make("vision_msgs/msg/Pose2D", position=point, theta=0.0)
    return rostypes.make(
        "vision_msgs/msg/BoundingBox2D", center=centre, size_x=float(x1 - x0), size_y=float(y1 - y0)
    )


def hypothesis_message(class_id: str, score: float) -> Any:
    """A vision_msgs/ObjectHypothesisWithPose without a pose."""
    hypothesis = rostypes.make(
        "vision_msgs/msg/ObjectHypothesis", class_id=class_id, score=float(score)
    )
    return rostypes.make(
        "vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=_no_pose()
    )


def _no_pose() -> Any:
    """The identity, which is what a ROS message holds when nobody sets it."""
    point = rostypes.make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
    turn = rostypes.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    pose = rostypes.make("geometry_msgs/msg/Pose", position=point, orientation=turn)
    covariance = np.zeros(36, np.float64)
    return rostypes.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=covariance)


def _masks(result: PerceptionResult) -> Any:
    labels = label_image([report.instance for report in result.items], result.image_size_px)
    height, width = labels.shape
    return rostypes.make(
        rostypes.IMAGE,
        header=rostypes.header(result.stamp_ns, result.camera),
        height=height,
        width=width,
        encoding="mono8",
        is_bigendian=0,
        step=width,
        data=labels.reshape(-1),
    )
