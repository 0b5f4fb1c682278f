# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Result files are whole or absent."""

import os
import stat

import pytest
import small_disk
from small_disk import full_disk_error, run_on_small_disk

from robollm_core.errors import OutputError
from robollm_core.files import write_file


def test_folders_are_made_and_files_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "c.json"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [path.name for path in path.parent.iterdir()] == ["c.json"]


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        write_file(tmp_path / "a" / "b", b"")


def test_a_folder_in_the_way_leaves_no_rest(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_file(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("mounted", [True, False])
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, mounted):
    if not mounted:  # as on machines that let no test mount a disk of its own
        monkeypatch.setattr(small_disk, "can_mount", lambda: False)
    code = f"""
from pathlib import Path
from robollm_core.files import write_file
from robollm_core.errors import OutputError
path = Path({str(tmp_path / "disk")!r}) / "r.json"
write_file(path, b"old")
try:
    write_file(path, bytes(500_000))
except OutputError as error:
    print("REFUSED", error)
print(path.read_bytes())
"""
    out, left = run_on_small_disk(tmp_path / "disk", 128, code)
    assert "REFUSED" in out
    assert full_disk_error() in out
    assert "b'old'" in out
    assert left == "['r.json']"
