# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The bench of memory: growth is told from noise, jumps and warm-up."""

import mmap
import threading

import numpy as np
import pytest

pytest.importorskip("onnx")
import colour_cell

from robollm_core.bench import memory
from robollm_core.bench.cases import Cell
from robollm_core.bench.memory import LIMIT_KIB, Run, draw, frames, look, measure, table, verdict
from robollm_core.bench.sample import recorded
from robollm_core.config import Config, update
from robollm_core.errors import ConfigError


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    bag = colour_cell.write_bag(tmp_path_factory.mktemp("bag") / "cell.mcap")
    return bag, recorded(bag, 3)


@pytest.fixture(scope="module")
def cell(cell_settings, sample):
    root = str(sample[0].parent)
    own = {**cell_settings, "runtime.threads": 1, "identification.reference_root": root}
    return Cell(update(Config(), own))


def looks_of(rss, handles=5, threads=3):
    return [
        {"frame": 50 * i, "rss_kib": int(kib), "handles": handles, "threads": threads}
        for i, kib in enumerate(rss)
    ]


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(0, 300, count)


def test_a_steady_process_does_not_grow_whatever_its_noise_and_jumps():
    rss = 400_000 + noise(201)
    rss[:40] = np.linspace(100_000, 400_000, 40)  # warm-up
    rss[90] += 50_000
    assert verdict(looks_of(rss))["kept"]


def test_a_leak_of_one_kilobyte_a_frame_is_found():
    rss = 400_000 + noise(201) + 50 * np.arange(201)
    found = verdict(looks_of(rss))
    assert not found["kept"]
    assert found["growth_kib_per_1000"] == pytest.approx(1000, rel=0.1)
    assert found["grown_kib"] == pytest.approx(50 * 136, rel=0.15)


@pytest.mark.parametrize("name", ["handles", "threads"])
def test_open_files_and_threads_that_pile_up_are_growth(name):
    looks = looks_of(np.full(100, 1000))
    looks[-1][name] += 1
    assert not verdict(looks)["kept"]
    assert verdict(looks)[f"{name}_grown"] == 1


def test_a_look_sees_memory_files_and_threads(tmp_path):
    before = look()
    # mapped afresh: an array might lie in memory that this process has had before
    ballast = mmap.mmap(-1, 64 * 2**20)
    ballast.write(b"x" * len(ballast))
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    with (tmp_path / "f").open("wb"):
        after = look()
    end.set()
    thread.join()
    assert after["rss_kib"] - before["rss_kib"] > len(ballast) / 1024 * 0.9
    assert after["handles"] == before["handles"] + 1
    assert after["threads"] == before["threads"] + 1


def test_frames_differ_in_size_instances_and_container(cell, sample):
    seen = list(frames(cell, sample[1], Run(frames=40, every=2, container=10)))
    assert len({frame.image_rgb.shape for frame, _ in seen}) == 3
    containers = [manifest.container_id for _, manifest in seen]
    assert containers[:10] == ["C-1"] * 10 and containers[30:] == ["C-4"] * 10


def test_a_run_is_watched_printed_and_drawn(cell, sample, monkeypatch):
    monkeypatch.setattr(memory, "SIZES", ((48, 64), (60, 80)))
    found = measure(cell, sample[1], Run(frames=40, every=2, container=7))
    assert [one["frame"] for one in found["looks"]] == list(range(0, 42, 2))
    assert found["handles_grown"] <= 0 and found["threads_grown"] <= 0
    assert found["limit_kib_per_1000"] == LIMIT_KIB
    assert "growth" in table(found) and draw(found).startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [{"frames": 19, "every": 1}, {"every": 0}, {"container": 0}])
def test_runs_too_short_for_a_slope_are_refused(wrong):
    with pytest.raises(ConfigError, match="at least 20 looks"):
        Run(**wrong)


@pytest.mark.slow
def test_a_cell_of_stand_ins_does_not_grow(cell, sample, monkeypatch):
    monkeypatch.setattr(memory, "SIZES", ((96, 128), (120, 160)))
    found = measure(cell, sample[1], Run(frames=3000, every=20, container=10))
    assert found["growth_kib_per_1000"] < 1024 and found["handles_grown"] <= 0
