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
    assert box.take() is None
    box.put("frame")
    box.nudge()
    assert box.take() == "frame"
    box.put("next")
    assert box.take() == "next"


def test_closing_wakes_a_waiting_reader_and_counts_what_was_left():
    box = Mailbox()
    taken = []
    reader = threading.Thread(target=lambda: taken.append(box.take()))
    reader.start()
    box.close()
    reader.join(10)
    assert taken == [None]
    assert box.closed
    box.put("late")
    assert box.counts == {"received": 0, "dropped": 0}
    box = Mailbox()
    box.put("unread")
    box.close()
    assert box.take() is None
    assert box.counts == {"received": 1, "dropped": 1}


def test_nothing_is_lost_or_counted_twice_between_threads():
    box = Mailbox()
    taken = []

    def read():
        while (item := box.take()) is not None:
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
