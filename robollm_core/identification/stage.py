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

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robollm_core.config import IdentificationConfig
from robollm_core.crops import FrameCrops
from robollm_core.errors import ArtifactError
from robollm_core.identification.gallery import Gallery, item_scores
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
    Instance,
    Manifest,
)

_ONE_THREAD = 2**18
"""Multiplications up to which OpenBLAS does not wake its threads."""


class Identifier:
    """The identification stage: nearest reference among the items of the manifest."""

    def __init__(self, engine: Engine, sidecar: Sidecar, config: IdentificationConfig) -> None:
        """Take an engine and what its sidecar says of it.

        Args:
            engine: input "images" (N, S, S, 3) uint8, output "embedding" (N, D)
                float32, of unit length in native scoring; perhaps "reference".
            sidecar: of the same artifact; meta has "crop" and perhaps "scale" or
                "scoring".
            config: thresholds and the root of the reference images.

        Raises:
            ArtifactError: If the sidecar is of another stage or lacks meta, or the
                network cannot name a thing from one view.
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
        root, output = Path(config.reference_root), reference_output(sidecar)
        self._gallery = Gallery(engine, self._crop, sidecar.sha256, root, output)

    @property
    def description(self) -> str:
        """The network and the runtime in use, one line."""
        return f"{self._sidecar.sha256[:12]} on {self._engine.description}"

    def reconfigured(self, config: IdentificationConfig) -> "Identifier":
        """The same network under other thresholds; embeddings are kept while the root stays."""
        other = Identifier(self._engine, self._sidecar, config)
        if config.reference_root == self.config.reference_root:
            other._gallery = self._gallery
        return other

    def prepare(self, manifest: Manifest) -> None:
        """Embed the references of a manifest ahead of its first frame.

        Raises:
            ManifestError: If a reference image is missing or broken.
        """
        self._gallery.references(manifest)

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
            One answer an instance, in order; without a manifest, or with none
            of its items left, every answer is empty.

        Raises:
            ManifestError: If a reference image is missing or broken.
        """
        if manifest is None or not instances:
            return tuple(Identification() for _ in instances)
        references = self._gallery.references(manifest)
        if not references.item_ids:
            return tuple(Identification() for _ in instances)
        cut = (crops or FrameCrops(frame, instances)).cut(self._crop)
        queries = run_batches(self._engine, cut, "embedding")
        similarity = _products(queries, references.embeddings)
        scores = item_scores(similarity, references.starts, self._scale)
        if not self._raw:  # rounding may lift the cosine of equal vectors above 1
            scores = np.clip(scores, -1.0, 1.0)
        unit = float(queries.shape[1]) if self._raw else 1.0
        return tuple(self._answer(references.item_ids, row, unit) for row in scores)

    def _answer(self, item_ids: Sequence[str], scores: Float32Array, unit: float) -> Identification:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order].astype(float)
        lead = ranked[0] - ranked[1] if len(ranked) > 1 else np.inf
        similar = ranked[0] / unit >= self.config.min_similarity
        accepted = similar and lead / unit >= self.config.min_margin
        candidates = tuple(
            (item_ids[index], score) for index, score in zip(order, ranked.tolist(), strict=True)
        )
        return Identification(
            candidates=candidates[: self.config.top_k],
            item_id=candidates[0][0] if accepted else "",
        )


def _products(queries: Float32Array, references: Float32Array) -> Float32Array:
    """Dot products of every query and reference, (N, R).

    A few queries at a time, which BLAS does on this thread: its threads would wait for
    each other, and then take the cores from the next engine.
    """
    few = max(1, _ONE_THREAD // max(references.size, 1))
    found = np.empty((len(queries), len(references)), np.float32)
    for start in range(0, len(queries), few):
        window = slice(start, start + few)
        np.matmul(queries[window], references.T, out=found[window])
    return found
