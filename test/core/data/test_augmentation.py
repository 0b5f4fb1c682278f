# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation: bounded, seeded, and neutral at strength nothing."""

import numpy as np
import pytest

from robollm_core.data.augmentation import (
    GREY,
    NO_DISGUISE,
    PICK,
    REFERENCE,
    Disguise,
    Strength,
    augment,
    centre,
    draw_disguise,
    draw_warp,
)

NOTHING = Strength(turn=0, zoom=1, shift=0, shear=0, colour=0, damage=0, cutout=0)


class Level:
    """A generator whose every draw is the middle: rotation 0, scale 1."""

    def uniform(self, low, high, size=None):
        return (low + high) / 2 if size is None else np.full(size, (low + high) / 2)

    def random(self, size=None):
        return 0.99 if size is None else np.full(size, 0.99)


def smooth(size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    return np.stack((60 + 120 * x, 60 + 120 * y, 180 - 100 * x), axis=2).round().astype(np.uint8)


def test_the_same_seed_gives_the_same_crop():
    crop = np.random.default_rng(0).integers(0, 255, (76, 76, 3), dtype=np.uint8)
    for seed in range(20):  # all branches come up
        one, two = (augment(crop, 64, PICK, np.random.default_rng(seed)) for _ in range(2))
        assert one.shape == (64, 64, 3) and one.dtype == np.uint8
        assert np.array_equal(one, two)


def test_seeds_differ():
    crop = smooth(76)
    results = [augment(crop, 64, PICK, np.random.default_rng(seed)).tobytes() for seed in range(20)]
    assert len(set(results)) == 20


def test_without_changes_the_crop_fills_the_result():
    plain = augment(smooth(76), 64, NOTHING, Level()).astype(int)
    assert np.abs(plain - centre(smooth(76), 64)).max() <= 2


def test_a_mirror_swaps_left_and_right():
    crop = smooth(64)
    mirrored = augment(crop, 64, NOTHING, Level(), Disguise(np.eye(3), mirror=True))
    assert np.array_equal(mirrored, crop[:, ::-1])


@pytest.mark.parametrize("quarter", range(4))
def test_the_warp_turns_about_the_middle(quarter):
    class Turned(Level):
        def random(self, size=None):
            return 0.0 if size is None else np.zeros(size)

        def integers(self, *_):
            return quarter

    warp = draw_warp(64, 64, Strength(1, 1, 0, 0, 0, 0, 0), Turned(), mirror=False)
    middle = warp @ np.array([31.5, 31.5, 1.0])
    corner = warp @ np.array([0.0, 0.0, 1.0])
    assert middle == pytest.approx([31.5, 31.5])
    assert corner == pytest.approx([(0, 0), (63, 0), (63, 63), (0, 63)][quarter])


def test_the_background_comes_in_grey():
    turned = Strength(turn=1, zoom=1, shift=0, shear=0, colour=0, damage=0, cutout=0)
    corners = []
    for seed in range(30):
        result = augment(
            np.full((64, 64, 3), 250, np.uint8), 64, turned, np.random.default_rng(seed)
        )
        corners.append(tuple(result[0, 0]))
    assert (GREY, GREY, GREY) in corners


def test_grey_stays_grey_under_every_disguise():
    grey = np.full((64, 64, 3), GREY, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(20):
        result = augment(grey, 64, NOTHING, Level(), draw_disguise(rng))
        assert np.abs(result.astype(int) - GREY).max() <= 1


def test_a_disguise_changes_the_hue_and_keeps_the_contrast():
    rng = np.random.default_rng(1)
    for _ in range(50):
        colour = draw_disguise(rng).colour
        assert colour @ colour.T == pytest.approx(np.eye(3), abs=1e-9)  # a rotation or swap
        assert np.abs(colour - np.eye(3)).max() > 0.1


def test_one_disguise_is_the_same_for_all_pictures_of_an_item():
    disguise = draw_disguise(np.random.default_rng(2))
    red = np.full((64, 64, 3), (170, 100, 100), np.uint8)
    one = augment(red, 64, NOTHING, Level(), disguise)[32, 32]
    two = augment(red[:, ::-1], 64, NOTHING, Level(), disguise)[32, 32]
    assert np.array_equal(one, two)
    assert not np.array_equal(one, augment(red, 64, NOTHING, Level(), NO_DISGUISE)[32, 32])


def test_references_are_changed_less_than_picks():
    crop = smooth(76)
    plain = centre(crop, 64).astype(int)

    def change(strength):
        level = strength.scaled(1.0)
        still = Strength(0, level.zoom, level.shift, level.shear, level.colour, 0, level.cutout)
        results = [augment(crop, 64, still, np.random.default_rng(s)) for s in range(40)]
        return np.mean([np.abs(result.astype(int) - plain).mean() for result in results])

    assert change(REFERENCE) < change(PICK)


def test_strength_scales_to_nothing():
    assert PICK.scaled(0.0) == Strength(PICK.turn, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert PICK.scaled(1.0) == PICK
