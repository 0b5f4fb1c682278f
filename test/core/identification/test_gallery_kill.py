# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A gallery file stays whole through kills and a full disk, for all who read it meanwhile."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from small_disk import run_on_small_disk
from small_gallery import NETWORK, digest, item, row

from robollm_core.identification.gallery_edit import fill
from robollm_core.identification.gallery_file import GalleryFile

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path):
    return GalleryFile.create(tmp_path / "gallery.sqlite", NETWORK, "/photos")


@pytest.fixture
def full(file):
    file.keep({digest(n): row(n) for n in range(5)})
    return fill(file, [item("A", 0, 1), item("B"), item("C", 2, 1, text="tea")], NETWORK, "/p")


def python(code, **how):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(words, env=env, text=True, stdout=subprocess.PIPE, **how)


WRITER = """
    import itertools, sys
    from pathlib import Path
    import numpy as np
    from robollm_core.identification.embedder import Network
    from robollm_core.identification.gallery_edit import fill
    from robollm_core.identification.gallery_file import GalleryFile, GalleryItem

    network = Network("a" * 64, "{}", 4)
    file = GalleryFile(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(PATH), network)
    print("ready", flush=True)
    for turn in itertools.count(1):
        # every embedding and every item of a turn says which turn it is of
        file.keep({f"{n:064x}": np.full(4, turn, np.float32) for n in range(40)})
        images = lambda name: tuple((f"{name}/{n}.jpg", f"{n:064x}") for n in range(40))
        fill(file, [GalleryItem(f"{turn}-{k}", images(k)) for k in range(10)], network, str(turn))
"""


def check_whole(path):
    """Everything in the file is of one turn."""
    file = GalleryFile(path, NETWORK)
    with file.reading() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = [name for (name,) in db.execute("SELECT item_id FROM items")]
        images = db.execute("SELECT COUNT(*) FROM reference_images").fetchone()[0]
        blobs = {bytes(blob) for (blob,) in db.execute("SELECT embedding FROM embeddings")}
        (turn,) = db.execute("SELECT value FROM meta WHERE key = 'root'").fetchone()
    assert len(blobs) <= 1, "embeddings of two turns"
    assert len(names) in (0, 10)
    assert images == 40 * len(names)
    assert {name.partition("-")[0] for name in names} <= {turn}
    return len(names)


def kill_many(path, times, seed):
    rng = random.Random(seed)
    with_items = 0
    for _ in range(times):
        writer = python(WRITER.replace("PATH", repr(str(path))))
        assert writer.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with_items += check_whole(path) > 0
    return with_items


def test_a_writer_that_is_killed_leaves_a_whole_file(file):
    assert kill_many(file.path, 3, seed=1) > 0
    file.keep({digest(99): row(1)})  # and one that can be written


@pytest.mark.slow
def test_forty_writers_that_are_killed_leave_a_whole_file(file):
    assert kill_many(file.path, 40, seed=2) > 0


def test_what_a_killed_writer_left_is_undone_by_the_next_reader(full):
    """The journal of a change that has reached the file, but was never committed."""
    code = f"""
        import os, signal, sqlite3
        db = sqlite3.connect({str(full.path)!r}, isolation_level=None)
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM items")
        for n in range(2000):  # more than the cache holds: pages go to the file early
            db.execute("INSERT INTO embeddings VALUES (?, 'x', zeroblob(4000))", (str(n),))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    before = full.list_items()
    assert python(code).wait() == -signal.SIGKILL
    journal = full.path.with_name(full.path.name + "-journal")
    assert journal.stat().st_size > 0
    assert full.path.stat().st_size > 10**6
    assert GalleryFile(full.path, NETWORK).list_items() == before
    assert not journal.exists()


def test_an_old_journal_is_not_played_back_into_a_new_file(full, tmp_path):
    journal = tmp_path / "new.sqlite-journal"
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\1" * 4096)
    assert GalleryFile.create(tmp_path / "new.sqlite", NETWORK, "").list_items() == ()
    assert not journal.exists()


def test_readers_see_whole_turns_while_another_process_writes(file):
    writer = python(WRITER.replace("PATH", repr(str(file.path))))
    failures, seen = [], []

    def read():
        try:
            for _ in range(4):
                seen.append(check_whole(file.path))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    try:
        assert writer.stdout.readline() == "ready\n"
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert failures == []
    assert len(seen) == 12


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    code = f"""
import sys
from pathlib import Path
import numpy as np
from robollm_core.errors import GalleryError
from robollm_core.identification.embedder import Network
from robollm_core.identification.gallery_edit import fill
from robollm_core.identification.gallery_file import GalleryFile, GalleryItem
network = Network("a" * 64, "", 4)
path = Path({str(tmp_path / "disk" / "g.sqlite")!r})
file = fill(GalleryFile.create(path, network, ""), [GalleryItem("A")], network, "")
try:
    for n in range(1000):
        file.keep({{f"{{n}}-{{k}}": np.zeros(4, np.float32) for k in range(200)}})
except GalleryError as error:
    print(error)
again = GalleryFile(path, network)
print([item.item_id for item in again.list_items()], n)
print(len(again.embeddings(f"{{m}}-{{k}}" for m in range(n) for k in range(200))) == n * 200)
"""
    out, left = run_on_small_disk(tmp_path / "disk", 256, code)
    error, listed, all_there = out.strip().splitlines()
    assert "g.sqlite: " in error and ("full" in error or "I/O" in error)
    assert listed.startswith("['A'] ") and int(listed.split()[-1]) > 0
    assert all_there == "True"
    assert "g.sqlite" in left


def test_a_gallery_that_has_no_room_is_not_made(tmp_path):
    code = f"""
from pathlib import Path
from robollm_core.errors import GalleryError
from robollm_core.identification.embedder import Network
from robollm_core.identification.gallery_file import GalleryFile
try:
    GalleryFile.create(Path({str(tmp_path / "disk" / "g.sqlite")!r}), Network("a", "", 4), "")
except GalleryError as error:
    print(error)
"""
    out, left = run_on_small_disk(tmp_path / "disk", 8, code)
    assert out.startswith("cannot make the gallery file ")
    assert left == "[]"


def test_a_file_where_nothing_can_be_written_is_read(full, tmp_path):
    """As a user without the right to write, in a folder that cannot be written either."""
    code = f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from robollm_core.identification.embedder import Network
        from robollm_core.identification.gallery_file import GalleryFile
        from robollm_core.errors import GalleryError
        import numpy as np
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        file = GalleryFile(Path({str(full.path)!r}), Network("a" * 64, "{{}}", 4))
        print(len(file.list_items()), len(file.whole()[0]), file.writable)
        try:
            file.keep({{"x": np.zeros(4, np.float32)}})
        except GalleryError as error:
            print("readonly" in str(error), os.listdir({str(tmp_path)!r}))
    """
    full.path.chmod(0o444)
    tmp_path.chmod(0o555)
    if os.getuid() == 0:  # pytest's own folders are private
        for path in list(tmp_path.parents)[:3]:  # one more under pytest-xdist
            path.chmod(0o755)
    try:
        out, err = python(code, stderr=subprocess.PIPE).communicate()
    finally:
        tmp_path.chmod(0o755)
    assert out.splitlines() == ["3 4 False", "True ['gallery.sqlite']"], err
