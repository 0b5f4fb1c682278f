# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a fixed cost, and what the kernel tells of a process."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from robollm_core.bench.ros_process import look
from robollm_core.bench.ros_stages import core_alone_ms, fixed_stages
from robollm_core.errors import ConfigError
from robollm_core.pipeline import perceive
from robollm_core.types import Frame


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_a_stage_costs_what_it_was_told(how):
    took = core_alone_ms(np.zeros((48, 64, 3), np.uint8), fixed_stages(5.0, how, 2), rounds=5)
    assert min(took) >= 5.0
    # the machine may be busy, but not all the time
    assert min(took) < 20.0


@pytest.mark.parametrize(("how", "busy"), [("sleep", False), ("spin", True)])
def test_only_a_spinning_stage_keeps_the_processor_busy(how, busy):
    stages = fixed_stages(100.0, how, 0)
    before = time.thread_time()
    stages.segmentation.segment(Frame(np.zeros((8, 8, 3), np.uint8)))
    # on a machine full of other work a busy thread gets a share of the 100 ms; sleep takes none
    assert (time.thread_time() - before > 0.004) is busy


def test_the_things_found_lie_inside_the_frame():
    for height, width, expected in ((960, 1280, 10), (40, 60, 2), (8, 8, 0)):
        frame = Frame(np.zeros((height, width, 3), np.uint8), 7, "cam")
        result = perceive(frame, None, fixed_stages(0.0, "sleep", 10))
        assert len(result.items) == expected
        for item in result.items:
            x0, y0, x1, y1 = item.instance.box_xyxy_px
            assert (x0, y0) >= (0, 0)
            assert x1 <= width
            assert y1 <= height
            assert item.identification.item_id == "item_0"
            assert item.defect.label == "nominal"


def test_another_process_is_seen_with_memory_threads_and_time():
    code = "x = bytearray(64 << 20); print(1, flush=True); input(); sum(range(10**7)); print(2)"
    words = [sys.executable, "-c", code + "; import sys; sys.stdout.flush(); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as process:
        process.stdout.readline()
        first = look(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        second = look(process.pid)
        process.kill()
    assert first["rss_kib"] > 60 << 10
    assert first["peak_kib"] >= first["rss_kib"]
    assert first["threads"] == 1
    assert first["handles"] >= 3
    assert second["cpu_s"] - first["cpu_s"] > 0.05
    with pytest.raises(ConfigError, match="has it ended"):
        look(process.pid)


def test_this_process_looks_at_itself():
    assert look(os.getpid())["rss_kib"] > 10_000
