# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Headers against what OpenCV wrote; whole and truncated files are in test_images."""

import cv2
import numpy as np
import pytest

from robollm_core.image_headers import jpeg_pixels, png_pixels


@pytest.mark.parametrize("size", [(1, 1), (16, 24), (31, 7), (480, 640)])
@pytest.mark.parametrize("progressive", [0, 1])
def test_the_size_is_read_from_the_header_of_a_jpeg(size, progressive):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    data = cv2.imencode(".jpg", image, flags)[1].tobytes()
    assert jpeg_pixels(data) == size[0] * size[1]
    assert jpeg_pixels(b"\xff\xd8\xff\xff" + data[3:]) == size[0] * size[1]  # a fill byte
    assert jpeg_pixels(data[:9]) == 0


def test_the_size_is_read_from_the_header_of_a_png():
    data = cv2.imencode(".png", np.zeros((31, 7, 3), np.uint8))[1].tobytes()
    assert png_pixels(data) == 31 * 7
    assert png_pixels(data[:12]) == 0
