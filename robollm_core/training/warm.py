# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run starts: with the weights of another run, or of an exported network.

An artifact holds all weights of its network, rounded to half precision, so the
shipped networks can be trained further without their checkpoints.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from robollm_core.beit3.checkpoint import Checkpoint, load_encoder, load_model, read_checkpoint
from robollm_core.beit3.encoder import PATCH, Encoder, resize_positions
from robollm_core.beit3.layouts import PREFIX
from robollm_core.errors import ArtifactError, CheckpointError
from robollm_core.export.onnx import is_weight
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.furniture import reference_scale
from robollm_core.training.teachers import taught_by

_HALF = ".fp16"
_GRAPHS = {"segmentation": "detector.", "identification": "", "defects": "model."}
"""What the exported graph of a stage puts before the names of its network."""
_FUSION = "model."
_DETECTOR = "backbone."


Origin = tuple[Mapping[str, str], ...]
"""The runs a network has its weights from, oldest first: "stage", "file" and "sha256" of
each, and "teacher", what the cards say of it, where it had one. A teacher that was read from a
file is a run of the stage "teacher", after the runs its own weights come from."""


def warm_start(network: nn.Module, encoder: Encoder, stage: str, path: Path | str) -> Origin:
    """Take the whole network from a run of the same stage, the encoder from any other.

    A released identification network has other heads: its encoder alone is taken.

    Args:
        network: what is to be trained.
        encoder: its encoder; positions are resized to its grid.
        stage: of the network.
        path: a checkpoint, or an artifact `x.onnx` with its sidecar; "" leaves
            the network as it is.

    Returns:
        Where the weights come from.

    Raises:
        CheckpointError: If it cannot be read or is of other sizes; nothing is
            then changed.
    """
    if path == "":
        return ()
    start = read_start(Path(path))
    if start.meta.get("stage") == stage and not _is_released(start.recipe):
        load_model(network, start)
    else:
        load_encoder(encoder, encoder_alone(start, encoder))
    return lineage(start)


def lineage(start: Checkpoint) -> Origin:
    """Where weights come from: the runs before theirs, and their own, which is the last."""
    own = {"stage": start.meta.get("stage", "unknown"), "file": start.file, "sha256": start.sha256}
    before = start.meta.get("origin", ())
    teacher = taught_by(start.recipe, before)
    if teacher:
        own["teacher"] = teacher
    return (*before, {key: str(value) for key, value in own.items()})


def read_start(path: Path) -> Checkpoint:
    """Read weights to start from.

    Args:
        path: a checkpoint, or an artifact of `robollm export`: `x.onnx` beside
            its sidecar, for identification also `x_fusion.onnx`.

    Raises:
        CheckpointError: If it is missing, damaged or of no known layout.
    """
    return read_artifact(path) if path.suffix == ".onnx" else read_checkpoint(path)


def read_artifact(path: Path) -> Checkpoint:
    """The weights inside an artifact, as the checkpoint it came from named them.

    Raises:
        CheckpointError: If the artifact is missing or changed, or of no stage
            that is trained.
    """
    try:
        found, sidecar = load_artifact(path.resolve() if path.exists() else path)
        if sidecar.stage not in _GRAPHS:
            raise CheckpointError(
                f"{path} is of stage {sidecar.stage!r}; start from one of {', '.join(_GRAPHS)}."
            )
        tensors = _weights(found, _GRAPHS[sidecar.stage])
        if sidecar.stage == "identification" and not _is_released(sidecar.recipe):
            tensors |= _matching_parts(found, sidecar)
    except ArtifactError as error:
        raise CheckpointError(f"cannot start from {path}: {error}") from error
    meta = {"stage": sidecar.stage, "recipe": dict(sidecar.recipe)}
    meta["origin"] = sidecar.meta.get("origin", [])
    return Checkpoint(tensors, meta, path.name, sidecar.sha256)


def _is_released(recipe: Mapping[str, Any]) -> bool:
    return "released" in (recipe.get("model") or {})


def _matching_parts(path: Path, sidecar: Sidecar) -> dict[str, Tensor]:
    """What of the identification network stands outside its one-view graph."""
    fusion, _ = load_artifact(path.with_name(f"{path.stem}_fusion.onnx"))
    parts = {
        name: tensor for name, tensor in _weights(fusion, _FUSION).items() if "fusion." in name
    }
    scale = reference_scale(sidecar)
    return {**parts, "log_scale": torch.tensor(math.log(scale))} if math.isfinite(scale) else parts


def _weights(path: Path, prefix: str) -> dict[str, Tensor]:
    try:
        graph = onnx.load(path).graph
        found = {name.removeprefix(prefix): tensor for name, tensor in _named(graph)}
        return _joined(found)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"cannot read the weights in {path}: {error}") from error


def _named(graph: onnx.GraphProto) -> Iterator[tuple[str, Tensor]]:
    """Initialisers under the names of the parameters they were.

    The exporter keeps the names, but stores the weight of a linear layer that
    became a MatMul transposed and without one; the path of the node tells it.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for name in stored:
        if is_weight(name):
            yield name.removesuffix(_HALF), _tensor(stored[name])
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        weight = source.get(node.input[1], node.input[1]) if node.op_type == "MatMul" else ""
        if weight in stored:
            layer = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            yield f"{layer}.weight", _tensor(stored[weight]).T.contiguous()


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One projection of an attention again, which `export.forms` cuts in three."""
    joined = dict(tensors)
    for name in tensors:
        path, _, kind = name.rpartition(".")
        if path.endswith(".attention.query"):
            attention = path.removesuffix("query")
            thirds = [f"{attention}{part}.{kind}" for part in ("query", "key", "value")]
            joined[f"{attention}qkv.{kind}"] = torch.cat([joined.pop(third) for third in thirds])
    return joined


def _tensor(stored: onnx.TensorProto) -> Tensor:
    values = torch.from_numpy(numpy_helper.to_array(stored).copy())
    return values.float() if values.is_floating_point() else values


def encoder_alone(start: Checkpoint, encoder: Encoder) -> Checkpoint:
    """The encoder's weights; those of a detector have a prefix and a grid of their own."""
    own = encoder_tensors(start)
    grid = input_grid(start.recipe)
    positions = own.get(PREFIX + "positions")
    if grid and positions is not None and positions.shape[1] == 1 + grid[0] * grid[1]:
        own[PREFIX + "positions"] = resize_positions(positions, grid, encoder.shape.grid)
    return replace(start, tensors=own)


def encoder_tensors(start: Checkpoint) -> dict[str, Tensor]:
    """The encoder's weights under the names of `PREFIX`, whatever network it is part of."""
    names = {name: name.removeprefix(_DETECTOR) for name in start.tensors}
    return {new: start.tensors[old] for old, new in names.items() if new.startswith(PREFIX)}


def input_grid(recipe: Mapping[str, object]) -> tuple[int, int] | None:
    """The patch grid of a detector's input; None for a recipe of another stage."""
    height, width = recipe.get("input_height"), recipe.get("input_width")
    if isinstance(height, int) and isinstance(width, int):
        return height // PATCH, width // PATCH
    return None
