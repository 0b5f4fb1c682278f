# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a manifest names is opened inside the reference root, and nowhere else."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.identification import references
from robollm_core.identification.references import Reference, ReferenceRoot, UnreadableError
from robollm_core.types import ManifestItem


@pytest.fixture
def place(tmp_path):
    """A root with an image, and a secret beside it."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "inside.jpg").write_bytes(b"inside")
    (root / "folder/2.jpg").write_bytes(b"two")
    (root / "folder/10.PNG").write_bytes(b"ten")
    (root / "folder/notes.txt").write_bytes(b"no image")
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2/secret.jpg").write_bytes(b"secret")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return root


def found(root, *names):
    return list(ReferenceRoot(root).of(ManifestItem("A", reference_images=names)))


@pytest.mark.parametrize(
    "name",
    ["inside.jpg", "./inside.jpg", "folder/../inside.jpg", "folder/./../inside.jpg", "//inside",
     "link.jpg", "up/inside.jpg", "ABSOLUTE/inside.jpg"],
)  # fmt: skip
def test_what_leads_into_the_root_is_read(place, name):
    (place / "link.jpg").symlink_to("inside.jpg")
    (place / "up").symlink_to("folder/..")
    name = str(place / "inside.jpg") if name == "//inside" else name
    name = name.replace("ABSOLUTE", str(place))
    (one,) = found(place, name)
    assert isinstance(one, Reference)
    assert one.sha256 == hashlib.sha256(b"inside").hexdigest()
    assert one.name == "inside.jpg"
    assert ReferenceRoot(place).read(one) == b"inside"


OUTSIDE = [
    "../secret.jpg", "../root-2/secret.jpg", "folder/../../secret.jpg", "/etc/passwd", "/", "..",
    "ABSOLUTE/secret.jpg", "link.jpg", "away/secret.jpg", "chain.jpg", "away",
    "../root/../secret.jpg", "folder/leak/secret.jpg", "/proc/self/environ", "/dev/zero",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_out_of_the_root_is_never_opened(place, monkeypatch, name):
    (place / "link.jpg").symlink_to("../secret.jpg")
    (place / "away").symlink_to(place.parent / "root-2")
    (place / "chain.jpg").symlink_to("link.jpg")
    (place / "folder/leak").symlink_to("../..")
    opened = []
    monkeypatch.setattr(references, "_read", lambda path: opened.append(path) or b"")
    (one,) = found(place, name.replace("ABSOLUTE", str(place.parent)))
    assert isinstance(one, UnreadableError)
    assert "leads out of identification.reference_root" in str(one)
    assert opened == []


def test_a_link_in_a_folder_that_leads_out_is_left_out_alone(place):
    (place / "folder/3.jpg").symlink_to("../../secret.jpg")
    got = found(place, "folder")
    assert [type(one) for one in got] == [Reference, UnreadableError, Reference]
    assert [one.name for one in got if isinstance(one, Reference)] == [
        "folder/2.jpg",
        "folder/10.PNG",
    ]


def test_a_link_that_takes_the_place_of_a_checked_file_is_not_followed(place, monkeypatch):
    root = ReferenceRoot(place)
    (one,) = root.of(ManifestItem("A", reference_images=("inside.jpg",)))
    (place / "inside.jpg").unlink()
    (place / "inside.jpg").symlink_to("../secret.jpg")
    with pytest.raises(UnreadableError, match="symbolic links"):
        root.read(one)


def test_the_root_itself_may_be_a_link(place):
    link = place.parent / "shortcut"
    link.symlink_to(place)
    (one,) = found(link, "folder/2.jpg")
    assert one.name == "folder/2.jpg"
    (whole,) = found(link, str(link / "inside.jpg"))
    assert whole.name == "inside.jpg"


def test_a_working_folder_that_holds_everything_is_no_root(place, monkeypatch):
    monkeypatch.chdir("/")
    name = str(place / "inside.jpg")
    (one,) = found(Path(), name)
    assert "keeps nothing out" in str(one)
    (meant,) = found(Path("/"), name)
    assert meant.name == name.removeprefix("/")


@given(st.lists(st.sampled_from(["..", ".", "folder", "inside.jpg", "away", "up", ""]), max_size=6))
def test_no_path_at_all_leads_out(tmp_path_factory, parts):
    place = tmp_path_factory.mktemp("any") / "root"
    (place / "folder").mkdir(parents=True)
    (place / "inside.jpg").write_bytes(b"x")
    (place / "away").symlink_to("../..")
    (place / "folder/up").symlink_to("..")
    (place.parent / "inside.jpg").write_bytes(b"outside")
    for one in found(place, "/".join(parts) or "."):
        if isinstance(one, Reference):
            assert Path(one.path).resolve().is_relative_to(place)
            assert one.sha256 == hashlib.sha256(b"x").hexdigest()


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(place, monkeypatch):
    reads = []
    whole = references._read
    monkeypatch.setattr(references, "_read", lambda path: reads.append(path) or whole(path))
    root, item = ReferenceRoot(place), ManifestItem("A", reference_images=("inside.jpg",))
    digest = lambda: next(iter(root.of(item))).sha256  # noqa: E731
    monkeypatch.setattr(references, "_SETTLED_NS", -1)  # as if all files were old
    assert digest() == digest()
    assert len(reads) == 1
    (place / "inside.jpg").write_bytes(b"INSIDE")  # of the same length
    os.utime(place / "inside.jpg", ns=(1, 1))
    assert digest() == hashlib.sha256(b"INSIDE").hexdigest()
    assert len(reads) == 2
    root.forget()
    digest()
    assert len(reads) == 3


def test_a_file_that_has_just_changed_is_not_trusted_by_its_time(place):
    root, item = ReferenceRoot(place), ManifestItem("A", reference_images=("inside.jpg",))
    stamp = time.time_ns()
    os.utime(place / "inside.jpg", ns=(stamp, stamp))
    assert next(iter(root.of(item))).sha256 == hashlib.sha256(b"inside").hexdigest()
    with (place / "inside.jpg").open("rb+") as file:
        file.write(b"INSIDE")
    os.utime(place / "inside.jpg", ns=(stamp, stamp))
    assert next(iter(root.of(item))).sha256 == hashlib.sha256(b"INSIDE").hexdigest()


def test_a_file_that_changes_between_look_and_reading_is_said(place):
    root = ReferenceRoot(place)
    (one,) = root.of(ManifestItem("A", reference_images=("inside.jpg",)))
    (place / "inside.jpg").write_bytes(b"other")
    with pytest.raises(UnreadableError, match="changed while it was read"):
        root.read(one)
