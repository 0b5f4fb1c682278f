# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The mailbox keeps the newest, counts the rest, and never leaves its reader hanging."""

import threading

from robollm_ros.mailbox import Mailbox


def test_the_newest_wins_and_the_others_are_counted():
    box = Mailbox()
    for number in range(5):
        box.put(number)
    assert box.take() == 4
    assert box.counts == {"received": 5, "dropped": 4}
    box.put(5)
    assert box.take() == 5
    assert box.counts == {"received": 6, "dropped": 4}


def test_a_nudge_wakes_the_reader_once_without_an_item():
    box = Mailbox()
    box.nudge()
    assert box.wait()
    assert box.take() is None
    woken = threading.Event()
    reader = threading.Thread(target=lambda: box.wait() and woken.set())
    reader.start()
    assert not woken.wait(0.05)
    box.put("frame")
    assert woken.wait(10)
    reader.join(10)
    assert box.take() == "frame"


def test_what_arrives_between_waiting_and_taking_is_taken():
    box = Mailbox()
    box.put("old")
    assert box.wait()
    box.put("new")
    assert box.take() == "new"
    assert box.take() is None
    assert box.counts == {"received": 2, "dropped": 1}


def test_closing_wakes_a_waiting_reader_and_counts_what_was_left():
    box = Mailbox()
    taken = []
    reader = threading.Thread(target=lambda: taken.append(box.wait()))
    reader.start()
    box.close()
    reader.join(10)
    assert taken == [False]
    box.put("late")
    assert box.counts == {"received": 0, "dropped": 0}
    box = Mailbox()
    box.put("unread")
    box.close()
    assert not box.wait()
    assert box.take() is None
    assert box.counts == {"received": 1, "dropped": 1}


def test_nothing_is_lost_or_counted_twice_between_threads():
    box = Mailbox()
    taken = []

    def read():
        while box.wait():
            if (item := box.take()) is not None:
                taken.append(item)

    def write(first):
        for number in range(first, first + 2000):
            box.put(number)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(1 + 10_000 * k,)) for k in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    box.close()
    reader.join(10)
    assert box.received == 6000
    assert box.dropped + len(taken) == 6000
    assert len(set(taken)) == len(taken)
