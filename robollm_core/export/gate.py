# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The parity gate: is a network in fewer bits, or on another runtime, still the same network?

Reference is the fp32 artifact on ONNX Runtime. Both answer the same real frames
and crops, and both are measured on the same small data set. What lies beyond
the limits is not offered.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.config import Config, RuntimeConfig
from robollm_core.errors import ArtifactError, ConfigError, ParityError
from robollm_core.evaluation.outcome import Request
from robollm_core.export.parity import (
    FEW_BITS,
    Outputs,
    check_form,
    detection_difference,
    direction_difference,
    has_detections,
    largest_difference,
    paired_detections,
)
from robollm_core.export.samples import CROPS, Scene, batches, crops, frames, scenes, triples
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import crop_spec
from robollm_core.types import Engine, Tensors

FUSION = "identification_fusion"
NETWORKS = {
    "segmentation": ("segmentation",),
    "identification": ("identification", FUSION),
    "defects": ("defects",),
}
"""Stage to its networks; one of single views has no fusion."""

METRICS = {
    "segmentation": ("mask_map50",),
    "identification": ("recall_at_1_n1", "recall_at_1_n3"),
    "defects": ("auroc", "average_precision", "accuracy", "recall_at_threshold"),
}
"""Figures of the evaluation that must not drop."""

DROP = 0.01
"""A metric may lose at most one point."""

DISTANCES: Mapping[str, Mapping[str, float]] = {
    "segmentation": {"fp32": 0.05, "fp16": 0.05, "bf16": 0.3, "int8": 0.3},
    "identification": {"fp32": 1e-3, "fp16": 1e-3, "bf16": 0.01, "int8": 0.02},
    "defects": {"fp32": 0.01, "fp16": 0.01, "bf16": 0.1, "int8": 0.2},
}
"""Stage and precision to the largest distance from the reference, where the recipe has none:
the share of detections without a partner (mean over the frames), 1 - cosine of the worst
embedding, the largest difference of a probability."""

REFERENCE = RuntimeConfig(name="onnx")


@dataclass(frozen=True, slots=True)
class Allowed:
    """How far a candidate may be from the reference.

    Attributes:
        distance: largest distance, see `DISTANCES`.
        drop: largest loss of a metric.
    """

    distance: float
    drop: float = DROP


def allowed(stage: str, precision: str, recipe: Mapping[str, Any]) -> Allowed:
    """The limits of a precision.

    Args:
        stage: a key of `NETWORKS`.
        precision: "fp32", "fp16", "bf16" or "int8".
        recipe: of the checkpoint. `gate_fp16`, `gate_bf16`, `gate_int8` and
            `gate_drop` set the limits; what is missing or 0 is as the stage has it.

    Raises:
        ConfigError: If the recipe has another thing than a number there.
    """
    found = {
        f"gate_{precision}": DISTANCES[stage][precision],
        "gate_drop": DROP,
    }
    for key, usual in found.items():
        value = recipe.get(key) or usual
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"the recipe's {key} must be a number above 0, got {value!r}.")
        found[key] = float(value)
    return Allowed(*found.values())


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is held against the reference.

    Attributes:
        artifact: its network; a fusion stands beside it.
        precision: which limits count.
        islands: what was kept in fp32, "" where nothing was converted.
        words: the precision as it is told, as `precision` if empty.
    """

    artifact: Path
    precision: str
    islands: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the gate found.

    Attributes:
        stage: a key of `NETWORKS`.
        precision: of the arithmetic, in words.
        runtime: what the candidate ran on.
        islands: what was kept in fp32, "" where nothing was converted.
        outputs: "network.output" to its "max_abs" and "cosine"; of detections,
            those of the pairs.
        distance: from the reference, see `DISTANCES`; None when it was not measured.
        limits: what was allowed.
        metrics: name to the figures of reference and candidate.
        reason: why it was refused, "" when it passed.
        note: said in place of "passed", of what was not run.
    """

    stage: str
    precision: str
    runtime: str
    islands: str = ""
    outputs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    distance: float | None = None
    limits: Allowed | None = None
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is offered."""
        return not self.reason

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        metrics = {
            name: {"reference": one, "candidate": other, "change": round(other - one, 6)}
            for name, (one, other) in self.metrics.items()
        }
        return {
            "stage": self.stage,
            "precision": self.precision,
            "runtime": self.runtime,
            "islands": self.islands,
            "outputs": {name: dict(found) for name, found in self.outputs.items()},
            "distance": self.distance,
            "limit": None if self.limits is None else self.limits.distance,
            "largest_drop": None if self.limits is None else self.limits.drop,
            "metrics": metrics,
            "passed": self.passed,
            "verdict": self.reason or self.note or "passed",
        }


class Gate:
    """The reference of a stage, asked once, against which candidates are held."""

    def __init__(self, stage: str, artifact: Path, data: Path, pictures: Sequence[Scene]) -> None:
        """Load the reference and let it answer.

        Args:
            stage: a key of `NETWORKS`.
            artifact: its fp32 network; a fusion stands beside it.
            data: set in ARMBench's layout of the stage, with the split test.
            pictures: frames and what they show.

        Raises:
            ArtifactError: If a network is missing or not what it should be.
            ParityError: If the pictures show too little, or the reference finds
                nothing on them.
        """
        self.stage, self.data = stage, data
        self.artifacts = networks_beside(stage, artifact)
        self.sidecars = {name: load_artifact(path)[1] for name, path in self.artifacts.items()}
        engines = {name: load_engine(path, REFERENCE) for name, path in self.artifacts.items()}
        self.inputs = _inputs(self.sidecars, engines, pictures or scenes())
        self._expected = {
            name: [engine.run(one) for one in self.inputs[name]] for name, engine in engines.items()
        }
        self._metrics: dict[str, float] = {}
        found = self._expected.get("segmentation")
        if found is not None and not any(map(has_detections, found)):
            raise ParityError(
                f"{artifact} finds nothing on any of {len(found)} frames, so nothing can be "
                "compared. Train it for longer, or lower the score_threshold of its recipe."
            )

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Of the checkpoint."""
        return self.sidecars[self.stage].recipe

    def reference(self) -> Verdict:
        """What the reference itself reaches on the data set.

        Raises:
            DatasetError: If the data set is not as it should be.
        """
        limits = allowed(self.stage, "fp32", self.recipe)
        words = load_engine(self.artifacts[self.stage], REFERENCE).description
        verdict = Verdict(self.stage, "fp32", words, limits=limits, note="reference")
        return self._measure(verdict, self.artifacts[self.stage], REFERENCE)

    def judge(self, candidate: Candidate, runtime: RuntimeConfig) -> Verdict:
        """Hold a candidate against the reference.

        Args:
            candidate: what is judged.
            runtime: what it runs on.

        Returns:
            What was found; the data set is measured only where the outputs are near.

        Raises:
            RuntimeUnavailableError: If the runtime is not there.
            DatasetError: If the data set is not as it should be.
        """
        artifact, precision = candidate.artifact, candidate.precision
        limits = allowed(self.stage, precision, self.recipe)
        words, islands = candidate.words or precision, candidate.islands
        verdict = Verdict(self.stage, words, runtime.name, islands, limits=limits)
        try:
            engines = {
                name: load_engine(path, runtime)
                for name, path in networks_beside(self.stage, artifact).items()
            }
            verdict = replace(verdict, runtime=next(iter(engines.values())).description)
            verdict = self._compare(verdict, engines)
        except (ParityError, ArtifactError) as error:
            return replace(verdict, reason=f"refused: {error}")
        return verdict if verdict.reason else self._measure(verdict, artifact, runtime)

    def _compare(self, verdict: Verdict, engines: Mapping[str, Engine]) -> Verdict:
        outputs: dict[str, dict[str, float]] = {}
        distances = []
        for name, expected in self._expected.items():
            pairs = [
                (one, engines[name].run(tensors))
                for one, tensors in zip(expected, self.inputs[name], strict=True)
            ]
            for one, other in pairs:
                check_form(one, other)
            found = _closeness(name, pairs)
            outputs |= {f"{name}.{output}": figures for output, figures in found.items()}
            distances.append(_distance(name, pairs))
        distance = max(distances)
        assert verdict.limits is not None
        far = not distance <= verdict.limits.distance
        reason = f"too far: {distance:.3g}, allowed {verdict.limits.distance:.3g}" if far else ""
        return replace(verdict, outputs=outputs, distance=distance, reason=reason)

    def _measure(self, verdict: Verdict, artifact: Path, runtime: RuntimeConfig) -> Verdict:
        if not self._metrics:
            self._metrics = self._figures(self.artifacts[self.stage], REFERENCE)
        same = (artifact, runtime) == (self.artifacts[self.stage], REFERENCE)
        found = self._metrics if same else self._figures(artifact, runtime)
        metrics = {name: (value, found[name]) for name, value in self._metrics.items()}
        if not metrics:
            wanted = ", ".join(METRICS[self.stage])
            return replace(verdict, reason=f"refused: the evaluation gave none of {wanted}")
        assert verdict.limits is not None
        drops = {name: one - other for name, (one, other) in metrics.items()}
        worst = max(drops, key=lambda name: drops[name])
        # figures are rounded: a drop of exactly the limit is allowed
        lost = not drops[worst] <= verdict.limits.drop + 1e-9
        reason = (
            f"{worst} drops by {drops[worst]:.4f}, allowed {verdict.limits.drop:.4f}"
            if lost
            else ""
        )
        return replace(verdict, metrics=metrics, reason=reason)

    def _figures(self, artifact: Path, runtime: RuntimeConfig) -> dict[str, float]:
        room = importlib.import_module(f"robollm_core.evaluation.{self.stage}")
        config = replace(Config(), runtime=runtime)
        figures = room.evaluate(Request(self.data, artifact, config=config)).figures
        return {
            name: float(figures[name]["value"]) for name in METRICS[self.stage] if name in figures
        }


def networks_beside(stage: str, artifact: Path) -> dict[str, Path]:
    """The networks of a stage: the one that is named, and its fusion where it has one.

    Raises:
        ArtifactError: If the network is missing, damaged or of another stage.
    """
    path, sidecar = load_artifact(artifact.resolve())
    if sidecar.stage != stage:
        raise ArtifactError(f"{path} is of stage {sidecar.stage!r}, expected {stage!r}.")
    found = {stage: path}
    fusion = path.with_name(f"{path.stem}_fusion.onnx")
    if stage == "identification" and fusion.is_file():
        found[FUSION] = fusion
    return found


def _inputs(
    sidecars: Mapping[str, Sidecar], engines: Mapping[str, Engine], pictures: Sequence[Scene]
) -> dict[str, list[Tensors]]:
    if "segmentation" in sidecars:
        return {"segmentation": frames(sidecars["segmentation"], pictures)}
    stage, sidecar = next(iter(sidecars.items()))
    images = crops(crop_spec(sidecar), pictures, sum(CROPS))
    found = {stage: batches(images, sidecar.spec.inputs[0].name)}
    if FUSION in sidecars:
        found[FUSION] = triples(engines[stage], images)
    return found


def _distance(name: str, pairs: Sequence[tuple[Outputs, Outputs]]) -> float:
    if name == "segmentation":
        shares = [detection_difference(*pair, FEW_BITS)["unmatched"] for pair in pairs]
        return float(np.mean(shares))
    measure = largest_difference if name == "defects" else direction_difference
    return max(max(measure(*pair).values()) for pair in pairs)


def _closeness(name: str, pairs: Sequence[tuple[Outputs, Outputs]]) -> dict[str, dict[str, float]]:
    """Largest absolute difference and cosine of each output, over all inputs together."""
    if name == "segmentation":
        pairs = [paired_detections(*pair, FEW_BITS) for pair in pairs]
    found = {}
    for output in pairs[0][0]:
        left, right = (_flat([pair[side][output] for pair in pairs]) for side in (0, 1))
        norms = float(np.linalg.norm(left) * np.linalg.norm(right))
        found[output] = {
            "max_abs": float(np.abs(left - right).max(initial=0.0)),
            "cosine": float(left @ right) / norms if norms else 1.0,
        }
    return found


def _flat(arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.float64]:
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])
