# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a whole bag of what is whole of an MCAP file that ends too early.

A recorder that was killed, or a disk that was pulled, leaves a file without its index.
The chunks before the end are whole; where one has a checksum, it is held to it.
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2.storage_mcap import McapReader, decompress
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robollm_core.data.bagwriter import BagWriter
from robollm_core.errors import BagError, OutputError

_MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _CHUNK, _DATA_END = 0x01, 0x02, 0x06, 0x0F
_BODY = frozenset({0x03, 0x04, 0x05, _CHUNK, 0x07, 0x09, 0x0C})
"""Schemas, channels, messages, chunks, indexes, attachments, metadata: what precedes the end."""
UNKNOWN = "RIHS01_" + "0" * 64
"""Hash of a type whose definition is of another form than .msg."""
_HEAD = struct.Struct("<BQ")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was saved.

    Attributes:
        messages: how many.
        lost_bytes: of the damaged file, behind the last whole record.
        first_ns, last_ns: log times.
    """

    messages: int
    lost_bytes: int
    first_ns: int
    last_ns: int


def salvage(broken: Path, out: Path) -> Salvaged:
    """Write what is whole of a damaged .mcap as a whole one.

    Args:
        broken: an .mcap, or the .part folder of a recording that was killed.
        out: the .mcap file to write.

    Raises:
        BagError: If nothing of it can be read.
        OutputError: If `out` cannot be written.
    """
    source = _file_of(broken)
    try:
        with tempfile.TemporaryDirectory(prefix="robollm-") as folder:
            copy = Path(folder) / "whole.mcap"
            lost = _cut(source, copy)
            with _reading(copy) as reader:
                return _rewrite(reader, source, out, lost)
    except (OutputError, BagError):
        raise
    except OSError as error:
        raise OutputError(f"cannot save {broken}: {error}. Free some space.") from error
    except Exception as error:  # rosbags raises what its parsers raise
        raise BagError(f"{broken} holds nothing that can be saved: {error}.") from error


def _file_of(broken: Path) -> Path:
    inner = broken / "bag" / "bag.mcap"
    if broken.is_dir() and inner.is_file():
        return inner
    if broken.is_file():
        return broken
    if not broken.exists():
        raise BagError(f"there is no {broken}.")
    raise BagError(f"{broken} is neither an .mcap file nor the .part folder of a recording.")


def _cut(source: Path, copy: Path) -> int:
    """Copy the whole records of the data part, and end the file; returns the bytes left out."""
    with source.open("rb") as file, copy.open("wb") as target:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BagError(f"{source} does not begin as an MCAP file does.")
        target.write(_MAGIC)
        end = file.tell()
        for opcode, record in _records(file):
            if opcode not in _BODY and not (opcode == _HEADER and end == len(_MAGIC)):
                break  # the index, or damage
            if opcode == _CHUNK and not _sound(record):
                break
            target.write(_HEAD.pack(opcode, len(record)) + record)
            end = file.tell()
        target.write(_HEAD.pack(_DATA_END, 4) + bytes(4))
        target.write(_HEAD.pack(_FOOTER, 20) + bytes(20) + _MAGIC)
        return os.fstat(file.fileno()).st_size - end


def _records(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of every record that lies in the file as a whole."""
    size = os.fstat(file.fileno()).st_size
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        opcode, length = _HEAD.unpack(head)
        if file.tell() + length > size:
            return
        yield opcode, file.read(length)


def _sound(chunk: bytes) -> bool:
    """Whether a chunk unpacks, and has the checksum it says."""
    try:
        _, _, size, crc, name = struct.unpack_from("<QQQII", chunk)
        start = 32 + name
        (packed,) = struct.unpack_from("<Q", chunk, start)
        data = chunk[start + 8 : start + 8 + packed]
        decompress(data, chunk[32:start].decode(), size, crc)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not whole
        return False
    return True


@contextmanager
def _reading(copy: Path) -> Iterator[McapReader]:
    reader = McapReader(copy)
    reader.open()
    try:
        yield reader
    finally:
        reader.close()


def _rewrite(reader: McapReader, source: Path, out: Path, lost: int) -> Salvaged:
    connections = list(reader.connections)
    if not connections or not reader.metadata.message_count:
        raise BagError(f"{source} holds no whole message.")
    count, times = 0, list[int]()
    with BagWriter(out, []) as bag:
        for connection in connections:
            bag.adopt(connection, _digest(connection))
        # as they lie in the file: the new one has an index, which puts them in order
        for connection, log_ns, data in reader.messages_scan(connections):
            bag.write(connection.topic, log_ns, data)
            count += 1
            times = [min([log_ns, *times[:1]]), max([log_ns, *times[1:]])]
    return Salvaged(count, lost, times[0], times[1])


def _digest(connection: Connection) -> str:
    """The hash of a type, which an MCAP file does not hold itself."""
    if connection.msgdef.format != MessageDefinitionFormat.MSG:
        return UNKNOWN
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
    return str(store.hash_rihs01(connection.msgtype))


def as_json(saved: Salvaged) -> dict[str, Any]:
    """Plain values, by name."""
    return {
        "messages": saved.messages,
        "lost_bytes": saved.lost_bytes,
        "first_ns": saved.first_ns,
        "last_ns": saved.last_ns,
    }
