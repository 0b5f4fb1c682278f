# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled loops against OpenCV, bit by bit, and against bilinear sampling written out."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core import kernels
from robollm_core.images import _averaged

SIZES = st.integers(1, 60).flatmap(
    lambda small: st.tuples(st.just(small), st.integers(small, 2 * small - 1))
)


@settings(max_examples=60)
@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_areas_are_averaged_as_opencv_does_to_the_bit(rows, columns, seed):
    (high, height), (wide, width) = rows, columns
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(_averaged(image, (high, wide)), expected)


def test_a_part_of_an_image_is_averaged_like_a_copy_of_it():
    image = np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)
    part = image[3:80, 5:77]
    np.testing.assert_array_equal(_averaged(part, (50, 40)), _averaged(part.copy(), (50, 40)))


def sampled(prob, before, weights, axis):
    """Every pixel from its two cells, 0 outside, in float64."""
    padded = np.pad(np.asarray(prob, np.float64), [(1, 1) if k == axis else (0, 0) for k in (0, 1)])
    shape = (-1, 1) if axis == 0 else (1, -1)
    first, second = (
        np.take(padded, np.asarray(before) + step, axis=axis) * weights[step - 1].reshape(shape)
        for step in (1, 2)
    )
    return first + second


@given(st.integers(0, 2**32 - 1))
def test_a_mask_is_what_two_cells_along_each_axis_say(seed):
    rng = np.random.default_rng(seed)
    prob = rng.random((5, 7), dtype=np.float32)
    sides = {}
    for name, cells, pixels in (("y", 5, 23), ("x", 7, 31)):
        position = np.sort(rng.uniform(-1, cells, pixels))
        before = np.floor(position).astype(np.int64).clip(-1, cells - 1)
        share = (position - before).clip(0, 1)
        sides[name] = before, np.stack([1 - share, share]).astype(np.float32)
    (below_y, weight_y), (below_x, weight_x) = sides["y"], sides["x"]
    values = sampled(sampled(prob, below_x, weight_x, 1), below_y, weight_y, 0)
    level = np.float32(rng.choice([0.3, 0.6, 2.0]))
    x, y, mask = kernels.paste(prob, below_x, weight_x, below_y, weight_y, level)
    whole = np.zeros(values.shape, np.uint8)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    sure = np.abs(values - level) > 1e-5
    np.testing.assert_array_equal(whole[sure], (values >= level)[sure])
    if mask.size:  # cut to what is there
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    assert mask.flags.c_contiguous


@pytest.mark.slow
def test_without_a_folder_for_what_is_compiled_it_is_compiled_anew():
    """As in a package of the system, started by a user without a home."""
    code = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []  # no folder will do\n"
        "from robollm_core import kernels\n"
        "print(kernels.paste.signatures, type(kernels.paste._cache).__name__)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "float32" in told.stdout
    assert "NullCache" in told.stdout
