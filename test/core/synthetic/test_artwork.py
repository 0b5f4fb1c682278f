# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import time

import cv2
import numpy as np
import pytest

from robollm_core.synthetic.artwork import draw_panel, make_style

ROLES = ("front", "back", "side", "top", "wrap")


def panel(brand, flavour, role="front", size=(256, 192), seed=0):
    return draw_panel(make_style(brand, flavour), size, role, np.random.default_rng(seed))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [(8, 8), (12, 300), (300, 12), (128, 96)])
def test_any_size_is_drawn(role, size):
    for brand in range(12):
        picture = panel(brand, 0, role, size)
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.uint8


@pytest.mark.parametrize("role", ROLES)
def test_same_seeds_same_pixels(role):
    assert (panel(5, 2, role) == panel(5, 2, role)).all()


def test_a_style_is_a_pure_function_of_its_seeds():
    assert make_style(17, 3) == make_style(17, 3)
    assert make_style(17, 3) != make_style(18, 3)


def test_flavours_share_the_brand_and_differ_in_print():
    for brand in range(20):
        first, second = make_style(brand, 0), make_style(brand, 1)
        assert (first.brand, first.goods, first.faces, first.base, first.layout) == (
            second.brand, second.goods, second.faces, second.base, second.layout,
        )  # fmt: skip
        assert first.flavour != second.flavour
        assert (panel(brand, 0) != panel(brand, 1)).any()


def test_a_flavour_is_nearer_than_another_brand():
    def apart(a, b):
        small = [cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA) for each in (a, b)]
        return np.abs(small[0].astype(float) - small[1]).mean()

    nearer = [
        apart(panel(brand, 0), panel(brand, 1)) < apart(panel(brand, 0), panel(brand + 1, 0))
        for brand in range(60)
    ]
    assert np.mean(nearer) > 0.9


def test_brands_are_various():
    styles = [make_style(brand, 0) for brand in range(200)]
    assert len({style.brand for style in styles}) > 150
    assert len({style.layout for style in styles}) == 8
    assert len({style.faces[0] for style in styles}) == 12
    assert len({style.goods for style in styles}) > 25


def test_text_names_brand_goods_and_flavour():
    style = make_style(3, 1)
    for word in (style.brand, style.goods, style.flavour, style.amount):
        assert word in style.text


def test_small_print_comes_from_the_generator_and_the_look_does_not():
    assert (panel(4, 0, "back", seed=0) != panel(4, 0, "back", seed=1)).any()
    assert (panel(4, 0, "front", seed=0) == panel(4, 0, "front", seed=1)).all()


def test_a_wrap_meets_itself_at_the_seam():
    steps = []
    for brand in range(30):
        picture = panel(brand, 0, "wrap", (120, 360)).astype(float)
        across = np.abs(picture[:, 0] - picture[:, -1]).mean()
        inside = np.abs(np.diff(picture[:, :60], axis=1)).mean(axis=(0, 2)).max()
        steps.append(across <= inside + 5)
    assert np.mean(steps) > 0.6  # patterns whose pitch does not divide the width jump


def test_fast_enough_for_thousands_of_products():
    spent = []
    for brand in range(15):
        start = time.process_time()
        panel(brand, 0, size=(256, 256))
        spent.append(time.process_time() - start)
    assert np.median(spent) < 0.015
