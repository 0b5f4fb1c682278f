# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The reference embeddings of a manifest, each image embedded once."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ImageError, ManifestError
from robollm_core.images import CropSpec, crop_whole, decode_image
from robollm_core.runtime.furniture import BATCH, run_batches
from robollm_core.types import Engine, Float32Array, Manifest, ManifestItem, UInt8Array

MAX_EMBEDDINGS = 50_000
MAX_MANIFESTS = 8
MAX_IMAGE_BYTES = 64 * 2**20
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """The reference embeddings of one manifest.

    Attributes:
        item_ids: items that are still in the container, in manifest order.
        embeddings: (R, D) float32, grouped by item in that order; of unit length
            unless the network is a released one.
        starts: (items,) int64, row of the first reference of each item.
    """

    item_ids: tuple[str, ...]
    embeddings: Float32Array
    starts: npt.NDArray[np.int64]


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
    best = np.maximum.reduceat(similarity, starts, axis=1)
    if not np.isfinite(scale):
        return best
    counts = np.diff(starts, append=similarity.shape[1])
    # relative to the best, which keeps exp from overflowing
    apart = np.exp(scale * (similarity - np.repeat(best, counts, axis=1)))
    mean = np.add.reduceat(apart, starts, axis=1) / counts
    return np.asarray(best + np.log(mean) / scale, dtype=np.float32)


class Gallery:
    """Embeds reference images on first sight and remembers them.

    An embedding is kept under the sha256 of the image file and of the network,
    so a photo shared by manifests, or renamed, is embedded once.
    """

    def __init__(
        self,
        engine: Engine,
        crop: CropSpec,
        model_sha256: str,
        root: Path,
        output: str = "embedding",
    ) -> None:
        """Start empty.

        Args:
            engine: input "images" (N, S, S, 3) uint8, output `output` (N, D) float32.
            crop: how the network sees images.
            model_sha256: names the network.
            root: folder that relative reference paths start from.
            output: which output embeds references.
        """
        self._engine, self._crop, self._model, self._root = engine, crop, model_sha256, root
        self._output = output
        self._embeddings: OrderedDict[tuple[str, str], Float32Array] = OrderedDict()
        self._manifests: OrderedDict[Manifest, References] = OrderedDict()

    def references(self, manifest: Manifest) -> References:
        """The references of a manifest, embedded now if they never were.

        Args:
            manifest: items with a quantity of 0 are left out.

        Returns:
            At least one row an item; empty when no item is left.

        Raises:
            ManifestError: If a reference image of an item is missing or broken;
                nothing of this manifest is then remembered.
        """
        known = self._manifests.get(manifest)
        if known is None:
            known = self._manifests[manifest] = self._embed(manifest)
            _trim(self._manifests, MAX_MANIFESTS)
        self._manifests.move_to_end(manifest)
        return known

    def _embed(self, manifest: Manifest) -> References:
        items = [item for item in manifest.items if item.quantity > 0]
        paths = [self._paths(item) for item in items]
        owners = [item for item, own in zip(items, paths, strict=True) for _ in own]
        flat = [path for own in paths for path in own]
        rows: list[Float32Array] = []
        for start in range(0, len(flat), BATCH):
            window = slice(start, start + BATCH)
            rows += self._embed_files(owners[window], flat[window])
        _trim(self._embeddings, MAX_EMBEDDINGS)
        counts = [len(own) for own in paths]
        return References(
            item_ids=tuple(item.item_id for item in items),
            embeddings=np.stack(rows) if rows else np.zeros((0, 0), np.float32),
            starts=np.cumsum([0, *counts[:-1]], dtype=np.int64)[: len(items)],
        )

    def _paths(self, item: ManifestItem) -> list[Path]:
        found: list[Path] = []
        for name in item.reference_images:
            path = self._root / name
            try:
                found += _images_of(path) if path.is_dir() else [path]
            except OSError as error:
                raise ManifestError(
                    f"item {item.item_id!r}: cannot list its references in {path}: {error}."
                ) from error
        if not found:
            raise ManifestError(
                f"item {item.item_id!r} has no reference image under "
                f"{[str(self._root / name) for name in item.reference_images]}. Add one, or set "
                "identification.reference_root to the folder its paths start from."
            )
        return found

    def _embed_files(
        self, owners: Sequence[ManifestItem], paths: Sequence[Path]
    ) -> list[Float32Array]:
        """Embed at most one batch of files; those seen before come from memory."""
        data = [_read(owner, path) for owner, path in zip(owners, paths, strict=True)]
        keys = [(hashlib.sha256(text).hexdigest(), self._model) for text in data]
        new = {key: i for i, key in enumerate(keys) if key not in self._embeddings}
        if new:
            crops = [_decode(owners[i], paths[i], data[i], self._crop) for i in new.values()]
            embedded = run_batches(self._engine, np.stack(crops), self._output)
            self._embeddings.update(zip(new, embedded, strict=True))
        for key in keys:
            self._embeddings.move_to_end(key)
        return [self._embeddings[key] for key in keys]


def _trim(cache: OrderedDict[Any, Any], size: int) -> None:
    while len(cache) > size:
        cache.popitem(last=False)


def _images_of(folder: Path) -> list[Path]:
    images: Iterable[Path] = (p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    # 2.jpg comes before 10.jpg
    return sorted(images, key=lambda path: (len(path.stem), path.name))


def _read(owner: ManifestItem, path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise OSError("it is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
        if len(data) > MAX_IMAGE_BYTES:
            raise OSError(f"it has more than {MAX_IMAGE_BYTES} bytes")
        return data
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"item {owner.item_id!r}: cannot read its reference image {path}: {error}. Relative "
            "paths start from identification.reference_root."
        ) from error


def _decode(owner: ManifestItem, path: Path, data: bytes, spec: CropSpec) -> UInt8Array:
    try:
        return crop_whole(decode_image(data, str(path)), spec)
    except ImageError as error:
        raise ManifestError(f"item {owner.item_id!r}: reference image: {error}") from error
