# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where things are: a frame in, instances out."""

import numpy as np

from robollm_core.config import SegmentationConfig
from robollm_core.errors import ArtifactError
from robollm_core.geometry import Letterbox, paste_masks
from robollm_core.images import letterbox
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.engine import check_finite
from robollm_core.runtime.furniture import check_stage, labels
from robollm_core.types import Engine, Frame, Instance, Tensors


class Segmenter:
    """The segmentation stage: thresholds around an engine that does everything else."""

    def __init__(self, engine: Engine, sidecar: Sidecar, config: SegmentationConfig) -> None:
        """Take an engine and what its sidecar says of it.

        Args:
            engine: input "images" (1, H, W, 3) uint8; outputs "boxes" (1, K, 4)
                float32 xyxy in network pixels, "scores" (1, K), "labels" (1, K),
                "masks" (1, K, h, w) probability in the box.
            sidecar: of the same artifact; meta has "input_hw" and "labels".
            config: thresholds.

        Raises:
            ArtifactError: If the sidecar is of another stage or lacks meta.
        """
        check_stage(sidecar, "segmentation")
        size = sidecar.meta.get("input_hw")
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise ArtifactError(f"the sidecar's meta.input_hw must be [H, W], got {size!r}.")
        self._engine, self._sidecar, self.config = engine, sidecar, config
        self._input_hw = (int(size[0]), int(size[1]))
        self._labels = labels(sidecar)

    @property
    def description(self) -> str:
        """The network and the runtime in use, one line."""
        return f"{self._sidecar.sha256[:12]} on {self._engine.description}"

    def reconfigured(self, config: SegmentationConfig) -> "Segmenter":
        """The same network under other thresholds."""
        return Segmenter(self._engine, self._sidecar, config)

    def segment(self, frame: Frame) -> tuple[Instance, ...]:
        """Find every visible thing.

        Returns:
            Highest score first, boxes in source pixels; empty when there is none.

        Raises:
            NotFiniteError: If the network gives what is no number.
        """
        height, width = frame.image_rgb.shape[:2]
        box = Letterbox((height, width), self._input_hw)
        found = self._engine.run({"images": letterbox(frame.image_rgb, box)[None]})
        used = found["scores"][0] > 0.0  # the other slots of the graph hold nothing
        parts = {name: found[name][0][used] for name in ("boxes", "masks")}
        check_finite({"scores": found["scores"], **parts})
        return self.instances(found, box)

    def instances(self, found: Tensors, box: Letterbox) -> tuple[Instance, ...]:
        """Bring what the network found back to the image.

        Args:
            found: the outputs of the engine.
            box: how the image became the input of the network.

        Returns:
            As `segment`.
        """
        scores, classes = np.asarray(found["scores"][0], np.float64), found["labels"][0]
        # stable, so that equal scores keep the order of the graph
        order = np.argsort(-scores, kind="stable")
        # score 0 marks an unused slot of the graph, also for a threshold of 0; written so that a
        # score that is not a number is left out
        order = order[(scores[order] > 0.0) & (scores[order] >= self.config.score_threshold)]
        order = order[: self.config.max_instances]
        boxes = box.to_source(np.asarray(found["boxes"][0], np.float32))[order]
        masks = np.asarray(found["masks"][0], np.float32)[order]
        pasted = paste_masks(masks, boxes, box.source_hw, self.config.mask_threshold)
        return tuple(
            Instance(*one, score=float(scores[slot]), label=self._labels[int(classes[slot])])
            for slot, one in zip(order, pasted, strict=True)
            if one is not None
        )
