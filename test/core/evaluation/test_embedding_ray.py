# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embedding on a Ray cluster of this machine, with a worker killed, against no Ray at all."""

import sys
from pathlib import Path

import colour_cell
import pytest
import small_encoder

from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import DependencyError, RuntimeUnavailableError
from robollm_core.evaluation.embedding_cache import EmbeddingCache
from robollm_core.evaluation.embedding_run import Spread, embed_missing

COUNT = 120


def embed(pictures, source, path, spread):
    broken = BrokenFiles()
    with EmbeddingCache(path, source.network) as cache:
        keys = embed_missing(pictures, source, cache, spread, broken)
        return keys, cache.get([key for key in keys if key], "embedding"), broken


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    # the workers are other processes, and import the encoder
    monkeypatch.setenv("PYTHONPATH", str(Path(small_encoder.__file__).parent))
    artifact = colour_cell.identification(tmp_path / "identification.onnx")
    pictures = small_encoder.write_pictures(tmp_path / "pictures", COUNT)
    pictures[50].path.write_bytes(b"\xff\xd8")
    alone = small_encoder.noted(artifact, tmp_path / "alone")
    expected = embed(pictures, alone, tmp_path / "alone.sqlite", Spread())
    spread = small_encoder.noted(artifact, tmp_path / "spread", delay_s=0.05, die_at=4)
    found = embed(pictures, spread, tmp_path / "spread.sqlite", Spread(workers=2))
    assert (tmp_path / "spread.died").exists()
    # two at the start, and the one that took the place of the dead
    assert len(set(spread.runs())) == 3
    assert found[0] == expected[0] and found[2] == expected[2]
    assert [entry.path for entry in found[2].entries] == [str(pictures[50].path)]
    assert (found[1] == expected[1]).all()
    runs = len(spread.runs())
    embed(pictures[:50] + pictures[51:], spread, tmp_path / "spread.sqlite", Spread(workers=2))
    assert len(spread.runs()) == runs


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    artifact = colour_cell.identification(tmp_path / "identification.onnx")
    pictures = small_encoder.write_pictures(tmp_path / "pictures", 1)
    source = small_encoder.noted(artifact, tmp_path / "notes")
    with pytest.raises(DependencyError, match=r"ray.*\[scale\]"):
        embed(pictures, source, tmp_path / "cache", Spread(workers=2))


def test_an_address_where_nothing_answers_is_named(tmp_path):
    ray = pytest.importorskip("ray")

    def refuse(**_):
        raise ConnectionError("nobody there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        artifact = colour_cell.identification(tmp_path / "identification.onnx")
        pictures = small_encoder.write_pictures(tmp_path / "pictures", 1)
        source = small_encoder.noted(artifact, tmp_path / "notes")
        with pytest.raises(RuntimeUnavailableError, match=r"ray://nowhere:1.*nobody there"):
            embed(pictures, source, tmp_path / "cache", Spread(2, "ray://nowhere:1"))
