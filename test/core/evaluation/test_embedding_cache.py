# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the cache gives back, and every file it must refuse."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from robollm_core.errors import DatasetError, OutputError
from robollm_core.evaluation.embedding_cache import EmbeddingCache

KEYS = [bytes([number]) * 32 for number in range(6)]
ROWS = {
    "feature": np.arange(36, dtype=np.float32).reshape(6, 2, 3),
    "embedding": np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4),
}


@pytest.fixture
def filled(tmp_path):
    with EmbeddingCache(tmp_path / "deep" / "cache.sqlite", "net") as cache:
        cache.put(KEYS[:4], {name: rows[:4] for name, rows in ROWS.items()})
        cache.put(KEYS[4:], {name: rows[4:] for name, rows in ROWS.items()})
    return tmp_path / "deep" / "cache.sqlite"


def test_every_output_comes_back_in_the_order_asked(filled):
    order = [5, 0, 3, 0]
    with EmbeddingCache(filled, "net") as cache:
        assert len(cache) == 6
        for name, rows in ROWS.items():
            found = cache.get([KEYS[i] for i in order], name)
            assert found.dtype == np.float32 and (found == rows[order]).all()


def test_what_is_missing_is_named_once_and_in_order(filled):
    new = [b"b" * 32, b"a" * 32]
    with EmbeddingCache(filled, "net") as cache:
        assert cache.missing([new[0], KEYS[1], new[1], new[0]]) == new
        with pytest.raises(DatasetError, match="6161"):
            cache.get([new[1]], "embedding")


def test_networks_do_not_share_answers(filled):
    with EmbeddingCache(filled, "other") as cache:
        assert len(cache) == 0 and cache.missing(KEYS) == KEYS
        cache.put(KEYS[:1], {"embedding": np.ones((1, 9), np.float32)})
    with EmbeddingCache(filled, "net") as cache:
        assert (cache.get(KEYS[:1], "embedding") == ROWS["embedding"][:1]).all()


def test_what_is_there_stays(filled):
    with EmbeddingCache(filled, "net") as cache:
        cache.put(KEYS[:1], {name: rows[:1] + 1 for name, rows in ROWS.items()})
        assert (cache.get(KEYS[:1], "feature") == ROWS["feature"][:1]).all()


def test_another_layout_of_the_same_network_is_refused(filled):
    with (
        EmbeddingCache(filled, "net") as cache,
        pytest.raises(DatasetError, match=r"cache\.sqlite.*shape"),
    ):
        cache.put([b"n" * 32], {"embedding": np.ones((1, 4), np.float32)})


def test_an_output_that_is_not_there_is_named(filled):
    with EmbeddingCache(filled, "net") as cache, pytest.raises(DatasetError, match="'reference'"):
        cache.get(KEYS[:1], "reference")


def test_several_read_and_write_at_once(filled):
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from robollm_core.evaluation.embedding_cache import EmbeddingCache\n"
        "path, mark = sys.argv[1:]\n"
        "with EmbeddingCache(Path(path), 'crowd') as cache:\n"
        "    for number in range(40):\n"
        "        rows = np.full((2, 3), number, np.float32)\n"
        "        cache.put([bytes([number]) * 32, mark.encode() * 31 + bytes([number])],\n"
        "                  {'embedding': rows})\n"
    )
    fresh = filled.with_name("fresh.sqlite")
    crowd = [subprocess.Popen([sys.executable, "-c", code, fresh, mark]) for mark in "xyz"]
    assert [process.wait() for process in crowd] == [0, 0, 0]
    with EmbeddingCache(fresh, "crowd") as cache, EmbeddingCache(fresh, "crowd") as beside:
        assert len(cache) == len(beside) == 40 + 3 * 40
        assert (beside.get([bytes([7]) * 32], "embedding") == 7).all()


@pytest.mark.parametrize("blob", [b"", b"\0" * 36, b"\0" * 44, "text", None])
def test_a_row_of_the_wrong_size_names_the_file(filled, blob):
    with sqlite3.connect(filled) as data:
        if blob is None:
            data.execute("DELETE FROM embeddings")
        else:
            data.execute("UPDATE embeddings SET outputs = ?", (blob,))
    data.close()
    with (
        EmbeddingCache(filled, "net") as cache,
        pytest.raises(DatasetError, match=r"cache\.sqlite.*40 bytes.*remove it"),
    ):
        cache.get(KEYS[:1], "embedding")


def test_another_format_is_refused_and_left_alone(filled):
    with sqlite3.connect(filled) as data:
        data.execute("PRAGMA user_version = 2")
    data.close()
    with pytest.raises(DatasetError, match=r"cache\.sqlite.*format 1"):
        EmbeddingCache(filled, "net")


def test_the_database_of_another_program_is_left_as_it_is(tmp_path):
    path = tmp_path / "mail.sqlite"
    with sqlite3.connect(path) as data:
        data.execute("CREATE TABLE mail (text)")
    data.close()
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=r"mail\.sqlite is no cache"):
        EmbeddingCache(path, "net")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.sqlite").write_text("no database at all, but long enough to look at" * 9)
    with pytest.raises(DatasetError, match=r"notes\.sqlite"):
        EmbeddingCache(tmp_path / "notes.sqlite", "net")


def test_a_layout_that_is_none_is_refused(filled):
    for text in ("[1]", "{", '{"embedding": 3}', '{"embedding": ["x"]}'):
        with sqlite3.connect(filled) as data:
            data.execute("UPDATE networks SET layout = ?", (text,))
        data.close()
        with pytest.raises(DatasetError, match=r"cache\.sqlite"):
            EmbeddingCache(filled, "net")


def test_a_damaged_page_names_the_file(filled):
    with EmbeddingCache(filled, "net") as cache:
        for start in range(10, 3000, 100):
            keys = [start.to_bytes(32, "big"), (start + 1).to_bytes(32, "big")]
            cache.put(keys, {name: rows[:2] for name, rows in ROWS.items()})
    data = bytearray(filled.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    filled.write_bytes(data)
    with pytest.raises((DatasetError, OutputError), match=r"cache\.sqlite"):  # noqa: SIM117
        with EmbeddingCache(filled, "net") as cache:
            cache.get(KEYS, "embedding")


def test_where_no_file_can_be_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/cache"):
        EmbeddingCache(tmp_path / "file" / "cache", "net")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        EmbeddingCache(tmp_path / "folder", "net")
