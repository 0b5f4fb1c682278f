# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Work is shared among threads, in order; a fault of one is not lost."""

import multiprocessing
import threading

import cv2
import pytest

from robollm_core.threads import for_each


@pytest.fixture(params=[1, 3])
def threads(request):
    before = cv2.getNumThreads()
    cv2.setNumThreads(request.param)
    yield request.param
    cv2.setNumThreads(before)


def test_answers_come_in_order_and_from_all_threads(threads):
    meet = threading.Barrier(threads, timeout=10)
    names = set()

    def task(number):
        if number < threads:
            meet.wait()  # only passes when so many threads work at once
        names.add(threading.get_ident())
        return number * number

    assert for_each(task, 40) == [n * n for n in range(40)]
    assert len(names) == threads


def test_a_fault_in_any_thread_is_raised(threads):
    def task(number):
        if number == 7:
            raise ValueError("the seventh")
        return number

    with pytest.raises(ValueError, match="the seventh"):
        for_each(task, 12)
    assert for_each(abs, 3) == [0, 1, 2]  # the next frame is answered


def _in_a_fork(queue):
    queue.put(for_each(lambda n: n + 1, 5))


def test_a_forked_child_has_threads_of_its_own(threads):
    for_each(lambda n: n, 4)  # the parent has its threads already
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_fork, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=20) == [1, 2, 3, 4, 5]
    finally:
        child.join(20)
        child.kill()
