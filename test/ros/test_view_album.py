# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Frames and answers find each other by their header, within a budget of bytes."""

import random

import pytest

from robollm_ros.view_album import MAX_ANSWERS, MAX_SHOTS, PATIENCE_S, QUIET_S, Album, Shot


@pytest.fixture
def album(clock):
    return Album(1000, clock)


def shoot(album, stamp, camera="tote", size=10):
    album.add(Shot(camera, f"{camera}_frame", stamp, f"{camera} {stamp}", size))


def answer(album, stamp, camera="tote", parts=("detections", "defects")):
    for part in parts:
        album.say(part, f"{camera}_frame", stamp, f"{part} {stamp}")


def taken(album, camera="tote"):
    found = album.take(camera)
    return None if found is None else (found[0].message, found[1])


def settle(album):
    """As after a first answer: frames without one are not shown any more."""
    shoot(album, 1)
    answer(album, 1)
    assert taken(album) == ("tote 1", {"detections": "detections 1", "defects": "defects 1"})


def test_a_frame_and_its_answer_come_together_and_once(album):
    settle(album)
    assert taken(album) is None
    shoot(album, 2)
    assert taken(album) is None
    answer(album, 2)
    assert taken(album) == ("tote 2", {"detections": "detections 2", "defects": "defects 2"})
    assert taken(album) is None


def test_the_newest_answered_frame_wins_and_older_ones_are_gone(album):
    settle(album)
    for stamp in (2, 3, 4, 5):
        shoot(album, stamp)
    for stamp in (2, 4):
        answer(album, stamp)
    assert taken(album)[0] == "tote 4"
    answer(album, 3)
    assert taken(album) is None  # older than what was shown
    answer(album, 5)
    assert taken(album)[0] == "tote 5"


def test_an_answer_of_another_camera_or_stamp_fits_nothing(album):
    settle(album)
    shoot(album, 2)
    answer(album, 2, camera="arm")
    answer(album, 7)
    assert taken(album) is None


def test_masks_are_waited_for_where_there_are_masks(album, clock):
    settle(album)
    shoot(album, 2)
    answer(album, 2, parts=("masks", "defects", "detections"))
    assert set(taken(album)[1]) == {"masks", "defects", "detections"}
    clock.now += 0.1
    shoot(album, 3)
    answer(album, 3)
    assert taken(album) is None
    answer(album, 3, parts=("masks",))
    assert set(taken(album)[1]) == {"masks", "defects", "detections"}


def test_a_part_that_never_comes_is_not_waited_for_long(album, clock):
    settle(album)
    shoot(album, 2)
    answer(album, 2, parts=("detections",))
    assert taken(album) is None
    clock.now += PATIENCE_S + 0.01
    assert taken(album) == ("tote 2", {"detections": "detections 2"})


def test_without_answers_the_newest_frame_is_shown_alone(album, clock):
    shoot(album, 1)
    shoot(album, 2)
    assert taken(album) == ("tote 2", {})
    assert taken(album) is None
    answer(album, 2)
    assert taken(album) == ("tote 2", {"detections": "detections 2", "defects": "defects 2"})
    assert taken(album) is None
    shoot(album, 3)
    answer(album, 3)
    assert taken(album)[1]
    shoot(album, 4)
    assert taken(album) is None
    clock.now += QUIET_S
    assert taken(album) == ("tote 4", {})


def test_answers_slower_than_the_pictures_are_shown_all_the_same(album, clock):
    """A slow node: each answer comes when its frame was already shown, and others after it."""
    answered = []
    for stamp in range(1, 60):
        clock.now += 0.1
        shoot(album, stamp)
        if stamp > 5:
            answer(album, stamp - 5)
        if (found := album.take("tote")) is not None and found[1]:
            answered.append(found[0].stamp_ns)
    assert answered == list(range(1, 55))


def test_without_answers_frames_do_not_pile_up(album):
    for stamp in range(10 * MAX_SHOTS):
        shoot(album, stamp, size=1)
        album.take("tote")
    assert album.bytes == MAX_SHOTS


def test_the_age_of_a_camera_is_that_of_its_newest_frame(album, clock):
    assert album.age_s("tote") is None
    shoot(album, 1)
    clock.now += 0.25
    assert album.age_s("tote") == 0.25
    taken(album)
    clock.now += 5
    assert album.age_s("tote") == 5.25  # also when nothing is kept any more


def test_frames_keep_to_the_budget_and_the_newest_of_each_camera_stays(album, clock):
    shoot(album, 1, "arm", 400)
    for stamp in range(1, 30):
        clock.now += 0.1
        shoot(album, stamp, "tote", 300)
        assert album.bytes <= 1000
    assert album.age_s("arm") is not None
    shoot(album, 99, "wall", 5000)  # more than all the budget, and still the newest of its camera
    answer(album, 99, "wall")
    assert taken(album, "wall")[0] == "wall 99"


def test_a_clock_that_jumps_back_does_not_stop_the_pictures(album):
    settle(album)
    shoot(album, 900)
    answer(album, 900)
    assert taken(album)[0] == "tote 900"
    shoot(album, 5)
    answer(album, 5)
    assert taken(album)[0] == "tote 5"


def test_answers_without_frames_do_not_pile_up(album):
    for stamp in range(10 * MAX_ANSWERS):
        answer(album, stamp)
    assert len(album._answers) == MAX_ANSWERS


def test_whatever_the_order_nothing_is_shown_twice_or_backwards(clock):
    rng = random.Random(7)
    album = Album(10**9, clock)
    settle(album)
    shown = [1]
    events = [(rng.random() + stamp, stamp, kind)
              for stamp in range(2, 60) for kind in ("shot", "detections", "defects")]  # fmt: skip
    came = []
    for _, stamp, kind in sorted(events):
        clock.now += 0.01
        if kind == "shot":
            shoot(album, stamp)
            came.append(stamp)
        else:
            answer(album, stamp, parts=(kind,))
        if (found := album.take("tote")) is not None:
            shown.append(found[0].stamp_ns)
    assert len(shown) > 20
    order = [came.index(stamp) for stamp in shown[1:]]
    assert order == sorted(set(order))  # came: in the order in which the frames arrived
