# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.synthetic.shading import Film, contact_shadow, gleam, soften

SIZE = (120, 160)


def half_shadowed():
    plain = np.full((*SIZE, 3), 200, np.uint8)
    hard = plain.copy()
    hard[:, 80:] = 60
    return hard, plain


def edge_width(image):
    row = image[60, :, 0].astype(int)
    return np.count_nonzero((row > 65) & (row < 195))


def test_a_shadow_on_a_flat_floor_gets_an_edge_as_wide_as_asked():
    hard, plain = half_shadowed()
    depth = np.ones(SIZE, np.float32)
    narrow, wide = (soften(hard, plain, depth, radius) for radius in (4.0, 16.0))
    assert 4 <= edge_width(narrow) <= 12
    assert 20 <= edge_width(wide) <= 36
    for soft in (narrow, wide):
        assert abs(int(soft[60, 20, 0]) - 200) <= 3 and abs(int(soft[60, 140, 0]) - 60) <= 3


def test_a_shadow_does_not_leak_over_a_step_in_depth():
    hard, plain = half_shadowed()
    depth = np.ones(SIZE, np.float32)
    depth[:, 80:] = 0.8
    assert edge_width(soften(hard, plain, depth, 16.0)) <= 3


def test_without_any_shadow_the_picture_stays():
    _, plain = half_shadowed()
    np.testing.assert_array_equal(soften(plain, plain, np.ones(SIZE, np.float32), 8.0), plain)


def test_contact_shadow_is_where_something_stands_on_a_floor():
    depth = np.full(SIZE, 1.0, np.float32)
    depth[40:80, 60:100] = 0.9
    hidden = contact_shadow(depth)
    assert hidden[60, 104] > 0.2  # beside the block
    assert hidden[60, 80] == 0  # on top of it
    assert hidden[5, 5] < 0.02  # far away


def test_only_glossy_pixels_gleam_and_the_gleam_has_a_structure():
    gloss = np.zeros(SIZE, np.float32)
    gloss[:, 80:] = 0.7
    light = gleam(np.ones(SIZE, np.float32), gloss, Film(strength=0.8, crease=0.3, seed=4))
    assert not light[:, :80].any()
    assert light.min() >= 0
    assert light[:, 80:].max() > 0.3 > np.median(light[:, 80:])


@pytest.mark.parametrize("change", [{"seed": 5}, {"crease": 0.1}, {"sharpness": 150.0}])
def test_a_film_is_fixed_by_its_numbers(change):
    depth, gloss = np.ones(SIZE, np.float32), np.ones(SIZE, np.float32)
    base = {"strength": 0.8, "seed": 4, "crease": 0.3}
    first, again = (gleam(depth, gloss, Film(**base)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, gleam(depth, gloss, Film(**{**base, **change})))
