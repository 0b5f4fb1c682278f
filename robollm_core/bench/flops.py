# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic one run of a network is, counted in its graph.

Two operations a multiply-accumulate of matrix products and convolutions; all
else (norms, softmax, activations, sampling, sorting) is left out. Sizes that
the graph leaves open are read from a run of it.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError
from robollm_core.runtime.factory import load_bare_engine
from robollm_core.types import Tensors

COUNTED = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_UNKNOWN = (
    "Attention Einsum RNN GRU LSTM DeformConv MatMulInteger ConvInteger QLinearMatMul QLinearConv"
).split()
"""Much work in forms that no network of ours has; a count without them would be wrong."""

Shape = tuple[int, ...]
_Count = Callable[[onnx.NodeProto, Shape, Shape, Shape], int]


def graph_gflop(path: Path, inputs: Sequence[Tensors]) -> list[float]:
    """Count the arithmetic of runs of a network.

    Args:
        path: the `.onnx` file.
        inputs: of each run; only sizes matter.

    Returns:
        Billions of operations, one number a run.

    Raises:
        ArtifactError: If the file is no network, or holds an operator whose work is
            not known here.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no base of their own
        raise ArtifactError(f"cannot read the graph {path}: {error}") from error
    nodes = _counted(model, path)
    if not nodes:
        return [0.0] * len(inputs)
    # each operand's size becomes an output, and nothing else is one
    del model.graph.output[:]
    for name in sorted({name for node in nodes for name in (*node.input[:2], node.output[0])}):
        told = f"{name}.size"
        model.graph.node.append(onnx.helper.make_node("Shape", [name], [told]))
        info = onnx.helper.make_tensor_value_info(told, onnx.TensorProto.INT64, [None])
        model.graph.output.append(info)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sizes.onnx"
        onnx.save_model(model, file, save_as_external_data=True, location="sizes.data")
        engine = load_bare_engine(file, RuntimeConfig(name="onnx"))
        found = [engine.run(tensors) for tensors in inputs]
    return [sum(_operations(node, sizes) for node in nodes) / 1e9 for sizes in found]


def _counted(model: onnx.ModelProto, path: Path) -> list[onnx.NodeProto]:
    for node in model.graph.node:
        inner = any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
        if inner or node.op_type in _UNKNOWN or node.domain not in ("", "ai.onnx"):
            raise ArtifactError(
                f"{path} has the node {node.name!r} of type {node.op_type}: its work cannot be "
                f"counted, only that of {', '.join(COUNTED)}. Measure the fp32 artifact."
            )
    return [node for node in model.graph.node if node.op_type in COUNTED]


def _operations(node: onnx.NodeProto, sizes: Mapping[str, npt.NDArray[np.generic]]) -> int:
    first, second, out = (
        tuple(int(size) for size in sizes[f"{name}.size"])
        for name in (*node.input[:2], node.output[0])
    )
    return 2 * _MACS[node.op_type](node, first, second, out)


def _matmul(_: onnx.NodeProto, first: Shape, second: Shape, out: Shape) -> int:
    return math.prod(out) * first[-1]


def _gemm(node: onnx.NodeProto, first: Shape, second: Shape, out: Shape) -> int:
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(out) * first[0 if turned else 1]


def _conv(_: onnx.NodeProto, first: Shape, kernel: Shape, out: Shape) -> int:
    # a kernel is (out channels, in channels of its group, ...)
    return math.prod(out) * math.prod(kernel[1:])


def _conv_transpose(_: onnx.NodeProto, first: Shape, kernel: Shape, out: Shape) -> int:
    # a kernel is (in channels, out channels of its group, ...), laid down once an input pixel
    return math.prod(first) * math.prod(kernel[1:])


_MACS: Mapping[str, _Count] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}
