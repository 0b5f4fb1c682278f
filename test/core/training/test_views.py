# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two views: the loss against NumPy, and how finding is counted."""

import numpy as np
import pytest
import torch

from robollm_core.training import views


def numpy_two_view_loss(one, two, pictures, tau):
    z, owner = np.concatenate((one, two)), np.concatenate((pictures, pictures))
    rows = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        total = np.log(sum(np.exp(z[i] @ z[a] / tau) for a in others))
        rows.append(np.mean([total - z[i] @ z[a] / tau for a in others if owner[a] == owner[i]]))
    return np.mean(rows)


def unit(*shape, seed):
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("tau", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("pictures_drawn", [[0, 1, 2, 3, 4], [4, 4, 9, 7, 9]])
def test_the_two_view_loss_is_that_of_numpy(tau, pictures_drawn):
    """The second draw has pictures twice: they are no negatives of themselves."""
    one, two, drawn = unit(5, 7, seed=0), unit(5, 7, seed=1), torch.tensor(pictures_drawn)
    found = views.two_view_loss(one, two, drawn, tau)
    wanted = numpy_two_view_loss(one.numpy(), two.numpy(), drawn.numpy(), tau)
    assert float(found) == pytest.approx(wanted, rel=1e-6)  # the scale is a float32


def test_the_rank_is_counted_by_picture():
    one = torch.eye(3)
    assert views._first_rank(one, one, torch.arange(3)) == 1.0
    assert views._first_rank(one, one.roll(1, 0), torch.arange(3)) == 0.0
    assert views._first_rank(one, one.roll(1, 0), torch.tensor([7, 7, 7])) == 1.0
