# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from robollm_core.training.dense import DenseHead, dense_loss, dense_targets


def scene():
    labels = torch.zeros(1, 32, 48, dtype=torch.uint8)
    labels[0, 8:24, 8:24] = 2
    labels[0, 8:24, 24:40] = 5
    boxes = torch.tensor([[8.0, 8.0, 24.0, 24.0], [24.0, 8.0, 40.0, 24.0]])
    return labels, [boxes], [torch.tensor([2, 5], dtype=torch.uint8)]


def test_targets_by_hand():
    targets = dense_targets(*scene())
    assert targets.foreground.shape == (1, 8, 12)
    assert targets.foreground[0, 2:6, 2:10].all()
    assert targets.foreground.sum() == 4 * 8
    # the rim of each of the two 4x4 squares, their common edge included
    assert targets.boundary[0, 2:6, 2:6].sum() == 12
    assert not targets.boundary[0, 3:5, 3:5].any()
    assert not (targets.boundary * (1 - targets.foreground)).any()
    # the cell of pixels 8..11 has its centre at 10, the box at 16 with half side 8
    assert targets.offsets[0, :, 2, 2].tolist() == [0.75, 0.75]
    assert targets.offsets[0, :, 5, 9].tolist() == [-0.75, -0.75]
    assert not targets.offsets[0, :, 0].any()


@pytest.mark.parametrize("stride", [4, 8])
def test_the_head_answers_at_a_quarter_of_the_image(stride):
    head = DenseHead(16, stride)
    assert head(torch.zeros(2, 16, 64 // stride, 96 // stride)).shape == (2, 4, 16, 24)


def test_the_truth_has_no_loss_and_its_opposite_has():
    targets = dense_targets(*scene())
    logits = torch.stack((targets.foreground, targets.boundary), 1) * 40 - 20
    right = dense_loss(torch.cat((logits, targets.offsets), 1), targets)
    wrong = dense_loss(torch.cat((-logits, -targets.offsets), 1), targets)
    assert all(float(value) < 1e-6 for value in right.values())
    assert all(float(value) > 0.5 for value in wrong.values())


def test_an_image_without_instances_has_a_finite_loss():
    empty = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.uint8)]
    targets = dense_targets(torch.zeros(1, 32, 32, dtype=torch.uint8), *empty)
    loss = dense_loss(torch.randn(1, 4, 8, 8), targets)
    assert all(bool(torch.isfinite(value)) for value in loss.values())
    assert loss["loss_offset"] == 0.0
