# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The worst cases of a stream, drawn only when they are kept."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.evaluation.outcome import Exhibit
from robollm_core.evaluation.worst import Worst, picture, stroke_px


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5))
def test_the_worst_are_kept_in_order_and_of_equals_the_first(badness, kept):
    worst = Worst(("a",), kept)
    for number, value in enumerate(badness):
        worst.offer("a", value, lambda number=number: Exhibit("a", str(number), ()))
    wanted = sorted(range(len(badness)), key=lambda i: (-badness[i], i))[:kept]
    assert [exhibit.title for exhibit in worst.exhibits()] == [str(i) for i in wanted]


def test_what_is_not_kept_is_not_drawn():
    worst, drawn = Worst(("a", "b"), 2), []

    def make(name):
        return lambda: drawn.append(name) or Exhibit("b", name, ())

    for name, value in (("x", 3), ("y", 2), ("z", 1), ("w", 5)):
        worst.offer("b", value, make(name))
    assert drawn == ["x", "y", "w"]
    assert [exhibit.title for exhibit in worst.exhibits()] == ["w", "x"]


@pytest.mark.parametrize(("size", "wanted"), [((960, 640), (320, 213)), ((20, 30), (20, 30))])
def test_a_picture_is_made_small_and_never_enlarged(size, wanted):
    data = np.frombuffer(picture(np.zeros((*size, 3), np.uint8)), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2] == wanted


def test_a_line_survives_the_shrinking():
    assert stroke_px(np.zeros((100, 100, 3), np.uint8)) >= 1
    assert stroke_px(np.zeros((3000, 4000, 3), np.uint8)) * 320 / 4000 >= 1
