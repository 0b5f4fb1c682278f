# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The vision_msgs of this environment is, on the wire, the one every other ROS 2 node speaks."""

import ctypes
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")

pytestmark = pytest.mark.ros

# RIHS01 of vision_msgs 4.1.1 (ROS 2 Jazzy); only names and types of the fields enter the hash
UPSTREAM_HASHES = {
    "BoundingBox2D": "008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    "BoundingBox2DArray": "2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691",
    "BoundingBox3D": "bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    "BoundingBox3DArray": "a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6",
    "Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "Detection2D": "0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "Detection3D": "ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    "Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "ObjectHypothesis": "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "ObjectHypothesisWithPose": "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "Point2D": "eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
    "Pose2D": "b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    "VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
    "VisionInfo": "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
}


class _TypeHash(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint8), ("value", ctypes.c_uint8 * 32)]


def prefix() -> Path:
    """Where vision_msgs is installed: an entry of AMENT_PREFIX_PATH, or this environment."""
    candidates = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for candidate in filter(None, candidates):
        if (Path(candidate) / "share/vision_msgs/package.xml").exists():
            return Path(candidate)
    raise AssertionError("vision_msgs imports, but its share folder is nowhere")


def test_all_sixteen_messages_are_there() -> None:
    found = {path.stem for path in (prefix() / "share/vision_msgs/msg").glob("*.json")}
    assert found == set(UPSTREAM_HASHES)


@pytest.mark.parametrize("name", UPSTREAM_HASHES)
def test_type_hash_in_the_described_interface(name: str) -> None:
    described = json.loads((prefix() / f"share/vision_msgs/msg/{name}.json").read_text())
    own = f"vision_msgs/msg/{name}"
    hashes = {entry["type_name"]: entry["hash_string"] for entry in described["type_hashes"]}
    assert hashes[own] == f"RIHS01_{UPSTREAM_HASHES[name]}"


@pytest.mark.parametrize("name", UPSTREAM_HASHES)
def test_type_hash_compiled_into_the_library(name: str) -> None:
    library = ctypes.CDLL("libvision_msgs__rosidl_generator_c.so")
    get_hash = getattr(library, f"vision_msgs__msg__{name}__get_type_hash")
    get_hash.restype = ctypes.POINTER(_TypeHash)
    get_hash.argtypes = [ctypes.c_void_p]
    found = get_hash(None).contents
    assert (found.version, bytes(found.value).hex()) == (1, UPSTREAM_HASHES[name])


@pytest.mark.parametrize("name", UPSTREAM_HASHES)
def test_python_class_builds_and_equals_itself(name: str) -> None:
    message = getattr(vision_msgs, name)
    assert message() == message()


def test_nested_detection_survives_serialisation() -> None:
    serialization = importlib.import_module("rclpy.serialization")
    guess = vision_msgs.ObjectHypothesisWithPose()
    guess.hypothesis.class_id, guess.hypothesis.score = "B00A", 0.75
    detection = vision_msgs.Detection2D(results=[guess], id="7")
    detection.bbox.center.position.x, detection.bbox.size_y = 12.5, 30.0
    sent = vision_msgs.Detection2DArray(detections=[detection])
    sent.header.frame_id, sent.header.stamp.sec = "tote", 5
    got = serialization.deserialize_message(
        serialization.serialize_message(sent), vision_msgs.Detection2DArray
    )
    assert got == sent
    assert got.detections[0].results[0].hypothesis.class_id == "B00A"
    assert got.detections[0].bbox.center.position.x == 12.5
