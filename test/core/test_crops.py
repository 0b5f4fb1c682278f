# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Crops are cut once a frame, in order, on all threads."""

import cv2
import numpy as np
import pytest

from robollm_core import crops as module
from robollm_core.crops import FrameCrops, cut_out
from robollm_core.images import CropSpec, crop
from robollm_core.types import Frame, Instance

SPEC = CropSpec(8, margin=0.1)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = cv2.getNumThreads()
    cv2.setNumThreads(request.param)
    yield request.param
    cv2.setNumThreads(before)


def scene(count):
    rng = np.random.default_rng(count)
    frame = Frame(rng.integers(0, 256, (60, 80, 3), np.uint8))
    instances = []
    for _ in range(count):
        x0, y0 = rng.integers(0, 40, 2).tolist()
        wide, high = rng.integers(1, 20, 2).tolist()
        mask = rng.random((high, wide)) < 0.7
        instances.append(Instance((x0, y0, x0 + wide, y0 + high), mask, 0.5))
    return frame, instances


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_every_instance_is_cut_in_order(threads, count):
    frame, instances = scene(count)
    got = cut_out(frame, instances, SPEC)
    assert got.shape == (count, 8, 8, 3) and got.dtype == np.uint8
    for one, pixels in zip(instances, got, strict=True):
        alone = crop(frame.image_rgb, one.box_xyxy_px, SPEC, one.mask_in_box)
        np.testing.assert_array_equal(pixels, alone)


def test_networks_that_see_alike_share_the_crops(monkeypatch):
    crops = FrameCrops(*scene(3))
    calls = []
    cut = module.cut_out
    monkeypatch.setattr(module, "cut_out", lambda *a: calls.append(a[2]) or cut(*a))
    first = crops.cut(SPEC)
    assert crops.cut(CropSpec(8, margin=0.1)) is first
    other = CropSpec(8, margin=0.2)
    assert crops.cut(other) is not first
    assert calls == [SPEC, other]
