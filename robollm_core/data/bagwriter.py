# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a bag: one MCAP file, whole or not at all, the same bytes for the same messages."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from robollm_core.data import rostypes
from robollm_core.errors import OutputError

_FOREVER = QosTime(9223372036, 854775807)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: absolute name, such as "/perception/detections".
        msgtype: such as "vision_msgs/msg/Detection2DArray".
        latched: offered to late subscribers (transient local), as a player has to know.
    """

    name: str
    msgtype: str
    latched: bool = False


class BagWriter:
    """A bag in the making; a context manager that leaves a whole file or none."""

    def __init__(
        self, path: Path | str, topics: Sequence[Topic], about: Mapping[str, str] | None = None
    ) -> None:
        """Name the file and its topics; nothing is written before entry.

        Args:
            path: the .mcap file; one that exists is replaced on success.
            topics: all that will be written, in the order they get in the file.
            about: custom data of the bag, which stands in its metadata.
        """
        self.path = Path(path)
        self._topics = tuple(topics)
        self._about = dict(about or {})
        self._connections: dict[str, Connection] = {}
        self._folder: Path | None = None
        self._writer: Writer | None = None

    def __enter__(self) -> "BagWriter":
        """Begin beside the target, on the same file system.

        Raises:
            OutputError: If the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # a process that is killed leaves it, under a name that says whose it is
            prefix = f"{self.path.name}."
            self._folder = Path(tempfile.mkdtemp(".part", prefix, self.path.parent))
            # rosbags writes the name of this folder into the file, so it is always the same
            version, plugin = Writer.VERSION_LATEST, StoragePlugin.MCAP
            self._writer = Writer(self._folder / "bag", version=version, storage_plugin=plugin)
            for key, value in self._about.items():
                self._writer.set_custom_data(key, value)
            self._writer.open()
            self._connections = {topic.name: self._connect(topic) for topic in self._topics}
        except OSError as error:
            self._discard()
            raise self._refusal(error) from error
        return self

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Add one message.

        Args:
            topic: one of those named at the start.
            log_ns: when it counts as recorded.
            message: of `rostypes.make`, or bytes that are already serialised (CDR).

        Raises:
            OutputError: If the disk is full or gone; the bag is then discarded.
        """
        assert self._writer is not None, "the bag is not open"
        connection = self._connections[topic]
        data = message
        if not isinstance(message, bytes | memoryview):
            data = rostypes.typestore().serialize_cdr(message, connection.msgtype)
        try:
            self._writer.write(connection, log_ns, data)
        except OSError as error:
            self._discard()
            raise self._refusal(error) from error

    def adopt(self, connection: Connection, digest: str) -> None:
        """Add a topic of another bag, with the definition of its type that stands there.

        Args:
            connection: of that bag; a topic that is known already stays as it is.
            digest: hash of the type, as ROS 2 writes it ("RIHS01_...").
        """
        assert self._writer is not None, "the bag is not open"
        if connection.topic in self._connections:
            return
        ext: Any = connection.ext
        self._connections[connection.topic] = self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=connection.msgdef.data,
            rihs01=digest,
            serialization_format=ext.serialization_format,
            offered_qos_profiles=ext.offered_qos_profiles,
        )

    def flush(self) -> None:
        """Hand all that was written to the operating system, so that a killed process loses none.

        `robollm replay recover` makes a bag of what such a process leaves.

        Raises:
            OutputError: If the disk is full or gone; the bag is then discarded.
        """
        assert self._writer is not None, "the bag is not open"
        storage: Any = self._writer.storage
        try:
            if storage.chunk.msgs:
                storage.close_chunk()
            storage.bio.flush()
        except OSError as error:
            self._discard()
            raise self._refusal(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in place, or after an error leave nothing.

        Raises:
            OutputError: If the rest cannot be written.
        """
        if self._folder is None or self._writer is None:
            return
        try:
            if error is None:
                self._writer.close()
                written = self._folder / "bag" / "bag.mcap"
                with written.open("rb+") as file:
                    os.fsync(file.fileno())
                written.replace(self.path)
        except OSError as failure:
            raise self._refusal(failure) from failure
        finally:
            self._discard()

    def _connect(self, topic: Topic) -> Connection:
        assert self._writer is not None
        return self._writer.add_connection(
            topic.name,
            topic.msgtype,
            typestore=rostypes.typestore(),
            offered_qos_profiles=(_qos(latched=topic.latched),),
        )

    def _discard(self) -> None:
        writer, self._writer = self._writer, None
        folder, self._folder = self._folder, None
        if writer is not None and writer.storage is not None:
            with suppress(OSError):  # closing flushes to the same full disk
                writer.abort()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _refusal(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error}. Nothing of it is kept; free some space or "
            "choose another place."
        )


def _qos(*, latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )
