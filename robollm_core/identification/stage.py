# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which item of the manifest each instance is.

Two scorings, named in the sidecar. "native": cosines of unit vectors, put together
over the references of an item at the learned temperature. "released": raw dot
products, an item as its best reference, as the released RoboLLM networks were
trained and judged; such a score has no bounds, so the thresholds of the
configuration are compared with the dot product divided by the width D of the
embedding, which for vectors out of a LayerNorm is about their cosine.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.config import IdentificationConfig
from robollm_core.crops import FrameCrops
from robollm_core.errors import ArtifactError, ConfigError, ManifestError
from robollm_core.identification.embedder import (
    BACKGROUND_BATCH,
    Embedder,
    check_finite,
    network_of,
)
from robollm_core.identification.embeddings import Embeddings
from robollm_core.identification.gallery import Gallery, References, item_scores
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.identification.references import ReferenceRoot
from robollm_core.identification.turns import Turns
from robollm_core.images import GREY
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.furniture import (
    RELEASED,
    check_stage,
    crop_spec,
    has_output,
    reference_output,
    reference_scale,
    run_batches,
    scoring,
)
from robollm_core.types import (
    Crops,
    Engine,
    Float32Array,
    Frame,
    Identification,
    IdentifyStage,
    Instance,
    Manifest,
)

_ONE_THREAD = 2**18
"""Multiplications up to which OpenBLAS does not wake its threads."""
_TOLD = 10
"""Items without a reference that the status lists."""


class Identifier:
    """The identification stage: nearest reference among the items of the manifest."""

    def __init__(self, engine: Engine, sidecar: Sidecar, config: IdentificationConfig) -> None:
        """Take an engine and what its sidecar says of it.

        Args:
            engine: input "images" (N, S, S, 3) uint8, output "embedding" (N, D)
                float32, of unit length in native scoring; perhaps "reference".
            sidecar: of the same artifact; meta has "crop" and perhaps "scale" or
                "scoring".
            config: thresholds, the root of the reference images, the gallery file.

        Raises:
            ArtifactError: If the sidecar is of another stage or lacks meta, or the
                network cannot name a thing from one view.
            ConfigError: If the fallback is a gallery and no file of one is named.
            GalleryError: If that file is missing, damaged or of another network.
        """
        check_stage(sidecar, "identification")
        if not has_output(sidecar, "embedding"):
            raise ArtifactError(
                "this identification network answers for three views together and never for one, "
                "which is all a frame shows. Set identification.artifact to a one-view network; "
                "`robollm evaluate identification` measures this one."
            )
        self._engine, self._sidecar, self.config = engine, sidecar, config
        self._crop, self._scale = crop_spec(sidecar), reference_scale(sidecar)
        self._raw = scoring(sidecar) == RELEASED
        self._turns = Turns()
        self._gallery = self._new_gallery()
        self._load_fallback()

    @property
    def description(self) -> str:
        """The network and the runtime in use, one line."""
        return f"{self._sidecar.sha256[:12]} on {self._engine.description}"

    @property
    def scale(self) -> float:
        """Inverse temperature at which references of an item are put together; inf without one."""
        return self._scale

    @property
    def unit(self) -> float:
        """What a similarity is divided by before thresholds see it: D in released scoring, or 1."""
        return float(max(network_of(self._sidecar).dim, 1)) if self._raw else 1.0

    def reconfigured(self, config: IdentificationConfig) -> "Identifier":
        """The same network under other thresholds; embeddings are kept while root and file stay.

        Raises:
            ConfigError: If the fallback is a gallery and no file of one is named.
            GalleryError: If that file is missing, damaged or of another network.
        """
        other = copy.copy(self)
        other.config = config
        places = [(each.reference_root, each.gallery) for each in (config, self.config)]
        if places[0] != places[1]:
            other._gallery = other._new_gallery()
        other._load_fallback()
        return other

    def prepare(self, manifest: Manifest) -> None:
        """Embed the references of a manifest ahead of its first frame.

        May be called from a thread of its own: `identify` goes on meanwhile, and waits for one
        batch of references at most. An item none of whose references can be read stays a
        candidate that cannot be matched; `gallery_status` lists it.

        Raises:
            ManifestError: If it has more references than can be kept.
            GalleryError: If the whole gallery file is needed and damaged.
            NotFiniteError, RuntimeFailedError: If the network fails.
        """
        references = self._gallery.prepare(manifest)
        if self._widens(manifest, references):
            self._gallery.prepare(manifest, widen=True)

    def reload(self) -> dict[str, Any]:
        """Read gallery file and reference images anew; frames go on with what there is until then.

        Returns:
            What `gallery_status` then says.

        Raises:
            GalleryError: If the file is missing, damaged or of another network; what was in
                force stays.
            NotFiniteError, RuntimeFailedError: If the network fails; likewise.
        """
        self._gallery.reload(self._open_file())
        self._load_fallback()
        return self.gallery_status()

    def gallery_status(self, manifest: Manifest | None = None) -> dict[str, Any]:
        """How complete the gallery is; touches no disk.

        Args:
            manifest: that was prepared; None for the newest.

        Returns:
            "container_id" and "container_version" of the manifest; "products" that are left
            in it, "embedded" of them, "from_file" of these, "references" in all; "missing",
            the first ten without a reference as {"item_id", "reason"}, and "missing_count";
            "unreadable" reference images; "file" of the gallery, "file_items", "sha256" (names
            its content) and "writable"; "model", the sha256 of the network; "note", "" or what
            is wrong with the file; "version", the number of reloads.
        """
        gallery = self._gallery
        asked, known = manifest, None
        if manifest is not None:
            known = gallery.known(manifest)
        elif newest := gallery.newest():
            asked, known = newest
        references = known or References()
        file, missing = gallery.embeddings.file, references.missing
        return {
            "container_id": asked.container_id if asked else "",
            "container_version": asked.version if asked else 0,
            "products": len(references.item_ids) + len(missing),
            "embedded": len(references.item_ids),
            "from_file": references.from_file,
            "references": len(references.embeddings),
            "missing": [
                {"item_id": item_id, "reason": reason}
                for item_id, reason in list(missing.items())[:_TOLD]
            ],
            "missing_count": len(missing),
            "unreadable": references.unreadable,
            "file": str(file.path) if file else "",
            "file_items": file.content[0] if file else 0,
            "sha256": file.content[1] if file else "",
            "writable": bool(file and not gallery.embeddings.note),
            "model": self._sidecar.sha256,
            "note": gallery.embeddings.note,
            "version": gallery.version,
        }

    def warm_up(self) -> None:
        """Run the network on one grey crop; without a manifest `identify` would not."""
        size = self._crop.size_px
        run_batches(self._engine, np.full((1, size, size, 3), GREY, np.uint8), "embedding")

    def identify(
        self,
        frame: Frame,
        instances: Sequence[Instance],
        manifest: Manifest | None,
        crops: Crops | None = None,
    ) -> tuple[Identification, ...]:
        """Name each instance among the items still in the container.

        Args:
            frame: the camera image.
            instances: what was found on it.
            manifest: what the container holds; None when nobody has said.
            crops: of the same instances, to share with other stages.

        Returns:
            One answer an instance, in order. Without a manifest, with none of its
            items left, or with no reference of one, every answer is empty, unless
            the fallback is the gallery file.

        Raises:
            ManifestError: If the manifest was never prepared and has too many references.
            NotFiniteError, RuntimeFailedError: If the network fails.
        """
        if manifest is None or not instances:
            return tuple(Identification() for _ in instances)
        references = self._gallery.references(manifest)
        if self._widens(manifest, references):
            references = self._gallery.references(manifest, widen=True)
        if not references.item_ids:
            return tuple(Identification() for _ in instances)
        with self._turns.frame():
            cut = (crops or FrameCrops(frame, instances)).cut(self._crop)
            queries = run_batches(self._engine, cut, "embedding")
        check_finite(queries, "crops")
        similarity = _products(queries, references.embeddings)
        scores = item_scores(similarity, references.starts, self._scale)
        if not self._raw:  # rounding may lift the cosine of equal vectors above 1
            scores = np.clip(scores, -1.0, 1.0)
        unit = float(queries.shape[1]) if self._raw else 1.0
        return tuple(self._answer(references.item_ids, row, unit) for row in scores)

    def _new_gallery(self) -> Gallery:
        crop, output = self._crop, reference_output(self._sidecar)
        embedder = Embedder(self._engine, crop, output, BACKGROUND_BATCH)
        root = ReferenceRoot(Path(self.config.reference_root))
        return Gallery(Embeddings(embedder, root, self._open_file(), self._turns), root)

    def _open_file(self) -> GalleryFile | None:
        if not self.config.gallery:
            return None
        return GalleryFile(Path(self.config.gallery).expanduser(), network_of(self._sidecar))

    def _load_fallback(self) -> None:
        """Have the whole file in memory before a frame needs it."""
        if self.config.fallback != "gallery":
            return
        if not self.config.gallery:
            raise ConfigError(
                "identification.fallback is 'gallery', and identification.gallery names no file. "
                "Make one with `robollm gallery build FILE FOLDER` and name it, or set the "
                "fallback to unknown."
            )
        self._gallery.everything()

    def _widens(self, manifest: Manifest, references: References) -> bool:
        """Whether the whole gallery is asked, and not the manifest alone."""
        left = references.item_ids or references.missing
        return self.config.fallback == "gallery" and not (manifest.complete and left)

    def _answer(self, item_ids: Sequence[str], scores: Float32Array, unit: float) -> Identification:
        best = _best(scores, max(self.config.top_k, 2))
        ranked = scores[best].astype(float)
        lead = ranked[0] - ranked[1] if len(ranked) > 1 else np.inf
        similar = ranked[0] / unit >= self.config.min_similarity
        accepted = similar and lead / unit >= self.config.min_margin
        candidates = tuple(
            (item_ids[index], score) for index, score in zip(best, ranked.tolist(), strict=True)
        )
        return Identification(
            candidates=candidates[: self.config.top_k],
            item_id=candidates[0][0] if accepted else "",
        )


def prepare_whole(stage: IdentifyStage, manifest: Manifest) -> None:
    """Embed the references of a manifest, all of them: a measurement must not be short of one.

    Raises:
        ManifestError: If an item has no reference, or one cannot be read.
    """
    stage.prepare(manifest)
    if not isinstance(stage, Identifier):
        return
    told = stage.gallery_status(manifest)
    lacking = told["missing_count"]
    if lacking:
        first = told["missing"][0]
        more = f" {lacking - 1} more items have none." if lacking > 1 else ""
        raise ManifestError(
            f"item {first['item_id']!r} has no reference image: {first['reason']} Relative paths "
            f"start from identification.reference_root.{more}"
        )
    if told["unreadable"]:
        raise ManifestError(
            f"{told['unreadable']} reference images of the manifest cannot be read. `robollm "
            "gallery build FILE MANIFEST` lists them."
        )


def _best(scores: Float32Array, count: int) -> npt.NDArray[np.int64]:
    """Places of the highest scores, best first; of equals the earlier one."""
    places: npt.NDArray[np.int64] = np.arange(len(scores))
    if len(scores) > 4 * count:  # to sort 100 000 for five takes longer than to find them
        bar = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero(scores >= bar)
    found: npt.NDArray[np.int64] = places[np.argsort(-scores[places], kind="stable")][:count]
    return found


def _products(queries: Float32Array, references: Float32Array) -> Float32Array:
    """Dot products of every query and reference, (N, R).

    Some of them at a time, which BLAS does on this thread: its threads would wait for each
    other, and then take the cores from the next engine.
    """
    found = np.empty((len(queries), len(references)), np.float32)
    few = _ONE_THREAD // max(references.size, 1)
    if few:
        for start in range(0, len(queries), few):
            window = slice(start, start + few)
            np.matmul(queries[window], references.T, out=found[window])
        return found
    # many references: each is read once, for all queries
    rows = max(16, _ONE_THREAD // queries.size)
    for start in range(0, len(references), rows):
        window = slice(start, start + rows)
        found[:, window] = queries @ references[window].T
    return found
