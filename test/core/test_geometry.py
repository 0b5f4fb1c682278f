# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes, masks and the letterbox, against slow definitions written out pixel by pixel."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robollm_core.errors import ShapeError
from robollm_core.geometry import Letterbox, box_iou, label_image, mask_extent, paste_mask
from robollm_core.types import Instance

SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
EDGES = st.floats(-50, 150, allow_nan=False)


@st.composite
def boxes(draw):
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        x = sorted((draw(EDGES), draw(EDGES)))
        y = sorted((draw(EDGES), draw(EDGES)))
        rows.append([x[0], y[0], x[1], y[1]])
    return np.array(rows, np.float64).reshape(-1, 4)


@given(SIZES, SIZES)
def test_letterbox_fits_and_fills_one_side(source, target):
    box = Letterbox(source, target)
    high, wide = box.inner_hw
    assert 1 <= high <= target[0]
    assert 1 <= wide <= target[1]
    assert high == target[0] or wide == target[1]
    # one scale: the rounded size is within half a pixel of the exact one, or the least there is
    assert abs(high - source[0] * box.scale) <= 0.5 or high == 1
    assert abs(wide - source[1] * box.scale) <= 0.5 or wide == 1


@given(SIZES, SIZES, boxes())
def test_letterbox_round_trip(source, target, some):
    box = Letterbox(source, target)
    back = box.to_source(box.to_target(some))
    assert back.shape == some.shape
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, some, rtol=1e-5, atol=1e-3)


@given(SIZES, SIZES)
def test_letterbox_maps_the_image_onto_its_place(source, target):
    box = Letterbox(source, target)
    whole = np.array([[0, 0, source[1], source[0]]], np.float32)
    high, wide = box.inner_hw
    np.testing.assert_allclose(box.to_target(whole), [[0, 0, wide, high]], rtol=1e-5)


def test_letterbox_example():
    box = Letterbox((480, 640), (384, 512))
    assert box.scale == pytest.approx(0.8)
    assert box.inner_hw == (384, 512)
    np.testing.assert_allclose(
        box.to_source(np.array([[8, 16, 80, 160]])), [[10, 20, 100, 200]], rtol=1e-6
    )


@pytest.mark.parametrize("source, target", [((0, 5), (5, 5)), ((5, 5), (5, -1))])
def test_letterbox_refuses_empty_sizes(source, target):
    with pytest.raises(ShapeError, match="at least 1"):
        Letterbox(source, target)


def slow_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


@given(boxes(), boxes())
def test_box_iou_is_the_definition(a, b):
    got = box_iou(a, b)
    assert got.shape == (len(a), len(b))
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            assert got[i, j] == pytest.approx(slow_iou(first, second), abs=1e-9)


def test_box_iou_of_identical_and_touching_boxes():
    a = np.array([[0, 0, 10, 10], [10, 0, 20, 10]], np.float32)
    np.testing.assert_array_equal(box_iou(a, a), np.eye(2))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_mask_extent_is_tight(height, width, data):
    flags = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(flags).reshape(height, width)
    extent = mask_extent(mask)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        assert extent is None
    else:
        assert extent == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def slow_paste(prob, box, image_hw, threshold):
    """Each pixel asks for the bilinear value of the grid under its centre."""
    x0, y0, x1, y1 = box
    cells_y, cells_x = prob.shape
    padded = np.pad(prob.astype(np.float64), 1)
    mask = np.zeros(image_hw, bool)
    for row in range(image_hw[0]):
        for column in range(image_hw[1]):
            x, y = column + 0.5, row + 0.5
            if not (x0 <= x <= x1 and y0 <= y <= y1):
                continue
            u = (x - x0) / (x1 - x0) * cells_x - 0.5 + 1
            v = (y - y0) / (y1 - y0) * cells_y - 0.5 + 1
            i, j = int(np.floor(v)), int(np.floor(u))
            a, b = v - i, u - j
            i2, j2 = min(i + 1, cells_y + 1), min(j + 1, cells_x + 1)
            value = (
                (1 - a) * (1 - b) * padded[i, j] + (1 - a) * b * padded[i, j2]
                + a * (1 - b) * padded[i2, j] + a * b * padded[i2, j2]
            )  # fmt: skip
            # float32 and float64 may part where the value is the threshold
            assume(abs(value - threshold) > 1e-5)
            mask[row, column] = value >= threshold
    return mask


@given(st.integers(0, 2**32 - 1))
def test_paste_mask_is_bilinear_sampling(seed):
    rng = np.random.default_rng(seed)
    image_hw = tuple(rng.integers(1, 24, 2).tolist())
    prob = rng.random(rng.integers(1, 7, 2)).astype(np.float32)
    corner = rng.uniform(-12, 22, 2)
    box = np.concatenate([corner, corner + rng.uniform(0.3, 25, 2)]).astype(np.float32)
    expected = slow_paste(prob, box.astype(np.float64), image_hw, 0.5)
    got = paste_mask(prob, box, image_hw, 0.5)
    if got is None:
        assert not expected.any()
        return
    (x0, y0, x1, y1), mask = got
    whole = np.zeros(image_hw, bool)
    whole[y0:y1, x0:x1] = mask
    np.testing.assert_array_equal(whole, expected)
    assert (x0, y0, x1, y1) == mask_extent(expected)
    Instance((x0, y0, x1, y1), mask, 0.5)  # accepted as it is


def test_paste_full_mask_fills_whole_pixel_box():
    box, mask = paste_mask(np.ones((28, 28), np.float32), np.array([3, 5, 20, 9.0]), (48, 64), 0.5)
    assert box == (3, 5, 20, 9)
    assert mask.all()


@pytest.mark.parametrize(
    "box",
    [
        (5, 5, 5, 9),
        (9, 5, 5, 9),
        (np.nan, 0, 5, 5),
        (0, 0, np.inf, 5),
        (-9, -9, -2, -2),
        (70, 3, 90, 9),
    ],
)
def test_paste_nowhere_is_none(box):
    assert paste_mask(np.ones((4, 4), np.float32), np.array(box, float), (48, 64), 0.5) is None


def test_paste_nothing_above_threshold_is_none():
    prob = np.full((4, 4), 0.3, np.float32)
    assert paste_mask(prob, np.array([0, 0, 9, 9.0]), (48, 64), 0.5) is None


@given(st.integers(0, 2**32 - 1))
def test_label_image_shows_the_best_score_on_top(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 20, 2).tolist()
    instances = []
    for _ in range(int(rng.integers(0, 8))):
        x0, y0 = int(rng.integers(0, width - 1)), int(rng.integers(0, height - 1))
        x1, y1 = int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1))
        mask = rng.random((y1 - y0, x1 - x0)) < 0.6
        instances.append(Instance((x0, y0, x1, y1), mask, float(rng.integers(0, 4)) / 4))
    got = label_image(instances, (height, width))
    assert got.dtype == np.uint8
    for row in range(height):
        for column in range(width):
            here = [
                (-instance.score, index)
                for index, instance in enumerate(instances)
                if instance.box_xyxy_px[0] <= column < instance.box_xyxy_px[2]
                and instance.box_xyxy_px[1] <= row < instance.box_xyxy_px[3]
                and instance.mask_in_box[
                    row - instance.box_xyxy_px[1], column - instance.box_xyxy_px[0]
                ]
            ]
            # the highest score, among equals the first
            assert got[row, column] == (min(here)[1] + 1 if here else 0)


def test_label_image_refuses_more_than_fit_in_a_byte():
    one = Instance((0, 0, 1, 1), np.ones((1, 1), bool), 0.5)
    assert label_image([one] * 254, (1, 1)).item() == 1
    with pytest.raises(ShapeError, match="254"):
        label_image([one] * 255, (1, 1))
