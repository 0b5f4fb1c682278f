# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Entries of the cache: whole, of the right facts, held by one process at a time."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from robollm_core.config import RuntimeConfig
from robollm_core.errors import CacheError
from robollm_core.runtime.cache import Entry, cache_folder

FACTS = {"network": "abc", "version": 3}


@pytest.fixture
def entry(tmp_path):
    return Entry(tmp_path / "engines", FACTS, ".engine")


def test_what_was_written_is_valid_and_found_again(entry):
    assert not entry.valid()
    entry.write(b"content")
    again = Entry(entry.folder, {"version": 3, "network": "abc"}, ".engine")
    assert again.valid()
    assert again.path.read_bytes() == b"content"


def test_other_facts_have_another_name(entry):
    entry.write(b"content")
    other = replace(entry, facts={**FACTS, "version": 4})
    assert other.path != entry.path
    assert not other.valid()


@pytest.mark.parametrize("harm", ["cut", "changed", "no sidecar", "foreign sidecar", "text"])
def test_a_harmed_entry_is_none(entry, harm):
    entry.write(b"content")
    if harm == "cut":
        entry.path.write_bytes(b"cont")
    elif harm == "changed":
        entry.path.write_bytes(b"CONTENT")
    elif harm == "no sidecar":
        entry.sidecar.unlink()
    elif harm == "foreign sidecar":
        other = replace(entry, facts={**FACTS, "version": 4})
        other.write(b"content")
        other.sidecar.replace(entry.sidecar)
    else:
        entry.sidecar.write_text("[" * 100_000)
    assert not entry.valid()
    entry.write(b"anew")
    assert entry.valid()


HOLD = """
import sys, time
from pathlib import Path
from robollm_core.runtime.cache import Entry
folder, name = Path(sys.argv[1]), sys.argv[2]
with Entry(folder, {"network": "abc", "version": 3}, ".engine").lock(patience_s=60):
    with (folder / "order.txt").open("a") as file:
        print(name, "in", file=file, flush=True)
        time.sleep(0.3)
        print(name, "out", file=file, flush=True)
"""


def test_two_processes_take_turns(entry):
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(entry.folder), name]) for name in "ab"
    ]
    assert [holder.wait(60) for holder in holders] == [0, 0]
    steps = [line.split() for line in (entry.folder / "order.txt").read_text().splitlines()]
    assert [what for _, what in steps] == ["in", "out", "in", "out"]
    assert steps[0][0] == steps[1][0] != steps[2][0]


def test_who_waits_too_long_is_told_what_to_do(entry):
    with (
        entry.lock(patience_s=1),
        pytest.raises(CacheError, match="another process"),
        Entry(entry.folder, FACTS, ".engine").lock(patience_s=0.05),
    ):
        pass


def test_a_lock_is_given_back_when_the_work_fails(entry):
    with pytest.raises(FileNotFoundError), entry.lock(patience_s=1):
        raise FileNotFoundError("of the work")
    with entry.lock(patience_s=0.05):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    entry = Entry(tmp_path / "file" / "engines", FACTS, ".engine")
    with pytest.raises(CacheError, match="Set runtime.cache"):
        entry.write(b"content")
    with pytest.raises(CacheError, match="Set runtime.cache"), entry.lock(patience_s=1):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(entry):
    entry.folder.mkdir()
    entry.folder.chmod(0o500)
    with pytest.raises(CacheError, match="Set runtime.cache"):
        entry.write(b"content")


def test_the_folder_comes_from_the_setting_then_the_environment(monkeypatch, tmp_path):
    for name in ("ROBOLLM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(RuntimeConfig()) == tmp_path / ".cache" / "robollm"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder(RuntimeConfig()) == tmp_path / "x" / "robollm"
    monkeypatch.setenv("ROBOLLM_CACHE", str(tmp_path / "own"))
    assert cache_folder(RuntimeConfig()) == tmp_path / "own"
    assert cache_folder(RuntimeConfig(cache="~/here")) == tmp_path / "here"
