# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Of a recording that was cut off, every whole chunk is saved, and nothing is made up."""

import random
import struct
from zlib import crc32

import pytest
from colour_cell import write_bag
from rosbags.rosbag2 import Reader

from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.salvage import salvage
from robollm_core.errors import BagError

TEXT = Topic("/text", rostypes.STRING, latched=True)


def say(text):
    return rostypes.make(rostypes.STRING, data=text)


def messages(path):
    with Reader(path) as reader:
        return [(c.topic, log, bytes(data)) for c, log, data in reader.messages()]


def cut_off(folder, count=10, flush_each=2):
    """What a killed recorder leaves: chunks that were handed over, and no index."""
    bag = BagWriter(folder / "a.mcap", [TEXT])
    bag.__enter__()
    for index in range(count):
        bag.write("/text", 10 * index + 1, say(f"number {index}"))
        if (index + 1) % flush_each == 0:
            bag.flush()
    (part,) = folder.glob("a.mcap.*.part")
    kept = folder / "kept.mcap"
    kept.write_bytes((part / "bag" / "bag.mcap").read_bytes())
    bag.__exit__(RuntimeError, None, None)
    return kept


def test_all_that_was_handed_over_is_saved(tmp_path):
    kept = cut_off(tmp_path, count=11)
    saved = salvage(kept, tmp_path / "o.mcap")
    # the last message was never handed to the system
    assert (saved.messages, saved.first_ns, saved.last_ns) == (10, 1, 91)
    got = [rostypes.typestore().deserialize_cdr(data, rostypes.STRING).data
           for _, _, data in messages(tmp_path / "o.mcap")]  # fmt: skip
    assert got == [f"number {index}" for index in range(10)]


def test_the_folder_that_a_killed_process_leaves_is_taken_too(tmp_path):
    kept = cut_off(tmp_path)
    folder = tmp_path / "b.mcap.x1.part" / "bag"
    folder.mkdir(parents=True)
    kept.rename(folder / "bag.mcap")
    assert salvage(folder.parent, tmp_path / "o.mcap").messages == 10


def test_of_a_whole_bag_everything_is_kept(tmp_path):
    bag = write_bag(tmp_path / "a.mcap", frames=4)
    saved = salvage(bag, tmp_path / "o.mcap")
    assert messages(tmp_path / "o.mcap") == messages(bag)
    assert saved.messages == len(messages(bag))
    mcap = pytest.importorskip("mcap.reader")

    def qos(path):
        with path.open("rb") as file:
            channels = mcap.make_reader(file).get_summary().channels.values()
        return {c.topic: c.metadata["offered_qos_profiles"] for c in channels}

    assert qos(tmp_path / "o.mcap") == qos(bag)


def test_wherever_it_was_cut_what_is_saved_was_there(tmp_path):
    kept = cut_off(tmp_path)
    whole, source = messages_of(kept, tmp_path), kept.read_bytes()
    part, most = tmp_path / "part.mcap", 0
    for length in range(0, len(source), 37):
        part.write_bytes(source[:length])
        try:
            salvage(part, tmp_path / "o.mcap")
        except BagError:
            assert most == 0  # what could be saved once can be saved of any longer piece
            continue
        got = messages(tmp_path / "o.mcap")
        assert got == whole[: len(got)]
        assert len(got) >= most
        most = len(got)
    assert most >= len(whole) - 2


def messages_of(kept, folder):
    salvage(kept, folder / "all.mcap")
    return messages(folder / "all.mcap")


def with_checksums(data):
    """The same file with the checksum of every chunk filled in, as rosbag2 writes it."""
    data, at, chunks = bytearray(data), 8, []
    while at < len(data):
        opcode, length = struct.unpack_from("<BQ", data, at)
        if opcode == 0x06:
            (name,) = struct.unpack_from("<I", data, at + 9 + 28)
            body = at + 9 + 40 + name
            struct.pack_into("<I", data, at + 9 + 24, crc32(data[body : at + 9 + length]))
            chunks.append((body, at + 9 + length))
        at += 9 + length
    return bytes(data), chunks


def test_a_chunk_whose_checksum_is_wrong_ends_what_is_saved(tmp_path):
    source, chunks = with_checksums(cut_off(tmp_path).read_bytes())
    damaged = tmp_path / "damaged.mcap"
    for number, (start, end) in enumerate(chunks[1:], 1):
        data = bytearray(source)
        data[(start + end) // 2] ^= 1
        damaged.write_bytes(data)
        assert salvage(damaged, tmp_path / "o.mcap").messages == 2 * number


def test_a_tail_of_zeros_is_left_out(tmp_path):
    kept = cut_off(tmp_path)
    source = kept.read_bytes()
    kept.write_bytes(source[:-20] + bytes(5000))
    saved = salvage(kept, tmp_path / "o.mcap")
    assert 8 <= saved.messages <= 10
    assert saved.lost_bytes >= 5000 - 20


def test_any_damage_is_survived(tmp_path):
    source = cut_off(tmp_path).read_bytes()
    rng, outcomes, damaged = random.Random(0), set(), tmp_path / "damaged.mcap"
    for _ in range(80):
        data = bytearray(source)
        for _ in range(rng.choice([1, 4])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.write_bytes(data)
        try:
            salvage(damaged, tmp_path / "o.mcap")
            messages(tmp_path / "o.mcap")
            outcomes.add("saved")
        except BagError:
            outcomes.add("refused")
    assert outcomes == {"saved", "refused"}


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89MCAP0\r\n", bytes(1000)])
def test_what_is_no_recording_is_refused(tmp_path, data):
    path = tmp_path / "a.mcap"
    path.write_bytes(data)
    with pytest.raises(BagError, match=r"a\.mcap"):
        salvage(path, tmp_path / "o.mcap")
    assert not (tmp_path / "o.mcap").exists()
    for absent in (tmp_path / "gone.mcap", tmp_path):
        with pytest.raises(BagError):
            salvage(absent, tmp_path / "o.mcap")


def test_the_verb_says_what_it_saved(tmp_path, capsys):
    kept, out = cut_off(tmp_path), tmp_path / "o.mcap"
    words = ["replay", "recover", str(kept), "--out", str(out), "--json", str(tmp_path / "o.json")]
    assert main(words) == 0
    assert "10 messages over 0.0 s saved" in capsys.readouterr().out
    assert '"messages": 10' in (tmp_path / "o.json").read_text()
    assert main(["replay", "recover", str(kept), "--out", str(kept)]) == 2
    assert main(["replay", str(kept), "--out", str(out)]) == 2
    assert "robollm replay recover" in capsys.readouterr().err
