# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Filling a gallery file: reference images found and embedded, items put in and taken out.

Embeddings come to the disk as they are made, and the list of items at the end, in one
step. A run that is killed leaves the list as it was, and the next one goes on with the
embeddings that are there.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from robollm_core.errors import GalleryError
from robollm_core.identification.embedder import Network
from robollm_core.identification.embeddings import Embeddings
from robollm_core.identification.gallery_file import GalleryFile, GalleryItem, write_meta
from robollm_core.identification.references import Reference, ReferenceRoot, UnreadableError
from robollm_core.types import ManifestItem

_ITEMS = 64
_UNUSED = "sha256 NOT IN (SELECT sha256 FROM reference_images)"


@dataclass(slots=True)
class Collected:
    """What became of a list of items.

    Attributes:
        items: all of them, with the images that were embedded.
        unreadable: item id and reason, one an image that was not.
    """

    items: list[GalleryItem] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def bare(self) -> list[str]:
        """Items without any image."""
        return [item.item_id for item in self.items if not item.images]


def collect(
    items: Sequence[ManifestItem],
    root: ReferenceRoot,
    embeddings: Embeddings,
    tell: Callable[[int], object] = lambda done: None,
) -> Collected:
    """Find and embed the reference images of items; the embeddings are written as they come.

    Args:
        items: whose quantity does not count here.
        root: reads their images.
        embeddings: with the file.
        tell: gets how many more items are done.

    Raises:
        NotFiniteError, RuntimeFailedError: If the network fails.
    """
    done = Collected()
    for start in range(0, len(items), _ITEMS):
        some = items[start : start + _ITEMS]
        root.begin()
        found = [(item, list(root.of(item))) for item in some]
        images = [one for _, own in found for one in own if isinstance(one, Reference)]
        rows, broken = embeddings.of(images)
        for item, own in found:
            readable = [one for one in own if isinstance(one, Reference)]
            kept = {one.name: one.sha256 for one in readable if one.sha256 in rows}
            done.items.append(GalleryItem(item.item_id, tuple(kept.items()), item.text))
            reasons = [str(one) for one in own if isinstance(one, UnreadableError)]
            reasons += [broken[one.sha256] for one in readable if one.sha256 in broken]
            done.unreadable += [(item.item_id, reason) for reason in reasons]
        tell(len(some))
    return done


def fill(
    file: GalleryFile, items: Iterable[GalleryItem], network: Network, root: str
) -> GalleryFile:
    """Make items all there is in a file, in one step; embeddings of other networks go.

    Returns:
        The file, opened anew.

    Raises:
        GalleryError: If it cannot be written; nothing has changed then.
    """
    with file.writing() as db:
        write_meta(db, network, root)
        db.execute("DELETE FROM items")
        _put(db, items)
        db.execute("DELETE FROM embeddings WHERE network != ?", (network.key,))
    return GalleryFile(file.path, network)


def add(file: GalleryFile, items: Iterable[GalleryItem]) -> None:
    """Put items in, each in place of the one of its name; in one step.

    Raises:
        GalleryError: If the file cannot be written; nothing has changed then.
    """
    items = list(items)
    with file.writing() as db:
        db.executemany("DELETE FROM items WHERE item_id = ?", [(one.item_id,) for one in items])
        _put(db, items)


def remove(file: GalleryFile, item_ids: Sequence[str]) -> None:
    """Take items out, and the embeddings of images that no other item has; in one step.

    Raises:
        GalleryError: If one is not in the file, or it cannot be written; nothing has
            changed then.
    """
    with file.writing() as db:
        for item_id in item_ids:
            db.execute(
                "DELETE FROM embeddings WHERE sha256 IN (SELECT sha256 FROM reference_images "
                "GROUP BY sha256 HAVING COUNT(DISTINCT item_id) = 1 AND MIN(item_id) = ?)",
                (item_id,),
            )
            if db.execute("DELETE FROM items WHERE item_id = ?", (item_id,)).rowcount == 0:
                raise GalleryError(
                    f"{file.path} has no item {item_id!r}; nothing is removed. `robollm gallery "
                    f"info {file.path} --items` lists what it has."
                )


def drop_unused(file: GalleryFile) -> int:
    """Drop the embeddings of images that are of no item, and give their space back.

    Returns:
        How many.

    Raises:
        GalleryError: If the file cannot be written.
    """
    with file.writing() as db:
        count = db.execute(f"DELETE FROM embeddings WHERE {_UNUSED}").rowcount
    with file.connected() as db:
        db.execute("VACUUM")
    return count


def _put(db: sqlite3.Connection, items: Iterable[GalleryItem]) -> None:
    for item in items:
        db.execute("INSERT INTO items (item_id, text) VALUES (?, ?)", (item.item_id, item.text))
        rows = [(item.item_id, path, digest) for path, digest in item.images]
        db.executemany(
            "INSERT INTO reference_images (item_id, path, sha256) VALUES (?, ?, ?)", rows
        )
