# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The watchdog speaks once an episode, and only of networks that hang or fail for good."""

import threading

import pytest

from robollm_core.config import Config, update
from robollm_ros.watchdog import Watchdog, stacks

CONFIG = update(Config(), {"health.hang_s": 2.0, "health.error_after": 3}).health


def ticks(dog, *states):
    return [dog.tick(CONFIG, busy, failures, "image: NaN") for busy, failures in states]


def test_a_network_that_hangs_is_told_of_once():
    dog = Watchdog()
    told = ticks(dog, (("camera a", 1.9), 0), (("camera a", 2.1), 0), (("camera a", 3.1), 0))
    assert told[0] == ""
    assert told[1] == "the networks hang: camera a has not answered for 2.1 s"
    assert told[2] == ""
    assert "3.1 s" in dog.reason


def test_the_next_network_that_hangs_is_told_of_again():
    dog = Watchdog()
    told = ticks(dog, (("a", 9.0), 0), (("b", 0.5), 0), (("b", 2.5), 0))
    assert [bool(text) for text in told] == [True, False, True]
    # it may also begin and hang between two ticks
    told = ticks(dog, (("b", 8.0), 0), (("c", 2.5), 0))
    assert [bool(text) for text in told] == [False, True]


def test_an_idle_worker_does_not_hang():
    dog = Watchdog()
    assert ticks(dog, (None, 0), (None, 0)) == ["", ""]
    assert dog.reason == ""


def test_failures_count_only_in_a_row():
    dog = Watchdog()
    told = ticks(dog, (None, 2), (None, 0), (None, 2), (None, 3), (None, 4), (None, 0), (None, 3))
    assert [bool(text) for text in told] == [False, False, False, True, False, False, True]
    assert told[3] == "the networks failed 3 times in a row: image: NaN"


@pytest.mark.parametrize("failures", [0, 3])
def test_an_episode_ends_with_its_cause(failures):
    dog = Watchdog()
    ticks(dog, (("a", 9.0), failures), (None, 0))
    assert dog.reason == ""


def test_the_log_says_where_each_thread_stands():
    release = threading.Event()

    def wait_in_a_named_function():
        release.wait(10.0)

    thread = threading.Thread(target=wait_in_a_named_function, name="perceive")
    thread.start()
    try:
        told = stacks()
    finally:
        release.set()
        thread.join()
    assert "thread perceive:" in told
    assert "wait_in_a_named_function" in told
