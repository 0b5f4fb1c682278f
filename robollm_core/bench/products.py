# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs of plain products of square matrices, for runtimes to show what they can do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robollm_core.runtime.artifact import Sidecar, write_artifact
from robollm_core.types import EngineSpec, TensorSpec

_Nodes = tuple[list[onnx.NodeProto], str]


def write_graph(path: Path, precision: str, size: int, steps: int) -> None:
    """Write a graph of several products with constant matrices, float32 outside.

    Args:
        path: the `.onnx` file.
        precision: "int8" quantises both sides of each product; "fp16" casts; others
            are plain.
        size: rows and columns.
        steps: products, one after the other.
    """
    rng = np.random.default_rng(size)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    last = "x"
    for step in range(steps):
        # unit variance stays unit variance
        values = (rng.standard_normal((size, size), np.float32) / np.sqrt(size)).astype(np.float32)
        added, last = _KINDS.get(precision, _plain)(last, f"{step}", values, constants)
        nodes += added
    nodes.append(helper.make_node("Cast", [last], ["y"], to=TensorProto.FLOAT))
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, size]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "products", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    spec = EngineSpec(*((TensorSpec(name, (size, size), "float32"),) for name in ("x", "y")))
    onnx.checker.check_model(model)
    # the names of precisions in sidecars are those of stored types
    kind = precision if precision in ("int8", "fp16") else "fp32"
    sidecar = Sidecar("products", spec, precision=kind, opset=19)
    write_artifact(path, model.SerializeToString(deterministic=True), sidecar)


def _plain(last: str, step: str, values: Any, constants: list[onnx.TensorProto]) -> _Nodes:
    constants.append(numpy_helper.from_array(values, f"w{step}"))
    return [helper.make_node("MatMul", [last, f"w{step}"], [f"y{step}"])], f"y{step}"


def _half(last: str, step: str, values: Any, constants: list[onnx.TensorProto]) -> _Nodes:
    cast = helper.make_node("Cast", [last], [f"h{step}"], to=TensorProto.FLOAT16)
    nodes, out = _plain(f"h{step}", step, values.astype(np.float16), constants)
    return [cast, *nodes], out


def _quantised(last: str, step: str, values: Any, constants: list[onnx.TensorProto]) -> _Nodes:
    scale = np.asarray(np.abs(values).max() / 127, np.float32)
    whole = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
    constants += [
        numpy_helper.from_array(whole, f"w{step}"),
        numpy_helper.from_array(scale, f"ws{step}"),
        numpy_helper.from_array(np.asarray(0, np.int8), f"wz{step}"),
        numpy_helper.from_array(np.asarray(0.05, np.float32), f"s{step}"),
        numpy_helper.from_array(np.asarray(128, np.uint8), f"z{step}"),
    ]
    return [
        helper.make_node("QuantizeLinear", [last, f"s{step}", f"z{step}"], [f"q{step}"]),
        helper.make_node("DequantizeLinear", [f"q{step}", f"s{step}", f"z{step}"], [f"d{step}"]),
        helper.make_node("DequantizeLinear", [f"w{step}", f"ws{step}", f"wz{step}"], [f"v{step}"]),
        helper.make_node("MatMul", [f"d{step}", f"v{step}"], [f"y{step}"]),
    ], f"y{step}"


_KINDS = {"fp16": _half, "int8": _quantised}
