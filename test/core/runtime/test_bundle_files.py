# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A hostile or damaged bundle is refused in one sentence and harms nothing."""

import gzip
import io
import os
import re
import string
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import small_bundle
from small_bundle import KINDS, described, named, write_as, write_tar

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, RobollmError
from robollm_core.runtime.bundle import check_bundle, open_bundle
from robollm_core.runtime.bundle_files import MAX_FILES, check_name

PLAIN = set(string.ascii_letters + string.digits + "._-")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The files of a sound bundle, by name."""
    folder = tmp_path_factory.mktemp("sound")
    models = small_bundle.write_models(folder / "models")
    return small_bundle.files_of(small_bundle.write_bundle(folder / "bundle", models))


def entries_of(files):
    return [(named(name), data) for name, data in files.items()]


def refusal(path, into=None):
    with pytest.raises(ArtifactError) as failure:
        check_bundle(path, into=into)
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_bundle_is_the_same_in_every_form(sound, tmp_path, kind):
    bundle = check_bundle(write_as(kind, sound, tmp_path / "b"))
    assert {*bundle.files, "bundle.json"} == set(sound)
    assert bundle.sha256 == check_bundle(write_as("folder", sound, tmp_path / "f")).sha256


def test_a_tar_that_tar_itself_made_of_the_folder_is_read(sound, tmp_path):
    folder = write_as("folder", sound, tmp_path / "b")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(folder, arcname=".")
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames()[0] == "."
    assert check_bundle(tmp_path / "b.tar").sha256 == check_bundle(folder).sha256


@pytest.mark.parametrize("fields", [
    {"type": tarfile.SYMTYPE, "linkname": "LICENSE"},
    {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    {"type": tarfile.LNKTYPE, "linkname": "LICENSE"},
    {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
    {"type": tarfile.BLKTYPE, "devmajor": 8},
    {"type": tarfile.FIFOTYPE},
    {"type": tarfile.CONTTYPE},
], ids=lambda fields: f"{fields['type']!r} {fields.get('linkname', '')}")  # fmt: skip
def test_a_link_or_a_device_in_a_tar_is_refused(sound, tmp_path, fields):
    entries = entries_of(sound)
    entries.insert(1, (named("defects.md", **fields), b""))
    told = refusal(write_tar(tmp_path / "b.tar", entries), tmp_path / "into")
    assert "'defects.md' in it is a link, a device or a file with holes" in told


def test_a_file_with_holes_is_refused(sound, tmp_path):
    data = b"1024\n0\n512\n".ljust(512, b"\0") + b"x" * 512
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes",
               "GNU.sparse.realsize": "4096"}  # fmt: skip
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = named("holes", size=len(data), pax_headers=headers)
        archive.addfile(entry, io.BytesIO(data))
    assert "is no bundle" in refusal(path)


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../x", "a/../../x", "a//x", "a\\x", "x\0y", ".hidden", "a/.x", "-x",
             "x\n", "größe", "a/b/c/d", "C:x", "~/x", "x" * 101, "./../x", ".//x"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written_there(sound, tmp_path, name):
    with pytest.raises(ArtifactError, match="is no bundle"):
        check_name(name, tmp_path)
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    entries = [(named(name), b"evil"), *entries_of(sound)]
    if "\0" not in name:  # a tar cannot say it
        assert "is no bundle" in refusal(write_tar(tmp_path / "b.tar", entries), into)
    assert {path.name for path in tmp_path.iterdir()} <= {"deep", "b.tar"}
    assert list(into.rglob("*")) == []
    listed = described({**sound}, lambda tree: tree["files"].update(
        {name: {"bytes": 4, "sha256": "0" * 64}}
    ))  # fmt: skip
    assert "is no bundle" in refusal(write_as("folder", listed, tmp_path / "f"))


@given(st.text(st.sampled_from("aZ0._-/\\~: \n\0é"), max_size=12) | st.text(max_size=120))
def test_only_short_plain_relative_names_pass(tmp_path_factory, name):
    base = tmp_path_factory.getbasetemp()
    parts = name.split("/")
    plain = (
        0 < len(name) <= 100
        and len(parts) <= 3
        and all(part and set(part) <= PLAIN and part[0] not in "._-" for part in parts)
    )
    try:
        check_name(name, base)
    except ArtifactError:
        assert not plain
    else:
        assert plain
        assert os.path.normpath(name) == name
        assert (base / name).resolve().is_relative_to(base)


@settings(max_examples=40)
@given(st.data())
def test_damage_anywhere_in_a_tar_is_refused_or_harmless(sound, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    whole = write_as("tar", sound, folder / "b").read_bytes()
    # headers stand every so often among the data; aim at them half of the time
    starts = [match.start() - 257 for match in re.finditer(rb"ustar", whole)]
    anywhere = st.integers(0, len(whole) - 1)
    header = st.builds(int.__add__, st.sampled_from(starts), st.integers(0, 511))
    harmed = bytearray(whole)
    for place in data.draw(st.lists(anywhere | header, min_size=1, max_size=4)):
        harmed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(whole)) | st.integers(0, len(whole)))
    (folder / "b.tar").write_bytes(harmed[:cut])
    into = folder / "in" / "to"
    into.mkdir(parents=True)
    try:
        check_bundle(folder / "b.tar", into=into)
    except RobollmError as error:
        assert str(error)
    else:
        assert small_bundle.files_of(into) == sound
    assert {path.name for path in folder.iterdir()} == {"b.tar", "in"}
    assert [path.name for path in (folder / "in").iterdir()] == ["to"]


@settings(max_examples=30)
@given(st.binary(max_size=2000), st.booleans())
def test_a_file_of_anything_is_refused(tmp_path_factory, content, packed):
    path = tmp_path_factory.mktemp("any") / "b.tar"
    path.write_bytes(gzip.compress(content) if packed else content)
    refusal(path)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_tar_is_refused(sound, tmp_path, kind, share):
    path = write_as(kind, sound, tmp_path / "b")
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))  # behind it lies nothing but padding
    path.write_bytes(whole[: int(share * end)])
    refusal(path)


@pytest.mark.parametrize("size", [1 << 40, 1 << 62, 10 << 20])
def test_a_size_beyond_the_whole_is_refused_before_it_is_read(sound, tmp_path, size):
    entries = [*entries_of(sound), (named("huge.bin", size=size), b"")]
    assert f"claims {size} bytes" in refusal(write_tar(tmp_path / "b.tar", entries))


def test_a_bomb_is_refused_before_it_unfolds(sound, tmp_path):
    bomb = write_tar(tmp_path / "b.tar.gz", [(named("zeros.bin"), bytes(32 << 20))])
    assert bomb.stat().st_size < 1 << 16
    assert f"claims {32 << 20} bytes" in refusal(bomb)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_that_claims_gigabytes_is_refused(sound, tmp_path, kind):
    header = named("x", type=kind, size=6 << 30).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "b.tar"
    path.write_bytes(header + bytes(1 << 16))
    assert "claims 6442450944 bytes" in refusal(path)


def test_headers_on_headers_without_end_are_refused(tmp_path):
    chain = named("x", type=tarfile.GNUTYPE_LONGNAME, size=4).tobuf() + b"name".ljust(512, b"\0")
    (tmp_path / "b.tar").write_bytes(chain * 5000)
    refusal(tmp_path / "b.tar")


def test_too_many_files_are_refused(sound, tmp_path):
    more = {f"a{number}": b"" for number in range(MAX_FILES)}
    for kind in ("folder", "tar"):
        assert str(MAX_FILES) in refusal(write_as(kind, {**more, **sound}, tmp_path / "b"))


def test_a_name_twice_in_a_tar_is_refused_also_in_other_letters(sound, tmp_path):
    for name in ("LICENSE", "license", "./LICENSE"):
        entries = [*entries_of(sound), (named(name), sound["LICENSE"])]
        assert "twice" in refusal(write_tar(tmp_path / "b.tar", entries))


@pytest.mark.parametrize("target", ["LICENSE", "/etc/passwd", "nowhere"])
def test_a_link_in_a_folder_is_refused(sound, tmp_path, target):
    folder = write_as("folder", sound, tmp_path / "b")
    (folder / "defects.onnx").unlink()
    (folder / "defects.onnx").symlink_to(target)
    assert "a link or a device" in refusal(folder)


def test_a_folder_that_is_a_link_is_refused(sound, tmp_path):
    folder = write_as("folder", sound, tmp_path / "b")
    (tmp_path / "elsewhere").mkdir()
    (folder / "licences").symlink_to(tmp_path / "elsewhere")
    assert "a link or a device" in refusal(folder)


def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(sound, tmp_path):
    folder = write_as("folder", sound, tmp_path / "b")
    (folder / "defects.onnx").unlink()
    os.mkfifo(folder / "defects.onnx")
    assert "a link or a device" in refusal(folder)


def test_a_device_is_no_bundle_and_is_not_read(tmp_path):
    assert "it is a device" in refusal(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe.tar")
    assert "it is a device" in refusal(tmp_path / "pipe.tar")
    with pytest.raises(ArtifactError, match="it is a device"):
        open_bundle(Path("/dev/zero"), RuntimeConfig(cache=str(tmp_path)))


def test_a_place_without_anything_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.tar")
    assert "no bundle.json" in refusal(tmp_path)
    (tmp_path / "empty.tar").write_bytes(b"")
    refusal(tmp_path / "empty.tar")
    with tarfile.open(tmp_path / "nothing.tar", "w"):
        pass
    assert "no bundle.json" in refusal(tmp_path / "nothing.tar")
