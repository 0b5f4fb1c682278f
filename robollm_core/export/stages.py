# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What each stage exports, on what it is compared, and how strictly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from robollm_core.beit3.checkpoint import Checkpoint, read_checkpoint
from robollm_core.beit3.encoder import Encoder
from robollm_core.beit3.layouts import NATIVE, RELEASED
from robollm_core.config import RuntimeConfig
from robollm_core.errors import CheckpointError, ParityError
from robollm_core.export.large import laid_out
from robollm_core.export.onnx import OPSET, PRECISION, GraphPlan, build_graph, round_weights
from robollm_core.export.parity import (
    ROUNDED,
    Limits,
    check_parity,
    detection_difference,
    direction_difference,
    has_detections,
    largest_difference,
)
from robollm_core.export.sizes import Size
from robollm_core.identification.released import OUR_VIEWS, Released, ThreeViewNetwork
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.onnx import OnnxEngine, graph_spec
from robollm_core.runtime.torch import TorchEngine, graph_loader, sized
from robollm_core.types import DEFECT_LABELS, OBJECT_LABEL, Tensors, UInt8Array

BATCHES = (2, 5, 1)
"""Batch sizes a free batch is tried with; tracing sees the first, which must not be 1."""


@dataclass(frozen=True, slots=True, eq=False)
class StagePlan:
    """How one stage is exported.

    Attributes:
        outputs: names, in the order `forward` returns them.
        free_batch: whether the batch is free.
        graph: the graph against the module, both with rounded weights: strict.
        rounding: the graph against the module as it was trained: what storing
            weights in half precision may cost.
    """

    outputs: tuple[str, ...]
    free_batch: bool
    graph: Limits
    rounding: Limits


PLANS = {
    "segmentation": StagePlan(
        ("boxes", "scores", "labels", "masks"),
        free_batch=False,
        graph=Limits(
            detection_difference, {"scores": 1e-3, "unmatched": 0.05}, tells=has_detections
        ),
        # a network that was damaged has no partner for any detection; two boxes that change
        # places in suppression take a few others along
        rounding=Limits(
            partial(detection_difference, near=ROUNDED),
            {"scores": 0.05, "unmatched": 0.25},
            tells=has_detections,
        ),
    ),
    "identification": StagePlan(
        ("embedding", "feature"),
        free_batch=True,
        graph=Limits(largest_difference, {"embedding": 1e-4, "feature": 1e-3}),
        rounding=Limits(direction_difference, {"embedding": 1e-3, "feature": 1e-3}),
    ),
    "identification_fusion": StagePlan(
        ("embedding",),
        free_batch=True,
        graph=Limits(largest_difference, {"embedding": 1e-4}),
        rounding=Limits(direction_difference, {"embedding": 1e-3}),
    ),
    "defects": StagePlan(
        ("probabilities",),
        free_batch=True,
        graph=Limits(largest_difference, {"probabilities": 1e-4}),
        rounding=Limits(largest_difference, {"probabilities": 0.02}),
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A network that passed its comparison and may be written.

    Attributes:
        network: bytes of the ONNX file.
        sidecar: what to write beside it.
        differences: largest differences found, by name.
    """

    network: bytes
    sidecar: Sidecar
    differences: Mapping[str, float]


def networks_of(stage: str, checkpoint: Path) -> tuple[str, ...]:
    """Which networks a checkpoint is exported as.

    Args:
        stage: "segmentation", "identification" or "defects".
        checkpoint: the file.

    Returns:
        Keys of `PLANS`; identification has its 3-view path apart, if it has one.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    if stage != "identification":
        return (stage,)
    views = read_checkpoint(checkpoint).meta.get("views", [1, len(OUR_VIEWS)])
    return ("identification", "identification_fusion") if len(OUR_VIEWS) in views else (stage,)


def plan_of(stage: str, module: nn.Module) -> StagePlan:
    """How a module is exported; the outputs of a released network are its own.

    Embeddings that are no unit vectors are compared as features are.
    """
    plan = PLANS[stage]
    if isinstance(module, Released):
        outputs = module.outputs
    elif stage == "identification_fusion" and isinstance(module.model, ThreeViewNetwork):
        outputs = plan.outputs
    else:
        return plan
    return replace(
        plan,
        outputs=outputs,
        graph=Limits(largest_difference, dict.fromkeys(outputs, 1e-3)),
        rounding=Limits(direction_difference, dict.fromkeys(outputs, 1e-3)),
    )


def build_candidate(
    stage: str, checkpoint: Path, rebuild: str, size: Size | None = None
) -> Candidate:
    """Export the network of a checkpoint and compare it with its origin.

    Args:
        stage: a key of `PLANS`.
        checkpoint: what `robollm train` or `robollm convert` wrote.
        rebuild: the command that does this again.
        size: (height, width) in pixels of the input; None for the recipe's.

    Raises:
        CheckpointError: If the checkpoint is of another stage or does not fit.
        ParityError: If the exported network answers differently, or would with
            one more round of suppression.
    """
    source = read_checkpoint(checkpoint)
    # the fusion network is a part of the identification checkpoint
    if source.meta.get("stage") != stage.removesuffix("_fusion"):
        raise CheckpointError(
            f"{checkpoint} holds stage {source.meta.get('stage', 'unknown')!r}, not {stage!r}."
        )
    module = sized(graph_loader(stage)(checkpoint), size)
    samples = _samples(stage, module, source)
    if stage == "segmentation":
        check_settled(module, samples)
    network, differences = compare(module, samples, plan_of(stage, module))
    with laid_out(network) as form:
        spec = graph_spec(form)
    sidecar = Sidecar(
        stage=stage,
        spec=spec,
        precision=PRECISION,
        opset=OPSET,
        source_checkpoint={"file": source.file, "sha256": source.sha256},
        recipe=source.recipe,
        rebuild=rebuild,
        meta=_meta(stage, module, source),
    )
    return Candidate(network, sidecar, differences)


def compare(
    module: nn.Module, samples: Sequence[Tensors], plan: StagePlan
) -> tuple[bytes, dict[str, float]]:
    """Export any module and run it beside its origin.

    Args:
        module: takes the arrays of a sample in order.
        samples: inputs to compare on; the first gives the traced shapes.
        plan: outputs and limits.

    Returns:
        The bytes of the ONNX file, and the largest differences: "graph.x" for
        the graph alone, "rounding.x" with the rounding of weights.

    Raises:
        ParityError: If the two disagree.
    """
    rounded = round_weights(module)
    examples = {name: torch.from_numpy(array.copy()) for name, array in samples[0].items()}
    network = build_graph(rounded, GraphPlan(examples, plan.outputs, plan.free_batch))
    config = RuntimeConfig()
    with laid_out(network) as form:
        spec = graph_spec(form)
        candidate = OnnxEngine(form, spec, config)
    found: dict[str, float] = {}
    for kind, origin, limits in (
        ("graph", rounded, plan.graph),
        ("rounding", module, plan.rounding),
    ):
        worst = check_parity(TorchEngine(origin, spec, config), candidate, samples, limits)
        found |= {f"{kind}.{name}": value for name, value in worst.items()}
    return network, found


def check_settled(detector: nn.Module, samples: Sequence[Tensors]) -> None:
    """See that the fixed rounds of suppression reach its end on the trial pictures.

    Args:
        detector: the graph of a detector; has `rounds` and `settled(images)`.
        samples: inputs with "images".

    Raises:
        ParityError: If one more round would change an answer.
    """
    graph = cast(Any, detector)
    for number, tensors in enumerate(samples):
        if not graph.settled(torch.from_numpy(tensors["images"])):
            raise ParityError(
                f"suppression is not at its end after {graph.rounds} rounds on input {number}: "
                "boxes would be reported twice. Raise ROUNDS in robollm_core/segmentation/"
                "suppress.py, or lower rpn_pre in the recipe. Nothing was written."
            )


def trial_pictures(count: int, image_hw: tuple[int, int], seed: int) -> UInt8Array:
    """Pictures that excite a network: flat patches of colour, some under noise.

    Returns:
        (count, H, W, 3) uint8, the same for the same arguments.
    """
    rng = np.random.default_rng(seed)
    height, width = image_hw
    pictures = np.empty((count, height, width, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        picture[:] = rng.integers(0, 256, 3, dtype=np.uint8)
        for _ in range(12):
            top, left = rng.integers(0, height), rng.integers(0, width)
            high, wide = rng.integers(height // 8, height // 2), rng.integers(8, width // 2)
            picture[top : top + high, left : left + wide] = rng.integers(0, 256, 3)
        if number % 2:
            noise = rng.normal(0.0, 25.0, picture.shape)
            picture[:] = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return pictures


def _samples(stage: str, module: nn.Module, source: Checkpoint) -> list[Tensors]:
    if stage == "segmentation":
        pictures = trial_pictures(4, _input_hw(module, source), seed=0)
        return [{"images": picture[None]} for picture in pictures]
    if stage == "identification_fusion":
        width = source.tensors["encoder.norm.weight"].shape[0]
        rng = np.random.default_rng(0)
        # features leave a LayerNorm: zero mean, unit variance
        return [
            {"features": rng.standard_normal((batch, 3, width)).astype(np.float32)}
            for batch in BATCHES
        ]
    encoder = module.get_submodule("encoder" if stage == "identification" else "model.encoder")
    assert isinstance(encoder, Encoder)
    image_hw = encoder.shape.image_hw
    return [{"images": trial_pictures(batch, image_hw, seed=batch)} for batch in BATCHES]


def _meta(stage: str, module: nn.Module, source: Checkpoint) -> dict[str, Any]:
    origin = source.meta.get("origin")
    return {**_stage_meta(stage, module, source), **({"origin": origin} if origin else {})}


def _stage_meta(stage: str, module: nn.Module, source: Checkpoint) -> dict[str, Any]:
    if stage == "segmentation":
        labels = getattr(module, "labels", (OBJECT_LABEL,))
        return {"input_hw": list(_input_hw(module, source)), "labels": list(labels)}
    spec = source.recipe.get("crop")
    if not isinstance(spec, dict):
        raise CheckpointError(f"the recipe in {source.file} must hold the crop, got {spec!r}.")
    told = {}
    if source.meta.get("scoring", NATIVE) == RELEASED:
        names = ("scoring", "views", "view_order")
        told = {name: source.meta[name] for name in names if name in source.meta}
    if stage == "defects":
        return {"crop": spec, "labels": list(DEFECT_LABELS), **told}
    if told:
        return {"crop": spec, **told}
    log_scale = source.tensors["log_scale"].float()
    scale = round(float(log_scale.exp()), 4)
    return {"crop": spec, "scale": scale, "scoring": NATIVE}


def _input_hw(module: nn.Module, source: Checkpoint) -> tuple[int, int]:
    size = getattr(module, "input_hw", None) or source.recipe.get("input_hw")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise CheckpointError(
            f"the segmentation graph or its recipe must say input_hw (H, W), got {size!r}."
        )
    return int(size[0]), int(size[1])
