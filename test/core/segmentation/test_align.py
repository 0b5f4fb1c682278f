# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from robollm_core.segmentation.align import roi_align

mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv is the oracle; install extra [train]")


def reference(features, boxes, size, samples):
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    return mmcv_ops.roi_align(features, rois, (size, size), 1.0, samples, "avg", True)


def boxes_in(width, height, count, seed, margin=0.0):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-margin, width + margin, (count, 2)), axis=1)
    y = np.sort(rng.uniform(-margin, height + margin, (count, 2)), axis=1)
    return torch.tensor(np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1), dtype=torch.float32)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("size", [7, 14])
def test_equals_mmcv_inside_the_map(size, samples):
    features = torch.randn(1, 16, 24, 37, generator=torch.Generator().manual_seed(size))
    boxes = boxes_in(37, 24, 60, seed=samples)
    found = roi_align(features, boxes, size, samples)
    assert found.shape == (60, 16, size, size)
    assert (found - reference(features, boxes, size, samples)).abs().max() < 1e-4


def test_equals_mmcv_beyond_the_border():
    features = torch.randn(1, 8, 20, 20, generator=torch.Generator().manual_seed(1))
    boxes = boxes_in(20, 20, 200, seed=9, margin=6.0)
    assert (roi_align(features, boxes, 7, 2) - reference(features, boxes, 7, 2)).abs().max() < 1e-4


def test_equals_mmcv_on_degenerate_boxes():
    features = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(2))
    boxes = torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 12.0, 12.0], [2.0, 5.0, 9.0, 5.0]])
    assert (roi_align(features, boxes, 7, 2) - reference(features, boxes, 7, 2)).abs().max() < 1e-4


def test_gradient_equals_mmcvs():
    features = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    boxes, weight = boxes_in(16, 16, 20, seed=4), torch.randn(20, 4, 7, 7)
    grads = []
    for read in (roi_align, reference):
        map_ = features.clone().requires_grad_()
        (read(map_, boxes, 7, 2) * weight).sum().backward()
        grads.append(map_.grad)
    assert (grads[0] - grads[1]).abs().max() < 1e-3


def test_no_boxes_no_features():
    assert roi_align(torch.zeros(1, 4, 8, 8), torch.zeros(0, 4), 7, 2).shape == (0, 4, 7, 7)
