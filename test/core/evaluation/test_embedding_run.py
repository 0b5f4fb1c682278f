# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embedding that is broken off, spread, or meets broken files, against one clean pass."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import colour_cell
import numpy as np
import pytest
import small_encoder

from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture, Region, cut
from robollm_core.errors import ArtifactError, ConfigError, DatasetError
from robollm_core.evaluation import embedding_run
from robollm_core.evaluation.embedding_cache import EmbeddingCache
from robollm_core.evaluation.embedding_run import Spread, embed_missing
from robollm_core.evaluation.encoder import Encoder

COUNT = 42


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return colour_cell.identification(tmp_path_factory.mktemp("net") / "identification.onnx")


@pytest.fixture
def pictures(tmp_path):
    return small_encoder.write_pictures(tmp_path / "pictures", COUNT)


def embed(pictures, source, path, spread=None, broken=None):
    """(n, 3) float32 of what could be read, and the keys."""
    with EmbeddingCache(path, source.network) as cache:
        keys = embed_missing(
            pictures, source, cache, spread or Spread(), BrokenFiles() if broken is None else broken
        )
        return cache.get([key for key in keys if key], "embedding"), keys


def test_every_picture_is_embedded_as_the_network_alone_does(artifact, pictures, tmp_path):
    source = small_encoder.noted(artifact, tmp_path / "notes")
    rows, _ = embed(pictures, source, tmp_path / "cache")
    colour = np.stack([cut(p, source.inner.crop).mean(axis=(0, 1)) for p in pictures]) / 128 - 1
    expected = colour / np.linalg.norm(colour, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-4)
    assert len(source.runs()) == -(-COUNT // source.batch)


def test_a_second_run_embeds_nothing(artifact, pictures, tmp_path):
    source = small_encoder.noted(artifact, tmp_path / "notes")
    first, _ = embed(pictures, source, tmp_path / "cache")
    runs = len(source.runs())
    second, _ = embed(pictures[::-1], source, tmp_path / "cache")
    assert len(source.runs()) == runs and (second[::-1] == first).all()


def test_what_shows_the_same_is_embedded_once(artifact, pictures, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].path.read_bytes())
    source = small_encoder.noted(artifact, tmp_path / "notes", batch=1)
    box, other = Region(box_xyxy_px=(0, 0, 9, 9)), Region(box_xyxy_px=(0, 0, 9, 8))
    asked = [pictures[0], Picture(copy), Picture(copy, box), Picture(copy, other), pictures[0]]
    _, keys = embed(asked, source, tmp_path / "cache")
    assert len(source.runs()) == 3 == len(set(keys))
    assert keys[0] == keys[1] == keys[4]


def test_the_key_is_of_bytes_region_and_crop(artifact, pictures, tmp_path):
    source = small_encoder.noted(artifact, tmp_path / "notes")
    _, keys = embed(pictures[:2], source, tmp_path / "cache")
    for key, picture in zip(keys, pictures, strict=False):
        content = hashlib.sha256(picture.path.read_bytes()).digest()
        text = f"{picture.region!r}|{source.inner.crop!r}".encode()
        assert key == hashlib.sha256(content + text).digest()


def test_a_killed_run_goes_on_where_it_was(artifact, pictures, tmp_path):
    cache, notes = tmp_path / "cache", tmp_path / "child"
    words = [artifact, tmp_path / "pictures", COUNT, cache, notes]
    child = subprocess.Popen([sys.executable, small_encoder.__file__, *map(str, words)])
    limit = time.monotonic() + 60
    while not notes.exists() or len(notes.read_text().split()) < 4:
        assert child.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    source = small_encoder.noted(artifact, tmp_path / "rest")
    with EmbeddingCache(cache, source.network) as store:
        kept = len(store)
    assert 0 < kept < COUNT and kept % source.batch == 0
    resumed, _ = embed(pictures, source, cache)
    assert len(source.runs()) == -(-(COUNT - kept) // source.batch)
    clean, _ = embed(pictures, source, tmp_path / "clean")
    assert (resumed == clean).all()


def test_broken_files_are_noted_in_order_and_left_out(artifact, pictures, tmp_path):
    source = small_encoder.noted(artifact, tmp_path / "notes")
    clean, _ = embed(pictures, source, tmp_path / "clean")
    pictures[30].path.unlink()
    pictures[3].path.write_bytes(pictures[3].path.read_bytes()[:40])
    pictures[9] = Picture(pictures[9].path, Region(box_xyxy_px=(50.0, 50.0, 60.0, 60.0)))
    pictures[11].path.write_bytes(pictures[3].path.read_bytes())  # broken in the same way
    broken = BrokenFiles()
    rows, keys = embed(pictures, source, tmp_path / "cache", broken=broken)
    lost = [3, 9, 11, 30]
    assert [entry.path for entry in broken.entries] == [str(pictures[i].path) for i in lost]
    reasons = ("truncated", "outside", "truncated", "cannot read")
    assert all(w in e.reason for w, e in zip(reasons, broken.entries, strict=True))
    assert [i for i, key in enumerate(keys) if key is None] == lost
    assert (rows == np.delete(clean, lost, axis=0)).all()


class Odd:
    """An encoder with answers of its own."""

    network, sight, batch = "n", "s", 4

    def __init__(self, rows):
        self.rows = rows

    def load(self):
        return Encoder(lambda image, picture: image, lambda images: {"embedding": self.rows})


def test_an_answer_that_is_no_number_names_the_picture(pictures, tmp_path):
    rows = np.zeros((4, 2), np.float32)
    rows[2, 1] = np.nan
    with pytest.raises(ArtifactError, match=r"NaN.*0002\.png"):
        embed(pictures[:4], Odd(rows), tmp_path / "cache")


def test_a_file_that_changes_meanwhile_is_refused(pictures, tmp_path, monkeypatch):
    real = embedding_run._tasks

    def late(*args):
        pictures[1].path.write_bytes(pictures[2].path.read_bytes())
        return real(*args)

    monkeypatch.setattr(embedding_run, "_tasks", late)
    with pytest.raises(DatasetError, match=r"0001\.png is another file"):
        embed(pictures[:4], Odd(np.zeros((4, 2), np.float32)), tmp_path / "cache")


def test_a_worker_that_does_not_see_the_files_is_told_so(pictures, tmp_path, monkeypatch):
    real = embedding_run._tasks

    def gone(*args):
        pictures[1].path.unlink()
        return real(*args)

    monkeypatch.setattr(embedding_run, "_tasks", gone)
    with pytest.raises(DatasetError, match="same path"):
        embed(pictures[:4], Odd(np.zeros((4, 2), np.float32)), tmp_path / "cache")


@pytest.mark.parametrize(
    "options", [{"workers": -1}, {"workers": "2"}, {"workers": True}, {"ray": "auto"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError):
        Spread.of(options)


def test_options_that_are_left_out_mean_this_process():
    assert Spread.of({}) == Spread.of({"workers": None, "ray": None}) == Spread()
    assert Spread.of({"workers": 2, "ray": "auto"}) == Spread(2, "auto")
