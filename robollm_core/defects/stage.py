# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Whether something is wrong with each instance."""

from collections.abc import Sequence

import numpy as np

from robollm_core.config import DefectsConfig
from robollm_core.crops import FrameCrops
from robollm_core.errors import ArtifactError
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.engine import check_finite
from robollm_core.runtime.furniture import check_stage, crop_spec, labels, run_batches
from robollm_core.types import (
    DEFECT_LABELS,
    Crops,
    DefectReport,
    Engine,
    Float32Array,
    Frame,
    Instance,
)

_NOMINAL = DEFECT_LABELS.index("nominal")


class Inspector:
    """The defect stage: one classification a crop."""

    def __init__(self, engine: Engine, sidecar: Sidecar, config: DefectsConfig) -> None:
        """Take an engine and what its sidecar says of it.

        Args:
            engine: input "images" (N, S, S, 3) uint8, output "probabilities"
                (N, 3) float32 in the order of `DEFECT_LABELS`.
            sidecar: of the same artifact; meta has "crop" and "labels".
            config: threshold.

        Raises:
            ArtifactError: If the sidecar is of another stage, lacks meta or
                has other classes.
        """
        check_stage(sidecar, "defects")
        if labels(sidecar) != DEFECT_LABELS:
            raise ArtifactError(
                f"a defect network must have the classes {DEFECT_LABELS} in this order, "
                f"got {labels(sidecar)}."
            )
        self._engine, self._sidecar, self.config = engine, sidecar, config
        self._crop = crop_spec(sidecar)

    @property
    def description(self) -> str:
        """The network and the runtime in use, one line."""
        return f"{self._sidecar.sha256[:12]} on {self._engine.description}"

    def reconfigured(self, config: DefectsConfig) -> "Inspector":
        """The same network under another threshold."""
        return Inspector(self._engine, self._sidecar, config)

    def inspect(
        self, frame: Frame, instances: Sequence[Instance], crops: Crops | None = None
    ) -> tuple[DefectReport, ...]:
        """Judge each instance; one report an instance, in order.

        Args:
            frame: the camera image.
            instances: what was found on it.
            crops: of the same instances, to share with other stages.

        Raises:
            NotFiniteError: If the network gives what is no number.
        """
        if not instances:
            return ()
        cut = (crops or FrameCrops(frame, instances)).cut(self._crop)
        rows = run_batches(self._engine, cut, "probabilities")
        check_finite({"probabilities": rows})
        return tuple(self._report(row) for row in rows)

    def _report(self, row: Float32Array) -> DefectReport:
        multi_pick, nominal, package = (float(p) for p in row)
        score = min(max(1.0 - nominal, 0.0), 1.0)
        flaws = np.where(np.arange(len(row)) == _NOMINAL, -1.0, row)
        flagged = score >= self.config.threshold
        label = DEFECT_LABELS[int(np.argmax(flaws))] if flagged else DEFECT_LABELS[_NOMINAL]
        return DefectReport((multi_pick, nominal, package), label, score)
