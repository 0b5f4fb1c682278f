# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The message definitions for bags are those that the interfaces package builds."""

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robollm_core.data import rostypes

INTERFACES = Path(__file__).resolve().parents[3] / "robollm_ros/interfaces/vision_msgs/msg"
UPSTREAM = "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
"""Of vision_msgs/msg/Detection2DArray as ROS 2 Jazzy ships it."""


def test_detections_have_the_hash_of_jazzy():
    assert rostypes.typestore().hash_rihs01(rostypes.DETECTIONS) == UPSTREAM


@pytest.mark.parametrize("name", rostypes.VISION_MSGS)
def test_one_definition_with_the_interfaces_that_are_built(name):
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(INTERFACES.glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"vision_msgs/msg/{path.stem}"))
    full = f"vision_msgs/msg/{name}"
    assert rostypes.typestore().hash_rihs01(full) == store.hash_rihs01(full)


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 10**9, 1_700_000_000_123_456_789])
def test_stamps_round_trip(stamp):
    message = rostypes.make(
        rostypes.DETECTIONS, header=rostypes.header(stamp, "tote"), detections=[]
    )
    assert rostypes.stamp_ns(message) == stamp
    assert message.header.frame_id == "tote"
