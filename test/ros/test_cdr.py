# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a serialised image in place gives what ROS's own deserialiser gives."""

import array
import struct

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from robollm_core.errors import ImageError
from robollm_ros import cdr

pytestmark = pytest.mark.ros
FIELDS = ("height", "width", "encoding", "is_bigendian", "step")


def message(**changes):
    image = Image(height=3, width=2, encoding="bgr8", step=8, is_bigendian=0)
    image.header.stamp.sec, image.header.stamp.nanosec = 17, 999_999_999
    image.header.frame_id = "tote"
    image.data = array.array("B", range(24))
    for name, value in changes.items():
        setattr(image, name, value)
    return image


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "abcd", "räumlich/kamera"])
@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "rgba8", "32FC1", ""])
def test_every_field_is_read_whatever_the_padding(frame_id, encoding):
    image = message(encoding=encoding)
    image.header.frame_id = frame_id
    image.header.stamp.sec = -5
    view = cdr.parse_image_cdr(serialize_message(image))
    assert (view.sec, view.nanosec, view.frame_id) == (-5, 999_999_999, frame_id)
    assert [getattr(view, name) for name in FIELDS] == [getattr(image, name) for name in FIELDS]
    assert view.data.tobytes() == bytes(range(24))
    assert view.header == image.header


def test_the_pixels_are_not_copied():
    serialised = serialize_message(message())
    view = cdr.parse_image_cdr(serialised)
    assert np.shares_memory(view.data, np.frombuffer(serialised, np.uint8))


def test_big_endian_is_read_too():
    body = struct.pack(">iI", 1, 2) + struct.pack(">I", 2) + b"a\0" + b"\0\0"
    body += struct.pack(">II", 1, 2) + struct.pack(">I", 6) + b"mono8\0" + b"\1" + b"\0"
    body += struct.pack(">II", 2, 2) + b"xy"
    view = cdr.parse_image_cdr(b"\0\0\0\0" + body)
    assert (view.sec, view.nanosec, view.frame_id, view.is_bigendian) == (1, 2, "a", 1)
    assert (view.height, view.width, view.step) == (1, 2, 2)
    assert view.data.tobytes() == b"xy"


def test_bytes_that_end_early_are_never_taken_for_an_image():
    serialised = serialize_message(message())
    reader = cdr.FrameReader()
    for length in range(len(serialised)):
        with pytest.raises(cdr.CdrError):
            cdr.parse_image_cdr(serialised[:length])
        with pytest.raises(ImageError):
            reader(serialised[:length])
    # damage is no reason to distrust the fast way
    reader(serialised)
    assert reader.in_place is True


def test_an_unknown_representation_is_left_to_ros():
    serialised = bytearray(serialize_message(message()))
    serialised[1] = 7
    with pytest.raises(cdr.CdrError, match="0007"):
        cdr.parse_image_cdr(bytes(serialised))


def test_the_first_image_decides_whether_the_fast_way_is_used(monkeypatch):
    serialised = serialize_message(message(encoding="mono8", width=8))
    reader = cdr.FrameReader()
    frame, header = reader(serialised)
    assert reader.in_place is True
    assert (header.stamp.sec, frame.camera) == (17, "tote")

    def wrong(_):
        view = cdr.image_view(message(encoding="mono8", width=8))
        return cdr.ImageView(1, *(getattr(view, n) for n in cdr.ImageView.__slots__ if n != "sec"))

    monkeypatch.setattr(cdr, "parse_image_cdr", wrong)
    distrustful = cdr.FrameReader()
    for _ in range(2):
        frame, header = distrustful(serialised)
        assert distrustful.in_place is False
        assert header.stamp.sec == 17
        assert frame.stamp_ns == 17_999_999_999


def test_row_padding_is_cut_off():
    frame, _ = cdr.FrameReader()(serialize_message(message()))
    assert frame.image_rgb.shape == (3, 2, 3)
    # rows start at 0, 8 and 16; bgr8 is turned round
    assert frame.image_rgb[:, 0].tolist() == [[2, 1, 0], [10, 9, 8], [18, 17, 16]]


def test_the_stamp_of_any_message_with_a_header():
    assert cdr.stamp_ns(serialize_message(message())) == 17_999_999_999
