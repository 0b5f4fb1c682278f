# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings on disk: one SQLite file that several processes may read while one writes.

It has a rollback journal and no write-ahead log: a file at rest is one file that can be
copied, it can be read where nothing can be written, as the two files beside a log cannot
be made there, and it works on file systems of a network. What a killed writer leaves is
undone by whoever opens the file next. A connection lasts for one operation, so no lock
outlives it.

Four tables: `meta` says of which network the embeddings are; `items` and
`reference_images` are the gallery; `embeddings` holds a vector an image and network, also
of images that are of no item, which a cell has met on manifests.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from robollm_core.errors import GalleryError
from robollm_core.files import replacing
from robollm_core.identification.embedder import Network
from robollm_core.types import Float32Array

SCHEMA = 1
APPLICATION_ID = 0x726F626C
"""Stands in the header of the file, as `file` and SQLite show it: "robl"."""
WAIT_S = 10.0
"""So long for another process that writes."""

_ASKED = 500
FLOAT = np.dtype("<f4")
"""Of the numbers of an embedding in the file."""
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
  position INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, text TEXT NOT NULL DEFAULT '');
CREATE TABLE reference_images (
  position INTEGER PRIMARY KEY,
  item_id TEXT NOT NULL REFERENCES items (item_id) ON DELETE CASCADE,
  path TEXT NOT NULL, sha256 TEXT NOT NULL, UNIQUE (item_id, path));
CREATE INDEX reference_digests ON reference_images (sha256);
CREATE TABLE embeddings (
  sha256 TEXT NOT NULL, network TEXT NOT NULL, embedding BLOB NOT NULL,
  PRIMARY KEY (sha256, network));
"""


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """An item of a gallery.

    Attributes:
        item_id: product id.
        images: (path, sha256) of its reference images; a path starts from the root.
        text: description.
    """

    item_id: str
    images: tuple[tuple[str, str], ...] = ()
    text: str = ""


class GalleryFile:
    """A gallery file that was checked; safe to use from several threads."""

    def __init__(self, path: Path, network: Network | None = None) -> None:
        """Open a file.

        Args:
            path: of the file.
            network: whose embeddings it must hold; None for any.

        Raises:
            GalleryError: If it is missing, no gallery, damaged, newer than this
                version can read, or of another network.
        """
        self.path = path
        # not Path.is_file, which raises in a folder that is closed to us
        if not os.path.isfile(path):  # noqa: PTH113
            raise GalleryError(
                f"no gallery file {path}. Make one with `robollm gallery build {path} FOLDER`, or "
                "leave identification.gallery empty."
            )
        with self.reading() as db:
            self._check_kind(db)
            self.meta: Mapping[str, str] = dict(db.execute("SELECT key, value FROM meta"))
            self.network = _network(self.meta, path)
            if network is not None and self.network.key != network.key:
                raise GalleryError(_other_network(path, self.network, network))
            self.content = _content(db, self.network)
            """How many items it had when it was opened, and a sha256 that names them, their images
            and the network."""

    @classmethod
    def of_any(cls, path: Path, network: Network) -> "GalleryFile":
        """Open a file of perhaps another network to add embeddings of this one.

        Raises:
            GalleryError: As the constructor, for another network excepted.
        """
        file = cls(path)
        file.network = network
        return file

    @classmethod
    def create(cls, path: Path, network: Network, root: str) -> "GalleryFile":
        """Make an empty gallery, whole or not at all.

        Args:
            path: must not exist.
            network: whose embeddings it will hold.
            root: folder that its paths start from, for `robollm gallery verify`.

        Raises:
            GalleryError: If there is a file already.
            OutputError: If it cannot be written.
        """
        if path.exists():
            raise GalleryError(f"{path} exists already.")
        with replacing(path) as part:
            try:
                _write_empty(part, network, root)
            except sqlite3.Error as error:
                raise GalleryError(f"cannot make the gallery file {path}: {error}.") from error
            # one left by a file of this name that was deleted would be played back into this one
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        return cls(path, network)

    @property
    def writable(self) -> bool:
        """Whether this process may write it; a journal must come to lie beside it."""
        return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)

    def embeddings(self, digests: Iterable[str]) -> dict[str, Float32Array]:
        """The embeddings of images, of this file's network, by sha256; those it has."""
        found: dict[str, Float32Array] = {}
        remaining = iter(digests)
        with self.reading() as db:
            while asked := list(islice(remaining, _ASKED)):
                rows = db.execute(
                    "SELECT sha256, embedding FROM embeddings WHERE network = ? AND sha256 IN "
                    f"({_marks(asked)})",
                    (self.network.key, *asked),
                )
                found |= {digest: self._vector(blob) for digest, blob in rows}
        return found

    def items(self, item_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The sha256 of the reference images of items, by item; of those it has."""
        found: dict[str, list[str]] = {}
        remaining = iter(item_ids)
        with self.reading() as db:
            while asked := list(islice(remaining, _ASKED)):
                rows = db.execute(
                    "SELECT item_id, sha256 FROM reference_images WHERE item_id IN "
                    f"({_marks(asked)}) ORDER BY position",
                    asked,
                )
                for item_id, digest in rows:
                    found.setdefault(item_id, []).append(digest)
        return {item_id: tuple(digests) for item_id, digests in found.items()}

    def list_items(self) -> tuple[GalleryItem, ...]:
        """All items in the order in which they were put in."""
        with self.reading() as db:
            texts = dict(db.execute("SELECT item_id, text FROM items ORDER BY position"))
            images: dict[str, list[tuple[str, str]]] = {item_id: [] for item_id in texts}
            rows = db.execute(
                "SELECT item_id, path, sha256 FROM reference_images ORDER BY position"
            )
            for item_id, path, digest in rows:
                images[item_id].append((path, digest))
        return tuple(GalleryItem(key, tuple(images[key]), text) for key, text in texts.items())

    def whole(self) -> tuple[tuple[str, ...], Float32Array]:
        """Every reference that has an embedding: the item of each, and (R, D) float32."""
        owners: list[str] = []
        parts: list[Float32Array] = []
        with self.reading() as db:
            rows = db.execute(
                "SELECT i.item_id, e.embedding FROM items i "
                "JOIN reference_images r ON r.item_id = i.item_id "
                "JOIN embeddings e ON e.sha256 = r.sha256 AND e.network = ? "
                "ORDER BY i.position, r.position",
                (self.network.key,),
            )
            while some := rows.fetchmany(4096):
                owners += [item_id for item_id, _ in some]
                parts.append(self._rows([blob for _, blob in some]))
        return tuple(owners), np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def keep(self, embeddings: Mapping[str, Float32Array]) -> None:
        """Write embeddings, (D,) float32 by the sha256 of their images; all of them or none.

        Raises:
            GalleryError: If the file cannot be written.
        """
        rows = [(key, self.network.key, _blob(row)) for key, row in embeddings.items()]
        with self.writing() as db:
            db.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in which everything is of one moment.

        Raises:
            GalleryError: If the file cannot be read.
        """
        with self.connected() as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes come to the disk together, or not at all.

        Raises:
            GalleryError: If the file cannot be written; nothing of it has changed then.
        """
        with self.connected() as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction.

        Raises:
            GalleryError: For whatever SQLite finds wrong.
        """
        # rw, not ro: what a killed writer left can only be undone by who may write; SQLite
        # itself opens a file for reading where writing is forbidden
        uri = f"file:{quote(str(self.path.absolute()))}?mode=rw"
        try:
            db = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)
            try:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA trusted_schema = OFF")  # it may come from elsewhere
                yield db
            finally:
                db.close()  # what is not committed is undone
        except (sqlite3.Error, TypeError, ValueError) as error:  # damage turns text into anything
            raise GalleryError(
                f"the gallery file {self.path}: {error}. `robollm gallery verify {self.path}` "
                f"says what is wrong with it, `robollm gallery build {self.path} FOLDER` makes it "
                "anew where it has been moved away."
            ) from error

    def _check_kind(self, db: sqlite3.Connection) -> None:
        (kind,) = db.execute("PRAGMA application_id").fetchone()
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        (living,) = db.execute(
            "SELECT COUNT(*) FROM sqlite_master WHERE type NOT IN ('table', 'index')"
        ).fetchone()
        if kind != APPLICATION_ID or living:
            raise GalleryError(
                f"{self.path} is no gallery file. Name one that `robollm gallery build` has made."
            )
        if schema != SCHEMA:
            raise GalleryError(
                f"{self.path} is a gallery file of version {schema}, this robollm reads version "
                f"{SCHEMA}. Update robollm, or make it anew: `robollm gallery build`."
            )

    def _vector(self, blob: bytes) -> Float32Array:
        row: Float32Array = self._rows([blob])[0]
        return row

    def _rows(self, blobs: Sequence[bytes]) -> Float32Array:
        """(N, D) float32 of N blobs of one length."""
        lengths = {len(blob) for blob in blobs}
        size = lengths.pop()
        wanted = self.network.dim * FLOAT.itemsize
        if lengths or size == 0 or size % FLOAT.itemsize or wanted not in (0, size):
            raise GalleryError(
                f"{self.path} holds an embedding of a wrong length. Run `robollm gallery verify "
                f"{self.path}`."
            )
        rows = np.frombuffer(b"".join(blobs), FLOAT).reshape(len(blobs), -1)
        return rows.astype(np.float32)


def _write_empty(path: Path, network: Network, root: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"BEGIN; {_TABLES}")
        write_meta(db, network, root)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")


def write_meta(db: sqlite3.Connection, network: Network, root: str) -> None:
    """Say of which network the file is, and where its paths start."""
    values = {"model": network.model, "crop": network.crop, "dim": str(network.dim), "root": root}
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def _network(meta: Mapping[str, str], path: Path) -> Network:
    try:
        return Network(meta["model"], meta["crop"], int(meta["dim"]))
    except (KeyError, ValueError) as error:
        raise GalleryError(
            f"{path} does not say of which network it is. Make it anew: `robollm gallery build`."
        ) from error


def _other_network(path: Path, found: Network, wanted: Network) -> str:
    crop = ", which crops otherwise" if found.model == wanted.model else ""
    return (
        f"{path} holds embeddings of the network {found.model[:12]}, and the one in use is "
        f"{wanted.model[:12]}{crop}. Embed the images anew: `robollm gallery build {path} FOLDER`."
    )


def _content(db: sqlite3.Connection, network: Network) -> tuple[int, str]:
    digest = hashlib.sha256(network.key.encode())
    rows = db.execute(
        "SELECT i.item_id, r.sha256 FROM items i LEFT JOIN reference_images r "
        "ON r.item_id = i.item_id ORDER BY i.item_id, r.sha256"
    )
    for item_id, image in rows:
        digest.update(f"{item_id}\0{image or ''}\n".encode())
    (count,) = db.execute("SELECT COUNT(*) FROM items").fetchone()
    return int(count), digest.hexdigest()


def _blob(row: Float32Array) -> bytes:
    return np.ascontiguousarray(row, FLOAT).tobytes()


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
