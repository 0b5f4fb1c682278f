# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The bench of retrieval: repeatable numbers, honest memory."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from robollm_core.bench import retrieval
from robollm_core.bench.retrieval import (
    Sizes,
    draw,
    measure,
    rank_share,
    write_references,
)
from robollm_core.errors import ConfigError, OutputError, RobollmError

SMALL = Sizes(queries=30, references=90, items=40, dim=16)


def test_the_references_are_unit_vectors_fixed_by_the_seed(tmp_path):
    for name, sizes in (("a", SMALL), ("b", SMALL), ("c", replace(SMALL, seed=1))):
        write_references(tmp_path / name, sizes)
    rows = np.load(tmp_path / "a").view(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows.shape == (90, 16) and (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (rows != np.load(tmp_path / "c").view(np.float32)).mean() > 0.99


@pytest.mark.parametrize("half", [False, True])
def test_a_share_of_the_gallery_is_ranked(tmp_path, half):
    sizes = replace(SMALL, dim=256, half=half)
    write_references(tmp_path / "r", sizes)
    whole, part = (rank_share(tmp_path / "r", sizes, share) for share in (1.0, 0.25))
    assert whole["references"] == 90 and whole["items"] == 40
    assert part["items"] == 10 and 10 <= part["references"] <= 60
    assert whole["mapped_bytes"] == 90 * 256 * (2 if half else 4)
    assert whole["recall_at_1"] > 0.9  # queries lie near their items
    assert whole["gflops"] == pytest.approx(2e-9 * 90 * 256 * whole["queries_per_s"], abs=1e-3)


@pytest.mark.slow
def test_all_shares_are_measured_and_drawn(tmp_path):
    found = measure(SMALL, tmp_path)
    assert [entry["items"] for entry in found["sizes"]] == [5, 10, 20, 40]
    assert list(tmp_path.iterdir()) == []  # the references are gone
    memory = found["memory"]
    assert memory["kept"] and memory["peak_rss_bytes"] == found["sizes"][-1]["peak_rss_bytes"]
    assert "mapped" in memory["counts"]
    assert draw(found).startswith(b"\x89PNG")


def test_the_peak_is_that_of_this_process_alone():
    ballast = np.ones(400 * 2**20, np.uint8)
    # in a process of its own: this one may have had a higher peak before
    code = (
        "import numpy as np; from robollm_core.bench.retrieval import peak_rss; "
        "before = peak_rss(); more = np.ones(200 * 2**20, np.uint8); print(before, peak_rss())"
    )
    before, after = map(int, subprocess.check_output([sys.executable, "-c", code]).split())
    assert 10 * 2**20 < before < len(ballast)
    assert after - before > 150 * 2**20


@pytest.mark.parametrize(
    "wrong", [{"queries": 0}, {"dim": 0}, {"items": 7}, {"items": 91}, {"references": 39}]
)
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError):
        replace(SMALL, **wrong)


def test_a_disk_without_room_is_named(tmp_path):
    with pytest.raises(OutputError, match="gone"):
        write_references(tmp_path / "gone" / "r", SMALL)


def test_a_process_that_dies_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval, "write_references", lambda path, sizes: None)
    with pytest.raises(RobollmError, match="code 1"):
        measure(SMALL, tmp_path)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_matrix_of_similarities(tmp_path):
    # 5 000 x 100 000 similarities are 2 GB
    sizes = Sizes(queries=5_000, references=100_000, items=25_000, dim=64)
    found = measure(sizes, tmp_path)
    for entry in found["sizes"]:
        grown = entry["peak_rss_bytes"] - entry["idle_rss_bytes"]
        assert grown < entry["mapped_bytes"] + 64 * 2**20
    assert found["sizes"][-1]["recall_at_1"] > 0.2
