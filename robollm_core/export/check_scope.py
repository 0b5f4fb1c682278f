# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of the tensors of a graph, and a walk over its nodes."""

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

from robollm_core.export.large import without_weights

_SIZE_OPERATORS = frozenset(
    "Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Floor Gather Greater Identity "
    "Less Max Min Mod Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd Reshape Slice Squeeze "
    "Sub Unsqueeze Where".split()
)
"""What sizes are computed with."""

_SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Reshape": (1,),
    "Slice": (1, 2),
    "Tile": (1,),
    "TopK": (1,),
}
"""Which inputs of an operator say how large its output is."""


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One graph, with those around it.

    Attributes:
        graph: its nodes.
        opset: of the standard operators.
        place: the graph in words.
        types: tensor types by name, those of the graphs around it too.
        constants: initializers and Constant nodes by name, likewise.
        makers: the node that makes a tensor, by its name, likewise.
        inputs, outputs: names of the whole model's.
        values: what `value_of` has found already.
    """

    graph: onnx.GraphProto
    opset: int
    place: str = "the graph"
    types: ChainMap[str, onnx.TypeProto.Tensor] = field(default_factory=ChainMap)
    constants: ChainMap[str, onnx.TensorProto] = field(default_factory=ChainMap)
    makers: ChainMap[str, onnx.NodeProto] = field(default_factory=ChainMap)
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    values: dict[str, npt.NDArray[np.generic] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "Scope":
        """Infer the shapes of a model.

        Raises:
            onnx.shape_inference.InferenceError: If they contradict each other.
        """
        light = without_weights(model)
        if light.functions:  # their bodies have no types until they stand in a graph
            light = inline_local_functions(light)
        scope = cls._inferred(light, model)
        while scope._settle_sizes():  # each makes sizes known that others follow from
            scope = cls._inferred(light, model)
        return scope

    @classmethod
    def _inferred(cls, light: onnx.ModelProto, model: onnx.ModelProto) -> "Scope":
        shaped = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
        light.CopyFrom(shaped)
        opset = max(
            (entry.version for entry in light.opset_import if entry.domain in ("", "ai.onnx")),
            default=0,
        )
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = frozenset(value.name for value in light.graph.input) - weights
        outputs = frozenset(value.name for value in light.graph.output)
        scope = cls(light.graph, opset, inputs=inputs, outputs=outputs)
        scope.constants.update({tensor.name: tensor for tensor in model.graph.initializer})
        scope._note()
        return scope

    def _settle_sizes(self) -> bool:
        """Write the sizes and counts that follow from other sizes; whether there was one."""
        settled = False
        for node in self.graph.node:
            for index in _SIZES.get(node.op_type, ()):
                name = node.input[index] if index < len(node.input) else ""
                value = self.value_of(name) if name and name not in self.constants else None
                if value is not None:
                    node.input[index] = f"{name}.settled.{node.output[0]}.{index}"
                    tensor = numpy_helper.from_array(value, node.input[index])
                    self.graph.initializer.append(tensor)
                    settled = True
        return settled

    def inner(self, graph: onnx.GraphProto, place: str) -> "Scope":
        """The scope of a graph inside a node of this one."""
        inner = replace(
            self,
            graph=graph,
            place=place,
            types=self.types.new_child(),
            constants=self.constants.new_child(),
            makers=self.makers.new_child(),
            values={},
        )
        inner._note()
        return inner

    def _note(self) -> None:
        graph = self.graph
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.HasField("tensor_type"):
                self.types[value.name] = value.type.tensor_type
        self.constants.update({tensor.name: tensor for tensor in graph.initializer})
        for node in graph.node:
            self.makers.update(dict.fromkeys(node.output, node))
            tensor = constant_of(node)
            if tensor is not None:
                self.constants[node.output[0]] = tensor

    def type_of(self, name: str) -> str:
        """NumPy's name of an element type, "" when it is not known."""
        kind = 0
        if name in self.types:
            kind = self.types[name].elem_type
        elif name in self.constants:
            kind = self.constants[name].data_type
        return _type_name(kind) if kind else ""

    def shape_of(self, name: str) -> tuple[int | None, ...] | None:
        """Sizes, None for those that are open; None when not even the rank is known."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        if name not in self.types or not self.types[name].HasField("shape"):
            return None
        sizes = self.types[name].shape.dim
        return tuple(size.dim_value if size.HasField("dim_value") else None for size in sizes)

    def value_of(self, name: str) -> npt.NDArray[np.generic] | None:
        """Values of a tensor that follows from constants and sizes; None when it does not."""
        if name not in self.values:
            self.values[name] = self._evaluate(name)
        return self.values[name]

    def _evaluate(self, name: str) -> npt.NDArray[np.generic] | None:
        tensor = self.constants.get(name)
        if tensor is not None:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                return None
            values: npt.NDArray[np.generic] = numpy_helper.to_array(tensor)
            return values
        maker = self.makers.get(name)
        if maker is None:
            return None
        if maker.op_type == "Shape" and not maker.attribute:
            shape = self.shape_of(maker.input[0])
            return None if shape is None or None in shape else np.array(shape, dtype=np.int64)
        # sizes are a few numbers; nothing else is followed
        known = self.shape_of(name)
        if known is None or len(known) > 1 or maker.op_type not in _SIZE_OPERATORS:
            return None
        inputs = {given: self.value_of(given) for given in maker.input if given}
        if any(value is None for value in inputs.values()):
            return None
        return _run(maker, inputs, self.opset)[list(maker.output).index(name)]

    def is_input(self, name: str) -> bool:
        """Whether a tensor comes from outside the model."""
        return name in self.inputs

    def is_output(self, name: str) -> bool:
        """Whether a tensor leaves the model."""
        return name in self.outputs


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A node where it stands."""

    proto: onnx.NodeProto
    scope: Scope

    @property
    def name(self) -> str:
        """Its name, else that of its first output."""
        return str(self.proto.name or next(iter(self.proto.output), ""))

    @property
    def operator(self) -> str:
        """Its operator."""
        return str(self.proto.op_type)

    @property
    def place(self) -> str:
        """The graph it stands in, in words."""
        return self.scope.place

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs that are given."""
        return [name for name in self.proto.input if name]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs that are asked for."""
        return [name for name in self.proto.output if name]

    def input(self, index: int) -> str:
        """Name of an input, "" when it is left out."""
        return str(self.proto.input[index]) if index < len(self.proto.input) else ""

    def attribute(self, name: str, default: Any) -> Any:
        """Value of an attribute; text as str."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def constant(self, index: int) -> npt.NDArray[np.generic] | None:
        """Values of an input that follows from constants and sizes; None when it does not."""
        return self.scope.value_of(self.input(index))

    def data_types(self, variables: Sequence[str]) -> set[str]:
        """Known element types of its data.

        Args:
            variables: type variables of the operator's definition that are data; none
                for "T", or the first input's where there is no "T".
        """
        schema = onnx.defs.get_schema(self.operator, self.scope.opset, "")
        known = {entry.type_param_str for entry in schema.type_constraints}
        first = [entry.type_str for entry in schema.inputs][:1]
        wanted = set(variables) or ({"T"} if "T" in known else set(first))
        ends = ((schema.inputs, self.proto.input), (schema.outputs, self.proto.output))
        kinds = set()
        for formal, actual in ends:
            for index, name in enumerate(actual):
                if name and formal[min(index, len(formal) - 1)].type_str in wanted:
                    kinds.add(self.scope.type_of(name))
        return kinds - {""}


def walk(scope: Scope) -> Iterator[Node]:
    """All nodes of a graph, each followed by those of the graphs inside it."""
    for proto in scope.graph.node:
        node = Node(proto, scope)
        yield node
        for attribute in proto.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for graph in graphs:
                yield from walk(scope.inner(graph, f"{attribute.name} of {node.name}"))


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor a Constant node gives; None for other nodes, and for what is no dense tensor."""
    if node.op_type != "Constant" or not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor: onnx.TensorProto = attribute.t
        return tensor
    if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
        kind = np.int64 if "int" in attribute.name else np.float32
        value = onnx.helper.get_attribute_value(attribute)
        return numpy_helper.from_array(np.asarray(value, dtype=kind))
    return None


def _run(
    node: onnx.NodeProto, inputs: Mapping[str, npt.NDArray[np.generic] | None], opset: int
) -> list[npt.NDArray[np.generic]]:
    """Run one node on the reference of ONNX."""
    given, made = (
        [onnx.ValueInfoProto(name=name) for name in names] for names in (inputs, node.output)
    )
    graph = onnx.helper.make_graph([node], "node", given, made)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, dict(inputs))]


def _type_name(kind: int) -> str:
    """NumPy's name of an ONNX type: float32 for FLOAT, float64 for DOUBLE."""
    name = str(onnx.TensorProto.DataType.Name(kind)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
