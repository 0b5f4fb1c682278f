# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of images by the digest of their file: of memory, the gallery file, the network."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from robollm_core.errors import GalleryError, ImageError
from robollm_core.identification.embedder import Embedder
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.identification.references import Reference, ReferenceRoot, UnreadableError
from robollm_core.identification.turns import Turns
from robollm_core.types import Float32Array, UInt8Array

MAX_EMBEDDINGS = 200_000
"""Kept in memory; 200 MB of a network with 256 numbers an embedding."""
WRITTEN = 256
"""Embeddings that are written to the file at a time, and lost when a process is killed."""

_log = logging.getLogger(__name__)


class Embeddings:
    """The embeddings of images, each made once. Not to be used from two threads at once.

    Attributes:
        file: the second level; None for memory alone.
        note: why the file is not used as it should be; "" while it is.
    """

    def __init__(
        self,
        embedder: Embedder,
        root: ReferenceRoot,
        file: GalleryFile | None = None,
        turns: Turns | None = None,
    ) -> None:
        """Start with an empty memory.

        Args:
            embedder: the network.
            root: reads the images.
            file: of the same network.
            turns: says when frames go first; None where there are none.
        """
        self._embedder, self._root = embedder, root
        self.use(file)
        self._turns = turns or Turns()
        self._memory: OrderedDict[str, Float32Array] = OrderedDict()

    def use(self, file: GalleryFile | None) -> None:
        """Take a file, or another one; what is in memory stays."""
        self.file, self.note = file, ""
        if file is not None and not file.writable:
            self._say(GalleryError(f"{file.path} cannot be written by this process."))

    def of(
        self,
        references: Iterable[Reference],
        tell: Callable[[int], object] = lambda done: None,
    ) -> tuple[dict[str, Float32Array], dict[str, str]]:
        """The embeddings of images.

        Args:
            references: in any order; one image may come under several names.
            tell: gets how many more images are done.

        Returns:
            (D,) float32 by sha256, and why there is none for the others.

        Raises:
            NotFiniteError, RuntimeFailedError: If the network fails.
        """
        wanted = {reference.sha256: reference for reference in references}
        found = {digest: self._memory[digest] for digest in wanted if digest in self._memory}
        found |= self.stored(digest for digest in wanted if digest not in found)
        tell(len(found))
        broken: dict[str, str] = {}
        self._embed([wanted[key] for key in wanted if key not in found], found, broken, tell)
        for digest, row in found.items():
            self._memory[digest] = row
            self._memory.move_to_end(digest)
        while len(self._memory) > MAX_EMBEDDINGS:
            self._memory.popitem(last=False)
        return found, broken

    def stored(self, digests: Iterable[str]) -> dict[str, Float32Array]:
        """What the file has of these; nothing where it cannot be read, which is noted."""
        if self.file is None:
            return {}
        try:
            return self.file.embeddings(digests)
        except GalleryError as error:
            self._say(error)
            return {}

    def items(self, item_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Digests by item of the file; nothing where it cannot be read, which is noted."""
        if self.file is None:
            return {}
        try:
            return self.file.items(item_ids)
        except GalleryError as error:
            self._say(error)
            return {}

    def _embed(
        self,
        references: Sequence[Reference],
        found: dict[str, Float32Array],
        broken: dict[str, str],
        tell: Callable[[int], object],
    ) -> None:
        crops = self._looked_at(references, broken, tell)
        unwritten: dict[str, Float32Array] = {}
        while batch := list(islice(crops, self._embedder.batch)):
            self._turns.give_way()
            rows = self._embedder.embed([crop for _, crop in batch])
            # copies: a row must not keep the whole batch in memory
            new = {digest: row.copy() for (digest, _), row in zip(batch, rows, strict=True)}
            found |= new
            unwritten |= new
            tell(len(new))
            if len(unwritten) >= WRITTEN:
                self._write(unwritten)
                unwritten = {}
        self._write(unwritten)

    def _looked_at(
        self,
        references: Sequence[Reference],
        broken: dict[str, str],
        tell: Callable[[int], object],
    ) -> Iterator[tuple[str, UInt8Array]]:
        for reference in references:
            try:
                data = self._root.read(reference)
                yield reference.sha256, self._embedder.look(data, reference.path)
            except (UnreadableError, ImageError) as error:
                broken[reference.sha256] = str(error)
                tell(1)

    def _write(self, rows: dict[str, Float32Array]) -> None:
        if self.file is None or self.note or not rows:
            return
        try:
            self.file.keep(rows)
        except GalleryError as error:
            self._say(error)

    def _say(self, error: GalleryError) -> None:
        """Note it, and log it once: the cell goes on with memory and the images."""
        if not self.note:
            _log.warning("New embeddings are kept in memory alone: %s", error)
        self.note = str(error)
