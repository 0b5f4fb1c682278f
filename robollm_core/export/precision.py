# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A network in another precision, with the types in its graph.

fp16 and bf16 are made by NVIDIA ModelOpt's AutoCast, int8 by ONNX Runtime's
quantizer. Names, shapes and dtypes of inputs and outputs stay. Nodes that do
harm in few bits are left in fp32; how many, a ladder of islands says.
"""

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from robollm_core.errors import ConfigError, DependencyError, ParityError
from robollm_core.export.large import LargeNetwork, serialise
from robollm_core.types import Tensors

FP32 = "fp32"
HALVES = ("fp16", "bf16")
INT8 = "int8"
PRECISIONS = (FP32, *HALVES, INT8)
"""fp32 is the artifact as it was exported; the others are derived from it."""

OPSETS = {"fp16": 19, "bf16": 22}
"""The lowest in which the operators of our graphs take these types."""

_KINDS = {
    FP32: onnx.TensorProto.FLOAT,
    "fp16": onnx.TensorProto.FLOAT16,
    "bf16": onnx.TensorProto.BFLOAT16,
}
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
# of the whole graph alone, such as decoding of boxes, suppression and normalisation
_OUTERMOST = (r"/(model/)?[^/]*$",)
_LAST = (r".*/(fc_cls|fc_reg|rpn_cls|rpn_reg|conv_logits|projection|head)(_\d+)?/[^/]*$",)
_HEADS = (r"/(?!(.*/)?encoder/).*",)
_FIRST = (r".*/patch_embed/[^/]*$",)
# a few values that enter these are twenty times as large as the others, which get few steps
_SECOND = (r".*/ffn/fc2/[^/]*$",)
_SENSITIVE = ("Softmax", "LayerNormalization", "GridSample", "ReduceMean", "ReduceL2", "Exp")
# TensorRT-RTX has no bf16 kernel for these
_NO_BF16 = ("ConvTranspose",)


@dataclass(frozen=True, slots=True)
class Islands:
    """What stays in fp32.

    Attributes:
        name: for reports.
        op_types: kinds of nodes.
        nodes: patterns that fit the beginning of a node's name.
    """

    name: str
    op_types: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


_HALF_LADDER = (
    Islands("usual", _SENSITIVE, _OUTERMOST),
    Islands("last layers", _SENSITIVE, _OUTERMOST + _LAST),
    Islands("all but the encoder", _SENSITIVE, _OUTERMOST + _HEADS),
)
_INT8_LADDER = (
    Islands("usual", nodes=_OUTERMOST + _FIRST),
    Islands("second layers of FFNs", nodes=_OUTERMOST + _FIRST + _SECOND),
    Islands("last layers", nodes=_OUTERMOST + _FIRST + _SECOND + _LAST),
    Islands("all but the encoder", nodes=_OUTERMOST + _FIRST + _SECOND + _HEADS),
    Islands("all but attention", nodes=_OUTERMOST + _FIRST + _HEADS + (r".*/ffn/.*",)),
)


def ladder(precision: str) -> tuple[Islands, ...]:
    """The islands that are tried, one after the other, each wider than the one before.

    Raises:
        ConfigError: If the precision is not one that is derived.
    """
    if precision in HALVES:
        return _HALF_LADDER
    if precision == INT8:
        return _INT8_LADDER
    raise ConfigError(
        f"a network can be derived in {', '.join((*HALVES, INT8))}, not in {precision!r}."
    )


def convert(
    network: bytes, precision: str, samples: Sequence[Tensors], islands: Islands | None = None
) -> bytes:
    """Derive a network in another precision.

    Args:
        network: an ONNX file in fp32 arithmetic.
        precision: "fp16", "bf16" or "int8".
        samples: inputs; values that leave the range of the type are seen on the
            first, int8 takes its scales from all.
        islands: what stays in fp32; None for the first of the ladder.

    Returns:
        The bytes of an ONNX file, the same for the same arguments.

    Raises:
        ConfigError: If the precision is unknown.
        DependencyError: If the tool is not installed.
        ParityError: If there are no samples, the tool fails, or nothing is left to convert.
    """
    islands = islands or ladder(precision)[0]
    ladder(precision)
    if not samples:
        raise ParityError(f"{precision} needs at least one sample input, got none.")
    if isinstance(network, LargeNetwork):
        raise ParityError(
            f"a network too large for one file cannot be derived in {precision}. Export fp32 alone."
        )
    with tempfile.TemporaryDirectory() as folder, _hushed():
        plain = Path(folder) / "plain.onnx"
        onnx.save(fold_constants(onnx.load_from_string(network)), plain)
        if precision == INT8:
            model = _quantized(plain, samples, islands)
        else:
            model = _cast(plain, precision, samples[0], islands)
    _check(model, onnx.load_from_string(network), precision)
    return serialise(_settled(model))


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with all that does not depend on an input computed, weights in fp32.

    Raises:
        DependencyError: If ONNX GraphSurgeon is not installed.
    """
    try:
        import onnx_graphsurgeon
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    graph = onnx_graphsurgeon.import_onnx(model)
    ends = {tensor.name for tensor in graph.outputs}
    # a constant that is an output has to stay a node: tools take an initialiser for unused
    graph.fold_constants(
        should_exclude_node=lambda node: any(tensor.name in ends for tensor in node.outputs)
    )
    folded: onnx.ModelProto = onnx_graphsurgeon.export_onnx(graph.cleanup().toposort())
    for tensor in [one for one in folded.graph.initializer if one.name in ends]:
        value = onnx.TensorProto()
        value.CopyFrom(tensor)
        folded.graph.initializer.remove(tensor)
        node = onnx.helper.make_node("Constant", [], [value.name], f"{value.name}.value")
        node.attribute.append(onnx.helper.make_attribute("value", value))
        folded.graph.node.append(node)
    return folded


def arithmetic(model: onnx.ModelProto) -> dict[str, int]:
    """How many matrix products and convolutions the graph computes in each precision."""
    counts = dict.fromkeys(PRECISIONS, 0)
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {one.name: one.type.tensor_type.elem_type for one in inferred.graph.value_info}
    kinds |= {one.name: one.type.tensor_type.elem_type for one in inferred.graph.output}
    makers = {name: node for node in model.graph.node for name in node.output}
    names = {kind: name for name, kind in _KINDS.items()}
    for node in model.graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        feeds = [makers[name].op_type for name in node.input[:2] if name in makers]
        if len(feeds) == 2 and set(feeds) == {"DequantizeLinear"}:
            counts[INT8] += 1
        else:
            counts[names.get(kinds.get(node.output[0], 0), FP32)] += 1
    return counts


def _cast(plain: Path, precision: str, sample: Tensors, islands: Islands) -> onnx.ModelProto:
    try:
        from modelopt.onnx.autocast import convert_to_mixed_precision
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    inputs = plain.with_name("sample.npz")
    arrays: dict[str, Any] = dict(sample)
    np.savez(inputs, **arrays)
    kept = (*islands.op_types, *(_NO_BF16 if precision == "bf16" else ()))
    try:
        made: onnx.ModelProto = convert_to_mixed_precision(
            onnx_path=str(plain),
            low_precision_type=precision,
            nodes_to_exclude=list(islands.nodes),
            op_types_to_exclude=list(kept),
            keep_io_types=True,
            calibration_data=str(inputs),
            providers=["cpu"],
            opset=OPSETS[precision],
        )
    except Exception as error:
        raise ParityError(f"ModelOpt AutoCast cannot make {precision}: {error}") from error
    return made


def _quantized(plain: Path, samples: Sequence[Tensors], islands: Islands) -> onnx.ModelProto:
    from robollm_core.export.quantize import quantize

    return quantize(plain, samples, excluded(onnx.load(plain), islands))


def excluded(model: onnx.ModelProto, islands: Islands) -> list[str]:
    """Names of the nodes that int8 leaves in fp32: islands, and products of two activations.

    What leaves a softmax over hundreds of places is near 0, and one scale a tensor
    would make it 0.
    """
    patterns = [re.compile(text) for text in islands.nodes]
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in islands.op_types
        or any(one.match(node.name) for one in patterns)
        or (node.op_type in _PRODUCTS and node.input[1] not in constants)
    ]


def _settled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without what depends on hash seeds, tools and their versions."""
    inner = sorted(model.graph.value_info, key=lambda one: str(one.name))
    copies = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in inner]
    del model.graph.value_info[:]
    model.graph.value_info.extend(copies)
    model.producer_name, model.producer_version, model.doc_string = "robollm", "", ""
    return model


def _check(model: onnx.ModelProto, origin: onnx.ModelProto, precision: str) -> None:
    for side in ("input", "output"):
        told = [[_form(one) for one in getattr(net.graph, side)] for net in (origin, model)]
        if told[0] != told[1]:
            raise ParityError(f"the {side}s must stay {told[0]}, {precision} has {told[1]}.")
    counts = arithmetic(model)
    if not counts[precision]:
        raise ParityError(f"nothing is left to compute in {precision}: {counts}.")


def _form(one: onnx.ValueInfoProto) -> tuple[str, int, tuple[int | str, ...]]:
    kind = one.type.tensor_type
    return one.name, kind.elem_type, tuple(d.dim_value or d.dim_param for d in kind.shape.dim)


def _missing(error: ModuleNotFoundError) -> DependencyError:
    return DependencyError(
        f"lower precisions need the Python package {error.name!r}, which is not installed. Run "
        "`make test` in the checkout once, or pip install '.[train]' and then pip install "
        "--no-deps nvidia-modelopt; or export fp32 alone."
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the tools from writing to the terminal; their errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
