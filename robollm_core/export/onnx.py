# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A torch module as an ONNX graph with its weights stored in half precision.

Weights are rounded to fp16 once, in torch; storing them so afterwards loses
nothing, and the graph computes in fp32 on every runtime. torch's tracing
exporter is used: it needs no further package and leaves plain nodes.
"""

import copy
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from robollm_core.errors import ParityError
from robollm_core.export.forms import fusible
from robollm_core.export.large import serialise, without_weights

OPSET = 17
PRECISION = "fp16 weights"
_LARGE = 1024
_BATCH = "n"


@dataclass(frozen=True, slots=True, eq=False)
class GraphPlan:
    """What the graph of a module shall look like.

    Attributes:
        inputs: name to example tensor, in the order `forward` takes them.
        outputs: names, in the order `forward` returns them.
        free_batch: axis 0 of every input and output takes any size.
    """

    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    free_batch: bool


def round_weights(module: nn.Module) -> nn.Module:
    """A copy whose large fp32 parameters hold values that fp16 can store.

    Buffers stay as they are: anchors and grids must not move. A parameter with
    values beyond the range of fp16 stays too, and costs its full size.
    """
    rounded = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    for parameter in rounded.parameters():
        half = parameter.half()
        if parameter.numel() >= _LARGE and bool(half.isfinite().all()):
            parameter.copy_(half)
    return rounded


def build_graph(module: nn.Module, plan: GraphPlan) -> bytes:
    """Trace a module into an ONNX file.

    Args:
        module: what `round_weights` returned; other weights stay fp32.
        plan: names, examples and whether the batch is free.

    Returns:
        The bytes of the file, the same for the same module and plan; a
        `LargeNetwork` if one file cannot hold it.

    Raises:
        ParityError: If the module cannot be expressed in ONNX.
    """
    try:
        with fusible(module.eval()):
            model = _trace(module, plan)
        with torch.inference_mode():
            outputs = module(*plan.inputs.values())
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ParityError(
            f"{type(module).__name__} cannot be expressed in ONNX: {error}"
        ) from error
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    _state_shapes(model, outputs, free_batch=plan.free_batch)
    fold(model)
    store_half(model)
    return serialise(model)


def _trace(module: nn.Module, plan: GraphPlan) -> onnx.ModelProto:
    axes = {name: {0: _BATCH} for name in (*plan.inputs, *plan.outputs)} if plan.free_batch else {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every constant it bakes in
        file = Path(folder) / "graph.onnx"
        with torch.inference_mode():
            torch.onnx.export(
                module,
                tuple(plan.inputs.values()),
                str(file),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(plan.inputs),
                output_names=list(plan.outputs),
                dynamic_axes=axes,
            )
        return onnx.load(file)


def _state_shapes(model: onnx.ModelProto, outputs: tuple[Tensor, ...], *, free_batch: bool) -> None:
    """Write the sizes the outputs have; tracing knows the values, not always the sizes."""
    for node, output in zip(model.graph.output, outputs, strict=True):
        sizes: list[int | str] = list(output.shape)
        if free_batch:
            sizes[0] = _BATCH
        kind = node.type.tensor_type.elem_type
        node.CopyFrom(onnx.helper.make_tensor_value_info(node.name, kind, sizes))


def fold(model: onnx.ModelProto) -> None:
    """Compute what follows from constants and sizes here, not whenever a runtime starts.

    Args:
        model: changed in place; its weights stay as they are, under their names, so that a
            training can start from the file.
    """
    light = without_weights(model, {t.name for t in model.graph.initializer if is_weight(t.name)})
    # its fusions would put reshapes around every matrix product
    folded = onnxslim.slim(light, skip_optimizations=["graph_fusion"])
    del model.graph.node[:]
    model.graph.node.extend(folded.graph.node)
    used = {name for node in folded.graph.node for name in node.input}
    settled = {tensor.name for tensor in light.graph.initializer}
    settled |= {tensor.name for tensor in folded.graph.initializer}
    for index in reversed(range(len(model.graph.initializer))):
        name = model.graph.initializer[index].name
        if name in settled or name not in used:
            del model.graph.initializer[index]
    model.graph.initializer.extend(folded.graph.initializer)


def is_weight(name: str) -> bool:
    """Whether an initialiser is a parameter under its name, not a number made while tracing."""
    return "::" not in name and not name.startswith("/")


def store_half(model: onnx.ModelProto) -> int:
    """Store large fp32 constants that lose nothing as fp16, each cast back in the graph.

    Args:
        model: changed in place.

    Returns:
        How many were converted.
    """
    graph = model.graph
    # nodes must follow what they read: casts of initialisers go first
    nodes = [_halve(t, t.name) for t in graph.initializer if _fits_half(t)]
    count = len(nodes)
    for node in graph.node:
        nodes.append(node)
        tensor = _constant(node)
        if tensor is not None and _fits_half(tensor):
            nodes.append(_halve(tensor, node.output[0]))
            node.output[0] = tensor.name
            count += 1
    nodes = [copy.deepcopy(node) for node in nodes]  # clearing the list empties its members
    del graph.node[:]
    graph.node.extend(nodes)
    return count


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor inside a Constant node, to be changed in place; None for other nodes."""
    if node.op_type != "Constant" or node.attribute[0].name != "value":
        return None
    tensor: onnx.TensorProto = node.attribute[0].t
    return tensor


def _fits_half(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) < _LARGE:
        return False
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float16).astype(np.float32), values)


def _halve(tensor: onnx.TensorProto, name: str) -> onnx.NodeProto:
    """Turn a tensor into its fp16 form in place; the node that gives `name` back in fp32."""
    half = numpy_helper.to_array(tensor).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
    kind = onnx.TensorProto.FLOAT
    return onnx.helper.make_node("Cast", [f"{name}.fp16"], [name], f"{name}.cast", to=kind)
