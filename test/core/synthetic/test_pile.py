# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.synthetic.pile import random_rotation, settle
from robollm_core.synthetic.products import make_catalogue
from robollm_core.synthetic.scene import MOST_ITEMS, random_fill
from robollm_core.synthetic.tote import Tote

TOTE = Tote(0.55, 0.38, 0.25, 0.05, 0.03, 5, 0.005, 1.0)
PRODUCTS = make_catalogue("train", 9, 35)


@pytest.mark.parametrize("count", [1, 10, 35])
def test_things_come_to_rest_inside_the_tote(count):
    poses = settle(np.random.default_rng(count), PRODUCTS[:count], TOTE)
    assert len(poses) == count
    for product, pose in zip(PRODUCTS, poses, strict=False):
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-6)
        x, y, z = pose.position_m
        assert abs(x) < TOTE.length_m / 2 + 0.05
        assert abs(y) < TOTE.width_m / 2 + 0.05
        # no deeper in the floor than something soft may sink
        assert z > min(product.dims_m) / 2 * (1 - product.softness) - 0.004
    heights = sorted(float(pose.position_m[2]) for pose in poses)
    assert heights[0] < 0.15


def test_a_pile_lies_on_top_of_each_other():
    few = settle(np.random.default_rng(0), PRODUCTS[:3], TOTE)
    many = settle(np.random.default_rng(0), PRODUCTS, TOTE)
    assert max(p.position_m[2] for p in many) > max(p.position_m[2] for p in few)


def test_the_same_generator_state_gives_the_same_pile():
    first, second = (settle(np.random.default_rng(5), PRODUCTS[:12], TOTE) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.position_m.tobytes() == b.position_m.tobytes()
        assert a.rotation.tobytes() == b.rotation.tobytes()


def test_nothing_settles_to_nothing():
    assert settle(np.random.default_rng(0), [], TOTE) == []


def test_random_rotations_are_rotations_and_even():
    rng = np.random.default_rng(0)
    turns = np.stack([random_rotation(rng) for _ in range(2000)])
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-9)
    assert np.abs(turns.mean(axis=0)).max() < 0.05


def test_fill_is_1_to_35_with_about_10_in_the_mean():
    rng = np.random.default_rng(0)
    fills = [random_fill(rng) for _ in range(5000)]
    assert min(fills) == 1 and max(fills) == MOST_ITEMS == 35
    assert 9 < np.mean(fills) < 11
