# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings on disk, so that a run that was broken off goes on where it was.

One SQLite file. Its write-ahead log makes every batch all or nothing, also when
the process is killed, and lets others read meanwhile. The file belongs on a
local disk: SQLite's locks do not hold on network file systems.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from robollm_core.errors import DatasetError, OutputError
from robollm_core.types import Float32Array

APPLICATION = 0x726F626F
"""Marks the file as ours in its header: "robo"."""
FORMAT = 1
_WAIT_SECS = 60.0
_TABLES = """
CREATE TABLE networks (network TEXT PRIMARY KEY, layout TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE embeddings (
    network TEXT NOT NULL, picture BLOB NOT NULL, outputs BLOB NOT NULL,
    PRIMARY KEY (network, picture)
) WITHOUT ROWID;
"""

Layout = Mapping[str, tuple[int, ...]]
"""Name of an output to the shape of one picture's share of it."""


class EmbeddingCache:
    """The answers of one network to pictures, by what the picture shows."""

    def __init__(self, path: Path, network: str) -> None:
        """Open the file, and make it when it is not there.

        Args:
            path: the file; those beside it that end in -wal and -shm are its own.
            network: names the network, and all else that decides its answers.

        Raises:
            DatasetError: If there is another file of this name.
            OutputError: If the file cannot be made or read.
        """
        self._path, self._network = path, network
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = sqlite3.connect(path, timeout=_WAIT_SECS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
            self.layout: Layout = self._read_layout()
        except BaseException:
            self._data.close()
            raise

    def __enter__(self) -> "EmbeddingCache":
        """Give the open cache."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._data.close()

    def __len__(self) -> int:
        """How many pictures of this network are there."""
        count = self._ask("SELECT count(*) FROM embeddings WHERE network = ?", self._network)
        return int(count[0][0])

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that are not there, each once, in their order."""
        absent: dict[bytes, None] = {}
        for key in keys:
            if key not in absent and not self._ask(
                "SELECT 1 FROM embeddings WHERE network = ? AND picture = ?", self._network, key
            ):
                absent[key] = None
        return list(absent)

    def put(self, keys: Sequence[bytes], outputs: Mapping[str, Float32Array]) -> None:
        """Add the answers to a batch, all of them or none.

        Args:
            keys: names of n pictures; those that are there already stay as they are.
            outputs: name to (n, ...) float32.

        Raises:
            DatasetError: If the network answered in another shape before.
            OutputError: If it cannot be written.
        """
        layout = {name: tuple(rows.shape[1:]) for name, rows in sorted(outputs.items())}
        if not self.layout:
            self._insert("networks", [(self._network, json.dumps(layout))])
            self.layout = self._read_layout()
        if dict(self.layout) != layout:
            raise DatasetError(
                f"{self._path} holds answers of shape {dict(self.layout)} of this network, it now "
                f"gives {layout}. Remove the file, or choose another folder."
            )
        flat = np.concatenate(
            [np.reshape(outputs[name], (len(keys), -1)) for name in layout], axis=1, dtype="<f4"
        )
        rows = zip(keys, flat, strict=True)
        self._insert("embeddings", [(self._network, key, row.tobytes()) for key, row in rows])

    def get(self, keys: Sequence[bytes], output: str) -> Float32Array:
        """The answers to pictures that are there.

        Args:
            keys: names of n pictures.
            output: which output.

        Returns:
            (n, ...) float32, in the order of the keys.

        Raises:
            DatasetError: If one is not there or damaged, or there is no such output.
        """
        if output not in self.layout:
            raise DatasetError(f"{self._path} has no output {output!r}, only {list(self.layout)}.")
        sizes = {name: int(np.prod(shape)) for name, shape in self.layout.items()}
        before = sum(size for name, size in sizes.items() if name < output)
        rows = np.empty((len(keys), sizes[output]), np.float32)
        for index, key in enumerate(keys):
            rows[index] = self._row(key, sum(sizes.values()))[before : before + sizes[output]]
        return rows.reshape(len(keys), *self.layout[output])

    def _row(self, key: bytes, size: int) -> Float32Array:
        found = self._ask(
            "SELECT outputs FROM embeddings WHERE network = ? AND picture = ?", self._network, key
        )
        data = found[0][0] if found else None
        if not isinstance(data, bytes) or len(data) != 4 * size:
            got = f"{len(data)} bytes" if isinstance(data, bytes) else repr(data)
            raise DatasetError(
                f"{self._path}: the row of picture {key.hex()[:16]} must hold {4 * size} bytes, it "
                f"has {got}. The file is damaged: remove it, its content is made again."
            )
        return np.frombuffer(data, dtype="<f4").astype(np.float32)

    def _prepare(self) -> None:
        """Look whether the file is ours, and make its tables when it is new."""
        if self._is_new():
            self._ask("PRAGMA journal_mode = WAL")
            with self._transaction():
                if self._is_new():  # another process may have been quicker
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._data.execute(statement)
                    self._data.execute(f"PRAGMA application_id = {APPLICATION}")
                    self._data.execute(f"PRAGMA user_version = {FORMAT}")
        marks = self._marks()
        if marks != (APPLICATION, FORMAT):
            raise self._foreign(f"its marks are {marks}, expected {(APPLICATION, FORMAT)}")
        # a batch may be lost with the power, never half of one
        self._ask("PRAGMA synchronous = NORMAL")

    def _is_new(self) -> bool:
        return self._marks() == (0, 0) and not self._ask("SELECT 1 FROM sqlite_master")

    def _marks(self) -> tuple[int, int]:
        first, second = (
            self._ask(f"PRAGMA {name}")[0][0] for name in ("application_id", "user_version")
        )
        return int(first), int(second)

    def _read_layout(self) -> Layout:
        found = self._ask("SELECT layout FROM networks WHERE network = ?", self._network)
        with suppress(ValueError, TypeError, AttributeError):
            tree = json.loads(found[0][0]) if found else {}
            return {str(name): tuple(map(int, shape)) for name, shape in sorted(tree.items())}
        raise self._foreign(f"it describes a network by {found!r}")

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._data.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            raise self._foreign(str(error)) from error

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" for _ in rows[0])
        with self._transaction():
            self._data.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that the block writes, or nothing of it."""
        try:
            self._data.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._data.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite itself may have rolled back
                    self._data.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> OutputError:
        return OutputError(
            f"cannot use the embeddings in {self._path}: {error}. Free some space, wait for the "
            "process that holds it, or choose another folder."
        )

    def _foreign(self, reason: str) -> DatasetError:
        return DatasetError(
            f"{self._path} is no cache of embeddings of format {FORMAT}: {reason}. Remove it if "
            "it was one, or choose another folder."
        )
