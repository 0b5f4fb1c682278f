# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of an instance in another picture: what they may touch, and what is left below."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.data.copy_paste import (
    MIN_PIXELS,
    VISIBLE_SHARE,
    Cutout,
    cut_out,
    paste,
)

RED = (255, 0, 0)


def picture(seed, height, width, count):
    """Grey rectangles, each of a shade of its own, on black."""
    rng = np.random.default_rng(seed)
    image, labels = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for number in range(1, count + 1):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        high, wide = rng.integers(4, 30, 2)
        labels[y : y + high, x : x + wide] = number
        image[y : y + high, x : x + wide] = 10 + number
    return image, labels


def red(height, width):
    """A cutout all red, so that what is pasted can be told by its colour."""
    return Cutout(np.full((height, width, 3), RED, np.uint8), np.ones((height, width), bool))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    count=st.integers(0, 12),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    most=st.integers(2, 6),
)
def test_copies_take_only_what_they_cover(seed, height, width, count, size, most):
    image, labels = picture(seed, height, width, count)
    inputs = image.copy(), labels.copy()
    painted, numbers = paste(image, labels, red(*size), np.random.default_rng(seed), most)
    assert np.array_equal(image, inputs[0])
    assert np.array_equal(labels, inputs[1])
    assert painted.shape == image.shape
    assert (numbers.shape, numbers.dtype) == (labels.shape, np.uint8)

    covered = (painted == RED).all(2)
    assert np.array_equal(painted[~covered], image[~covered])
    old = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    new = np.setdiff1d(np.unique(numbers), [0, *old])
    assert new.size <= most
    assert covered[np.isin(numbers, new)].all()  # no copy reaches beyond its pixels
    for number in np.union1d(old, new):
        if number == 0:
            continue
        mask = numbers == number
        if number in old:
            before = labels == number
            left = before & ~covered
            enough = left.sum() >= VISIBLE_SHARE * before.sum()
            assert np.array_equal(mask, left if enough else np.zeros_like(mask))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_same_seed_pastes_the_same(seed):
    image, labels = picture(seed, 60, 80, 5)
    first, again = (
        paste(image, labels, red(12, 20), np.random.default_rng(seed), 4) for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other, _ = paste(image, labels, red(12, 20), np.random.default_rng(seed + 1), 4)
    assert not np.array_equal(first[0], other)


@pytest.mark.parametrize(("used", "room"), [(254, 0), (253, 1), (252, 2)])
def test_a_map_has_no_more_numbers_than_a_byte_can_tell_apart(used, room):
    labels = np.zeros((300, 60), np.uint8)
    for number in range(1, used + 1):
        labels[number, :2] = number
    image = np.zeros((300, 60, 3), np.uint8)
    most_seen = 0
    for seed in range(20):
        _, numbers = paste(image, labels, red(1, 1), np.random.default_rng(seed), 6)
        assert numbers.max() <= 254
        most_seen = max(most_seen, np.setdiff1d(numbers, labels).size)
    assert most_seen == room


def rows(cutout, count):
    """Middles and masks of copies pasted into the middle of a large black picture."""
    image, labels = np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600), np.uint8)
    labels[299:302, 299:302] = 1  # rows are laid around the items
    for seed in range(count):
        _, numbers = paste(image, labels, cutout, np.random.default_rng(seed), 3)
        masks = [numbers == number for number in np.unique(numbers) if number > 1]
        yield [np.argwhere(mask)[:, ::-1].mean(0) for mask in masks], masks


def test_copies_lie_a_diameter_apart_in_every_direction():
    disc = cv2.circle(np.zeros((41, 41), np.uint8), (20, 20), 20, 1, -1) > 0
    cutout = Cutout(np.full((41, 41, 3), RED, np.uint8), disc)
    headings = []
    for middles, _ in rows(cutout, 30):
        for step in np.diff(middles, axis=0):
            assert 41 * 0.8 * 0.85 - 8 < np.linalg.norm(step) < 41 * 1.25 * 1.1 + 8
            headings.append(np.degrees(np.arctan2(step[1], step[0])) % 180)
    assert (np.histogram(headings, 4, (0, 180))[0] > 0).all()


def test_copies_of_a_long_thing_lie_along_its_own_sides():
    straight = []
    for middles, masks in rows(red(60, 24), 40):
        step = middles[1] - middles[0]
        (_, _), (width, _), angle = cv2.minAreaRect(np.argwhere(masks[1])[:, ::-1].astype("f4"))
        angle = np.radians(angle if width > 40 else angle + 90)
        axis = np.array([np.cos(angle), np.sin(angle)])
        along = abs(step @ axis) / 60
        across = abs(step[0] * axis[1] - step[1] * axis[0]) / 24
        straight.append(min(along, across) < 0.3 and 0.6 < max(along, across) < 1.6)
    assert np.mean(straight) > 0.6


def test_copies_are_as_large_as_the_thing_give_or_take():
    image, labels = np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600), np.uint8)
    labels[299:302, 299:302] = 1
    last = []
    for seed in range(40):
        _, numbers = paste(image, labels, red(40, 40), np.random.default_rng(seed), 2)
        last.append((numbers == numbers.max()).sum() / 1600)  # the last copy lies on top
    assert 0.5 < min(last) < 0.8
    assert 1.25 < max(last) < 1.9


def scene():
    """A whole box, a box with a bite taken out of it, and specks."""
    image, labels = np.zeros((120, 160, 3), np.uint8), np.zeros((120, 160), np.uint8)
    labels[10:50, 10:60] = 3
    labels[70:110, 10:60] = 5
    labels[80:100, 20:60] = 0
    labels[5:10, 100:105] = 7
    labels[60:68, 140:148] = 9
    for number in (3, 5, 7, 9):
        image[labels == number] = 20 * number
    return image, labels


def test_what_is_cut_out_looks_whole():
    image, labels = scene()
    for seed in range(10):
        found = cut_out(image, labels, np.random.default_rng(seed))
        assert found.mask.shape == (40, 50)
        assert found.mask.all()
        assert (found.image == 60).all()


def test_where_nothing_looks_whole_the_best_is_cut_out():
    image, labels = scene()
    labels[labels == 3] = 0
    labels[labels == 9] = 0
    found = cut_out(image, labels, np.random.default_rng(0))
    assert found.mask.sum() == (labels == 5).sum()
    assert (found.image[found.mask] == 100).all()


def test_turned_and_round_things_are_whole_too():
    for draw in (
        lambda canvas: cv2.circle(canvas, (60, 60), 20, 1, -1),
        lambda canvas: cv2.fillPoly(
            canvas, [np.array([[60, 30], [90, 60], [60, 90], [30, 60]])], 1
        ),
    ):
        labels = np.zeros((120, 120), np.uint8)
        draw(labels)
        labels[100:116, 100:102] = 2
        labels[114:116, 90:116] = 2
        found = cut_out(np.zeros((120, 120, 3), np.uint8), labels, np.random.default_rng(0))
        assert found.mask.sum() == (labels == 1).sum()


def test_a_picture_without_things_gives_nothing():
    image, labels = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
    assert cut_out(image, labels, np.random.default_rng(0)) is None
    labels[0, : MIN_PIXELS // 2] = 1
    assert cut_out(image, labels, np.random.default_rng(0)) is None
