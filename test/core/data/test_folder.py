# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders of images as frames."""

import numpy as np
import pytest

from robollm_core.data.folder import image_files, read_frame
from robollm_core.errors import ImageError
from robollm_core.images import encode_jpeg


def test_folders_are_expanded_in_place(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "folder" / name).touch()
    single = tmp_path / "z.bin"
    single.touch()
    names = [path.name for path in image_files([single, tmp_path / "folder"])]
    assert names == ["z.bin", "a.png", "b.JPG"]


def test_missing_paths_and_empty_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="none"):
        list(image_files([tmp_path / "none"]))
    with pytest.raises(ImageError, match="no image"):
        list(image_files([tmp_path]))


def test_a_frame_is_named_after_its_file(tmp_path):
    (tmp_path / "tote.jpg").write_bytes(encode_jpeg(np.zeros((4, 6, 3), np.uint8)))
    frame = read_frame(tmp_path / "tote.jpg")
    assert (frame.camera, frame.stamp_ns, frame.image_rgb.shape) == ("tote.jpg", 0, (4, 6, 3))
