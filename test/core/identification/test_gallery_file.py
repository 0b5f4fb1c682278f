# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A gallery file keeps what it was given, and what is none is refused."""

import os
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx")
from small_gallery import NETWORK, digest, item, row, run_sql

from robollm_core.errors import GalleryError, OutputError
from robollm_core.identification.embedder import Network
from robollm_core.identification.gallery_check import facts, verify
from robollm_core.identification.gallery_edit import add, drop_unused, fill, remove
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.identification.references import ReferenceRoot

OTHER = Network("b" * 64, "{}", 4)


@pytest.fixture
def file(tmp_path):
    return GalleryFile.create(tmp_path / "gallery.sqlite", NETWORK, "/photos")


@pytest.fixture
def full(file):
    file.keep({digest(n): row(n) for n in range(5)})
    return fill(file, [item("A", 0, 1), item("B"), item("C", 2, 1, text="tea")], NETWORK, "/p")


def test_embeddings_come_back_bit_by_bit(file):
    kept = {digest(n): row(n) for n in range(1200)}
    file.keep(kept)
    found = GalleryFile(file.path, NETWORK).embeddings([*kept, digest(9999)])
    assert set(found) == set(kept)
    for key, wanted in kept.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], wanted)


def test_the_items_of_a_file(full):
    assert full.list_items() == (item("A", 0, 1), item("B"), item("C", 2, 1, text="tea"))
    assert full.items(["C", "A", "B", "none"]) == {
        "A": (digest(0), digest(1)),
        "C": (digest(2), digest(1)),
    }
    owners, rows = full.whole()
    assert owners == ("A", "A", "C", "C")
    np.testing.assert_array_equal(rows, np.stack([row(n) for n in (0, 1, 2, 1)]))
    assert full.content[0] == 3


def test_the_content_has_a_name_of_its_own(full):
    before = full.content[1]
    assert GalleryFile(full.path).content[1] == before
    full.keep({digest(7): row(7)})  # of no item
    assert GalleryFile(full.path).content[1] == before
    add(full, [item("D", 3)])
    assert GalleryFile(full.path).content[1] != before
    remove(full, ["D"])
    assert GalleryFile(full.path).content[1] == before


def test_an_item_that_is_put_in_again_is_replaced(full):
    add(full, [item("A", 3), item("D", 4)])
    assert [one.item_id for one in full.list_items()] == ["B", "C", "A", "D"]
    assert full.items(["A"]) == {"A": (digest(3),)}


def test_an_embedding_stays_while_another_item_needs_it(full):
    remove(full, ["A"])
    assert set(full.embeddings(map(digest, range(5)))) == set(map(digest, (1, 2, 3, 4)))
    assert drop_unused(full) == 2
    assert set(full.embeddings(map(digest, range(5)))) == set(map(digest, (1, 2)))


def test_removing_is_whole_or_not_at_all(full):
    before = full.list_items()
    with pytest.raises(GalleryError, match="no item 'Z'; nothing is removed"):
        remove(full, ["A", "Z"])
    assert full.list_items() == before


def test_another_network_takes_the_place_of_the_first(full):
    file = GalleryFile.of_any(full.path, OTHER)
    file.keep({digest(0): row(50)})
    # until the items are put in, the file is still of the first network
    assert GalleryFile(full.path, NETWORK).embeddings([digest(0)])[digest(0)][0] == 0
    fill(file, [item("A", 0)], OTHER, "/p")
    with pytest.raises(GalleryError, match="network aaaaaaaaaaaa|in use is aaaaaaaaaaaa"):
        GalleryFile(full.path, NETWORK)
    assert GalleryFile(full.path, OTHER).embeddings([digest(0)])[digest(0)][0] == 50
    assert run_sql(full.path, "SELECT COUNT(*) FROM embeddings") == [(1,)]


@pytest.mark.parametrize("other", [OTHER, Network(NETWORK.model, '{"cut": 3}', 4)])
def test_a_file_of_another_network_is_refused_with_the_command(full, other):
    with pytest.raises(GalleryError, match=r"robollm gallery build .*gallery\.sqlite FOLDER"):
        GalleryFile(full.path, other)


def test_a_file_that_is_there_is_not_made_anew(file):
    with pytest.raises(GalleryError, match="exists already"):
        GalleryFile.create(file.path, NETWORK, "")


def exchange(path, make):
    path.unlink()
    make(path)


BREAK = {
    "missing": Path.unlink,
    "folder": lambda path: exchange(path, Path.mkdir),
    "no database": lambda path: path.write_text("item_id,embedding\n" * 500),
    "empty": lambda path: path.write_bytes(b""),
    "another database": lambda path: exchange(
        path, lambda new: run_sql(new, "CREATE TABLE meta (key TEXT, value TEXT)")
    ),
    "newer": lambda path: run_sql(path, "PRAGMA user_version = 2"),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "trigger": lambda path: run_sql(
        path, "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END"
    ),
    "view": lambda path: run_sql(path, "CREATE VIEW v AS SELECT * FROM items"),
    "no meta": lambda path: run_sql(path, "DELETE FROM meta WHERE key = 'model'"),
}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", "no gallery file"),
        ("folder", "no gallery file"),
        ("no database", "not a database"),
        ("empty", "no gallery file"),
        ("another database", "no gallery file"),
        ("newer", "version 2, this robollm reads version 1. Update robollm"),
        ("truncated", "malformed"),
        ("trigger", "no gallery file"),
        ("view", "no gallery file"),
        ("no meta", "of which network"),
    ],
)
def test_what_is_no_sound_gallery_is_refused_with_a_command(full, how, told):
    BREAK[how](full.path)
    with pytest.raises(GalleryError, match=told) as caught:
        GalleryFile(full.path, NETWORK)
    assert "robollm gallery" in str(caught.value)
    assert str(full.path) in str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "g"
    file = GalleryFile.create(path, NETWORK, "")
    file.keep({digest(n): row(n) for n in range(50)})
    fill(file, [item("A", *range(50))], NETWORK, "")
    return path, path.read_bytes()


@given(at=st.integers(0, 10**9), length=st.integers(1, 4096), seed=st.integers(0, 99))
def test_damage_is_an_error_of_the_gallery_and_never_another(sound, at, length, seed):
    path, whole = sound
    at %= len(whole)
    length = min(length, len(whole) - at)
    junk = random.Random(seed).randbytes(length)
    path.write_bytes(whole[:at] + junk + whole[at + length :])
    try:
        file = GalleryFile(path, NETWORK)
        file.embeddings(map(digest, range(50)))
        file.items(["A"])
        file.list_items()
        file.whole()
        facts(file)
        verify(file, ReferenceRoot(path.parent), NETWORK)
    except GalleryError:
        pass


def test_an_embedding_of_a_wrong_length_is_refused(full):
    run_sql(full.path, f"UPDATE embeddings SET embedding = x'00' WHERE sha256 = '{digest(1)}'")
    assert digest(0) in full.embeddings([digest(0)])
    for read in (lambda: full.embeddings([digest(1)]), full.whole):
        with pytest.raises(GalleryError, match="wrong length"):
            read()


def test_a_file_that_another_process_holds_for_too_long_is_an_error(full, monkeypatch):
    monkeypatch.setattr("robollm_core.identification.gallery_file.WAIT_S", 0.05)
    holder = sqlite3.connect(full.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(GalleryError, match="locked"):
        full.keep({digest(9): row(9)})
    holder.execute("ROLLBACK")
    holder.close()
    full.keep({digest(9): row(9)})


def test_a_gallery_that_cannot_be_made_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        GalleryFile.create(tmp_path / "file" / "g.sqlite", NETWORK, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_form_of_the_file_is_what_the_page_says(full):
    assert full.path.read_bytes()[:15] == b"SQLite format 3"
    assert run_sql(full.path, "PRAGMA application_id") == [(0x726F626C,)]
    assert run_sql(full.path, "PRAGMA journal_mode") == [("delete",)]
    tables = run_sql(full.path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in tables} == {"meta", "items", "reference_images", "embeddings"}
    meta = dict(run_sql(full.path, "SELECT * FROM meta"))
    assert meta == {"model": "a" * 64, "crop": "{}", "dim": "4", "root": "/p"}
