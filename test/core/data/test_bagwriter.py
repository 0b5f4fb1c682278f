# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A bag is written whole or not at all, and the same messages give the same bytes."""

import pytest
from colour_cell import write_bag
from small_disk import full_disk_error, run_on_small_disk

from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.errors import OutputError

TEXT = Topic("/text", rostypes.STRING)


def say(text):
    return rostypes.make(rostypes.STRING, data=text)


def test_same_messages_same_bytes_whatever_the_name(tmp_path):
    first = write_bag(tmp_path / "a" / "one.mcap").read_bytes()
    second = write_bag(tmp_path / "b" / "two.mcap").read_bytes()
    assert first == second
    assert first != write_bag(tmp_path / "c" / "one.mcap", frames=2).read_bytes()


def test_the_official_reader_finds_messages_types_and_qos(tmp_path):
    mcap = pytest.importorskip("mcap.reader")
    path = write_bag(tmp_path / "cell.mcap")
    with path.open("rb") as file:
        reader = mcap.make_reader(file)
        summary = reader.get_summary()
        assert summary.statistics.message_count == 7
        channels = {c.topic: c for c in summary.channels.values()}
        assert "transient_local" in channels["/container/manifest"].metadata["offered_qos_profiles"]
        assert "volatile" in channels["/ground_truth"].metadata["offered_qos_profiles"]
        assert {s.name for s in summary.schemas.values()} == {rostypes.STRING, rostypes.COMPRESSED}


def test_serialised_bytes_are_written_as_they_are(tmp_path):
    path = tmp_path / "a.mcap"
    data = bytes(rostypes.typestore().serialize_cdr(say("raw"), rostypes.STRING))
    with BagWriter(path, [TEXT]) as bag:
        bag.write("/text", 1, data)
        bag.write("/text", 2, say("made"))
    got = [message.data for _, _, message in read_topics(path, {"/text": rostypes.STRING})]
    assert got == ["raw", "made"]


def test_nothing_stays_after_an_error_and_the_old_file_does(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="mine"), BagWriter(path, [TEXT]) as bag:
        bag.write("/text", 1, say("new"))
        raise RuntimeError("mine")
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]
    with BagWriter(path, [TEXT]) as bag:
        bag.write("/text", 1, say("new"))
    assert path.read_bytes().startswith(b"\x89MCAP")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]


@pytest.mark.parametrize("target", ["/proc/nowhere/a.mcap", "/dev/null/a.mcap"])
def test_a_place_that_cannot_be_written(target):
    with pytest.raises(OutputError, match="cannot write"), BagWriter(target, [TEXT]):
        pass


FULL = """
from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.errors import OutputError
text = Topic("/text", rostypes.STRING)
open({folder!r} + "/old.mcap", "w").write("old")
try:
    with BagWriter({folder!r} + "/old.mcap", [text]) as bag:
        for index in range({messages}):
            bag.write("/text", index, rostypes.make(rostypes.STRING, data="x" * {size}))
except OutputError as error:
    print("REFUSED", error)
print(open({folder!r} + "/old.mcap", "rb").read(3))
"""


@pytest.mark.parametrize(
    "messages, size",
    [
        pytest.param(500, 100_000, id="while writing"),
        pytest.param(9, 30_000, id="at the end"),
    ],
)
def test_a_full_disk_leaves_what_was_there(tmp_path, messages, size):
    folder = tmp_path / "disk"
    code = FULL.format(folder=str(folder), messages=messages, size=size)
    out, left = run_on_small_disk(folder, 128, code)
    assert "REFUSED cannot write" in out
    assert full_disk_error() in out
    assert "b'old'" in out
    assert left == "['old.mcap']"
