# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The collector is off inside and afterwards as it was before, also where blocks overlap."""

import gc
import threading

import pytest

from robollm_core.identification.quiet import without_collection


@pytest.fixture(autouse=True)
def collector():
    gc.enable()
    yield
    gc.enable()


def test_the_collector_comes_back_also_after_an_error():
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_of_blocks_that_overlap_the_last_one_turns_it_on():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with without_collection():
            entered.set()
            assert leave.wait(10)

    worker = threading.Thread(target=other)
    with without_collection():
        worker.start()
        assert entered.wait(10)
    assert not gc.isenabled()
    leave.set()
    worker.join()
    assert gc.isenabled()
