# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What people see of a result."""

import numpy as np
import pytest

from robollm_core.errors import ShapeError
from robollm_core.overlay import draw_overlay
from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)


def report(box, label="nominal", item="apple"):
    mask = np.ones((box[3] - box[1], box[2] - box[0]), bool)
    defect = DefectReport((0.0, 1.0, 0.0), label, 0.0)
    return ItemReport(Instance(box, mask, 0.9), Identification(item_id=item), defect)


def test_overlay_draws_inside_the_masks_and_flags_in_red():
    image = np.zeros((60, 80, 3), np.uint8)
    items = (report((4, 4, 36, 56)), report((44, 4, 76, 56), "package_defect", ""))
    result = PerceptionResult(0, "", (60, 80), items)
    drawn = draw_overlay(image, result)
    assert not image.any()
    assert drawn[6:20, 6:34].any(axis=2).all()
    assert drawn[8, 50, 0] > 2 * drawn[8, 50, 1:].max()  # red
    assert not drawn[:, 39:42].any() or drawn[:, 39:42].max() == drawn[25:40, 39:42].max()
    with pytest.raises(ShapeError):
        draw_overlay(image[:-1], result)
