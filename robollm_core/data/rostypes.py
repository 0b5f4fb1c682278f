# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS messages that bags hold, as rosbags knows them; no ROS is needed.

rosbags brings the common interfaces. vision_msgs is added here: names, types
and order of the fields of vision_msgs 4.1.1, so that the type hashes are equal.
The test beside this file holds them against robollm_ros/interfaces.
"""

from functools import cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

COMPRESSED = "sensor_msgs/msg/CompressedImage"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
IMAGE = "sensor_msgs/msg/Image"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
VISION_INFO = "vision_msgs/msg/VisionInfo"
STRING = "std_msgs/msg/String"

VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y\n",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta\n",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n",
    "ObjectHypothesis": "string class_id\nfloat64 score\n",
    "ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n"
    ),
    "Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id\n"
    ),
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections\n",
    "VisionClass": "uint16 class_id\nstring class_name\n",
    "LabelInfo": (
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
    ),
    "VisionInfo": (
        "std_msgs/Header header\nstring method\nstring database_location\nint32 database_version\n"
    ),
}
"""Fields of the messages of vision_msgs that the cell speaks."""


@cache
def typestore() -> Typestore:
    """ROS 2 Jazzy's common interfaces and the messages of `VISION_MSGS`."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, fields in VISION_MSGS.items():
        store.register(get_types_from_msg(fields, f"vision_msgs/msg/{name}"))
    return store


def make(msgtype: str, **fields: Any) -> Any:
    """A message of a type such as "std_msgs/msg/String"; every field must be given."""
    return typestore().types[msgtype](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def stamp_ns(message: Any) -> int:
    """The header stamp of a message, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
