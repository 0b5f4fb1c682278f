# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Crops are cut once a frame, in order, on all threads; a fault of one is not lost."""

import multiprocessing
import threading

import cv2
import numpy as np
import pytest

from robollm_core import crops as module
from robollm_core.crops import FrameCrops, cut_out, for_each
from robollm_core.images import CropSpec, crop
from robollm_core.types import Frame, Instance

SPEC = CropSpec(8, margin=0.1)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = cv2.getNumThreads()
    cv2.setNumThreads(request.param)
    yield request.param
    cv2.setNumThreads(before)


def scene(count):
    rng = np.random.default_rng(count)
    frame = Frame(rng.integers(0, 256, (60, 80, 3), np.uint8))
    instances = []
    for _ in range(count):
        x0, y0 = rng.integers(0, 40, 2).tolist()
        wide, high = rng.integers(1, 20, 2).tolist()
        mask = rng.random((high, wide)) < 0.7
        instances.append(Instance((x0, y0, x0 + wide, y0 + high), mask, 0.5))
    return frame, instances


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_every_instance_is_cut_in_order(threads, count):
    frame, instances = scene(count)
    got = cut_out(frame, instances, SPEC)
    assert got.shape == (count, 8, 8, 3) and got.dtype == np.uint8
    for one, pixels in zip(instances, got, strict=True):
        alone = crop(frame.image_rgb, one.box_xyxy_px, SPEC, one.mask_in_box)
        np.testing.assert_array_equal(pixels, alone)


def test_networks_that_see_alike_share_the_crops(monkeypatch):
    crops = FrameCrops(*scene(3))
    calls = []
    cut = module.cut_out
    monkeypatch.setattr(module, "cut_out", lambda *a: calls.append(a[2]) or cut(*a))
    first = crops.cut(SPEC)
    assert crops.cut(CropSpec(8, margin=0.1)) is first
    other = CropSpec(8, margin=0.2)
    assert crops.cut(other) is not first
    assert calls == [SPEC, other]


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
