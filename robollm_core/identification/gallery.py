# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The reference embeddings of manifests, built beside what is in use and then put in its place."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ManifestError
from robollm_core.identification.embeddings import Embeddings
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.identification.quiet import without_collection
from robollm_core.identification.references import Reference, ReferenceRoot, UnreadableError
from robollm_core.types import Float32Array, Manifest, ManifestItem

MAX_REFERENCES = 200_000
"""Of one manifest, in all."""
MAX_MANIFESTS = 64
MAX_BYTES = 512 * 2**20
"""Of the embeddings of all manifests; the two newest are kept whatever they take."""
_ROWS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """The reference embeddings of one manifest.

    Attributes:
        item_ids: items that are still in the container and have a reference, in
            manifest order.
        embeddings: (R, D) float32, grouped by item in that order; of unit length
            unless the network is a released one.
        starts: (items,) int64, row of the first reference of each item.
        missing: items that are still in the container and have none, and why; they
            stay candidates that cannot be matched.
        unreadable: reference images that could not be read, of all items.
        from_file: items whose references are those of the gallery file.
    """

    item_ids: tuple[str, ...] = ()
    embeddings: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    starts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    missing: Mapping[str, str] = field(default_factory=dict)
    unreadable: int = 0
    from_file: int = 0


def item_scores(
    similarity: Float32Array, starts: npt.NDArray[np.int64], scale: float
) -> Float32Array:
    """How similar each item is to a query, over its references.

    One odd reference, say a pack seen from its edge, resembles many things; the
    soft maximum trusts references that agree more than such a single one. It is
    also what training asks for: there the references of an item share one
    numerator (`training.losses.contrastive_loss`).

    Args:
        similarity: (N, R) float32, of N queries to R references: cosines, or the
            dot products of a released network.
        starts: (I,) int64, column of the first reference of each item, ascending.
        scale: t, the inverse temperature the network was trained with; `inf`
            takes the best reference alone.

    Returns:
        (N, I) float32: log(mean(exp(t * s))) / t over the references of an item,
        between their mean and their maximum; with one reference its cosine.
    """
    if len(starts) == similarity.shape[1]:  # one reference each: nothing to put together
        return similarity
    best = np.maximum.reduceat(similarity, starts, axis=1)
    if not np.isfinite(scale):
        return best
    counts = np.diff(starts, append=similarity.shape[1])
    # relative to the best, which keeps exp from overflowing
    apart = np.exp(scale * (similarity - np.repeat(best, counts, axis=1)))
    mean = np.add.reduceat(apart, starts, axis=1) / counts
    return np.asarray(best + np.log(mean) / scale, dtype=np.float32)


@dataclass(slots=True)
class _Kept:
    """What is remembered of a manifest.

    Attributes:
        manifests: the same one, as many times as it was read.
        references: of its items.
        widened: these and all other items of the gallery file; None until asked for.
    """

    manifests: list[Manifest]
    references: References
    widened: References | None = None


@dataclass(slots=True)
class _Found:
    """The references of one item, and why others cannot be read."""

    item_id: str
    images: list[Reference] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class Gallery:
    """The references of the newest manifests; safe to use from several threads.

    Attributes:
        embeddings: where those of images come from.
        version: how often `reload` has put a new state in force.
    """

    def __init__(self, embeddings: Embeddings, root: ReferenceRoot) -> None:
        """Start empty.

        Args:
            embeddings: where those of images come from.
            root: finds the images; nothing outside of it is opened.
        """
        self.embeddings, self._root = embeddings, root
        self.version = 0
        self._manifests: OrderedDict[Manifest, _Kept] = OrderedDict()
        self._by_id: dict[int, _Kept] = {}
        self._whole: References | None = None
        self._lock = threading.Lock()  # held for a look into the first two
        self._building = threading.RLock()  # held while references are embedded

    def references(self, manifest: Manifest, widen: bool = False) -> References:
        """The references of a manifest, embedded now if they never were.

        Args:
            manifest: items with a quantity of 0 are left out.
            widen: add all other items of the gallery file.

        Returns:
            The same object until something about it changes.

        Raises:
            ManifestError: If it has more than `MAX_REFERENCES`.
            GalleryError: If the gallery file turns out to be damaged, when widened.
            NotFiniteError, RuntimeFailedError: If the network fails; nothing of this
                manifest is then remembered.
        """
        kept = self._by_id.get(id(manifest))
        if kept is None or (widen and kept.widened is None):
            with self._building:
                kept = self._known(manifest) or self._add(manifest)
                if widen and kept.widened is None:
                    kept.widened = _union(kept.references, self.everything())
        return kept.widened if widen and kept.widened is not None else kept.references

    def prepare(self, manifest: Manifest, widen: bool = False) -> References:
        """As `references`, but what could not be read before is looked for again."""
        with self._building:
            kept = self._known(manifest)
            if kept is not None and (kept.references.missing or kept.references.unreadable):
                self._add(manifest)
            return self.references(manifest, widen)

    def everything(self) -> References:
        """All items of the gallery file; none without a file.

        Raises:
            GalleryError: If it is damaged.
        """
        with self._building:
            if self._whole is None:
                file = self.embeddings.file
                owners, rows = file.whole() if file else ((), References().embeddings)
                self._whole = _grouped(owners, rows)
            return self._whole

    def reload(self, file: GalleryFile | None) -> None:
        """Read all reference images anew, then put the new state in force at once.

        Args:
            file: the gallery file, opened anew.

        Raises:
            GalleryError: If it is damaged; all stays as it was.
            NotFiniteError, RuntimeFailedError: If the network fails; likewise.
        """
        with self._building:
            before = self.embeddings.file, self.embeddings.note, self._whole
            self._whole = None
            self.embeddings.use(file)
            try:
                self._root.forget()
                if before[2] is not None:
                    self.everything()
                again = [self._rebuilt(kept) for kept in list(self._manifests.values())]
            except Exception:
                self.embeddings.file, self.embeddings.note, self._whole = before
                raise
            with self._lock:
                self._manifests.update((kept.manifests[-1], kept) for kept in again)
                self._index()
                self.version += 1

    def newest(self) -> tuple[Manifest, References] | None:
        """The manifest that was prepared or asked for last by a new name, and its references."""
        with self._lock:
            kept = next(reversed(self._manifests.values()), None)
        return None if kept is None else (kept.manifests[-1], kept.references)

    def known(self, manifest: Manifest) -> References | None:
        """The references of a manifest that was prepared; None of any other."""
        kept = self._by_id.get(id(manifest)) or self._manifests.get(manifest)
        return None if kept is None else kept.references

    def _known(self, manifest: Manifest) -> _Kept | None:
        kept = self._by_id.get(id(manifest)) or self._manifests.get(manifest)
        if kept is not None:
            with self._lock:
                # an equal manifest is another object when its message came again; comparing
                # 100 000 items is too slow for a frame, so it is done once an object
                if all(one is not manifest for one in kept.manifests):
                    kept.manifests = [*kept.manifests[-3:], manifest]
                self._manifests.move_to_end(manifest)
                self._index()
        return kept

    def _add(self, manifest: Manifest) -> _Kept:
        kept = _Kept([manifest], self._build(manifest))
        with self._lock:
            self._manifests.pop(manifest, None)
            self._manifests[manifest] = kept
            sizes = [one.references.embeddings.nbytes for one in self._manifests.values()]
            while len(sizes) > 2 and (sum(sizes) > MAX_BYTES or len(sizes) > MAX_MANIFESTS):
                self._manifests.popitem(last=False)
                del sizes[0]
            self._index()
        return kept

    def _rebuilt(self, kept: _Kept) -> _Kept:
        new = _Kept(kept.manifests, self._build(kept.manifests[-1]))
        if kept.widened is not None:
            new.widened = _union(new.references, self.everything())
        return new

    def _index(self) -> None:
        # a new dict: frames look into the old one meanwhile
        self._by_id = {id(one): kept for kept in self._manifests.values() for one in kept.manifests}

    def _build(self, manifest: Manifest) -> References:
        self._root.begin()
        with without_collection():
            found = self._find_all(manifest)
        rows, broken = self.embeddings.of(image for one in found for image in one.images)
        with without_collection():
            return self._assembled(found, rows, broken)

    def _find_all(self, manifest: Manifest) -> list[_Found]:
        found: list[_Found] = []
        images = 0
        for item in manifest.items:
            if item.quantity > 0:
                found.append(self._find(item))
                images += len(found[-1].images)
                _check_count(images)
        return found

    def _assembled(
        self, found: list[_Found], rows: dict[str, Float32Array], broken: Mapping[str, str]
    ) -> References:
        """Put rows together; items that have none take those of the gallery file."""
        digests = {
            one.item_id: tuple(key.sha256 for key in one.images if key.sha256 in rows)
            for one in found
        }
        stored = self.embeddings.items(name for name, own in digests.items() if not own)
        _check_count(sum(map(len, digests.values())) + sum(map(len, stored.values())))
        rows |= self.embeddings.stored({key for own in stored.values() for key in own} - set(rows))
        digests |= {name: tuple(key for key in own if key in rows) for name, own in stored.items()}
        owners = [name for name, own in digests.items() for _ in own]
        whole = _grouped(owners, _stacked([rows[key] for own in digests.values() for key in own]))
        missing = {one.item_id: _why(one, broken) for one in found if not digests[one.item_id]}
        return replace(
            whole,
            missing=missing,
            unreadable=sum(_unreadable(one, broken) for one in found),
            from_file=sum(bool(digests[name]) for name in stored),
        )

    def _find(self, item: ManifestItem) -> _Found:
        found = _Found(item.item_id)
        for one in self._root.of(item):
            if isinstance(one, UnreadableError):
                found.reasons.append(str(one))
            else:
                found.images.append(one)
        return found


def _check_count(images: int) -> None:
    if images > MAX_REFERENCES:
        raise ManifestError(
            f"the manifest has more than {MAX_REFERENCES} reference images. Name fewer images an "
            "item, or send the products of one container, not the catalogue."
        )


def _unreadable(one: _Found, broken: Mapping[str, str]) -> int:
    return len(one.reasons) + sum(image.sha256 in broken for image in one.images)


def _why(one: _Found, broken: Mapping[str, str]) -> str:
    reasons = [*one.reasons, *(broken[image.sha256] for image in one.images)]
    if not reasons:
        return "the manifest names no reference image, and the gallery file does not know it."
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def _stacked(rows: Sequence[Float32Array]) -> Float32Array:
    """(R, D), in parts: other threads run between them."""
    if not rows:
        return References().embeddings
    stacked = np.empty((len(rows), len(rows[0])), np.float32)
    for start in range(0, len(rows), _ROWS):
        stacked[start : start + _ROWS] = np.stack(rows[start : start + _ROWS])
    return stacked


def _grouped(owners: Sequence[str], rows: Float32Array) -> References:
    """References of which the owner of each row is said; rows of one item follow each other."""
    firsts = [at for at, name in enumerate(owners) if at == 0 or owners[at - 1] != name]
    return References(tuple(owners[at] for at in firsts), rows, np.array(firsts, np.int64))


def _union(first: References, second: References) -> References:
    """The first, and of the second what the first has not."""
    own = set(first.item_ids)
    if not own:
        return replace(second, missing=first.missing, unreadable=first.unreadable)
    ends = np.append(second.starts[1:], len(second.embeddings))
    new = [number for number, name in enumerate(second.item_ids) if name not in own]
    counts = (ends - second.starts)[new]
    starts = len(first.embeddings) + np.cumsum(counts) - counts
    taken = [np.arange(second.starts[number], ends[number]) for number in new]
    rows = second.embeddings[np.concatenate(taken)] if taken else first.embeddings[:0]
    return replace(
        first,
        item_ids=(*first.item_ids, *(second.item_ids[number] for number in new)),
        embeddings=np.concatenate([first.embeddings, rows]),
        starts=np.concatenate([first.starts, starts]).astype(np.int64),
    )
