# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Will a parser that is not here take this graph? Its published limits, as data, say so.

TensorRT on a Jetson cannot be asked on another machine. The file TARGET.json
holds what its ONNX parser takes; the walk below names each node beyond that.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from robollm_core.errors import ArtifactError
from robollm_core.export.check_rules import RULES
from robollm_core.export.check_scope import Node, Scope, walk

TARGETS = ("tensorrt10",)


@dataclass(frozen=True, slots=True)
class Offence:
    """One thing a parser will not take.

    Attributes:
        node: its name, or that of its first output; "" for the whole file.
        operator: its operator.
        place: the graph it stands in.
        rule: which rule it breaks.
        found: what is wrong.
        remedy: what to do.
    """

    node: str
    operator: str
    place: str
    rule: str
    found: str
    remedy: str

    def line(self) -> str:
        """One line for people."""
        if not self.operator:
            return f"{self.rule}: {self.found}. {self.remedy}"
        return (
            f"{self.node} ({self.operator}, {self.place}): {self.rule}: {self.found}. {self.remedy}"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What a parser takes, as its data file says.

    Attributes:
        name: of the target.
        version: of the runtime.
        source: where the facts are from.
        opsets: lowest and highest.
        most_rank: most dimensions of a tensor.
        domains: of operators.
        types: element types it takes, by operator.
        main_types: type variables that hold an operator's data, where it is not "T"
            or that of its first input.
        limits: further rules, see `check_rules`.
    """

    name: str
    version: str
    source: str
    opsets: tuple[int, int]
    most_rank: int
    domains: tuple[str, ...]
    types: Mapping[str, frozenset[str]]
    main_types: Mapping[str, tuple[str, ...]]
    limits: tuple[Mapping[str, Any], ...]


@cache
def read_target(name: str) -> Target:
    """Read the data file of a target, one of `TARGETS`."""
    tree = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    types = {
        operator: frozenset(group["types"])
        for group in tree["operators"]
        for operator in " ".join(group["names"]).split()
    }
    return Target(
        name=tree["target"],
        version=tree["version"],
        source=tree["source"],
        opsets=(tree["opsets"][0], tree["opsets"][1]),
        most_rank=tree["most_rank"],
        domains=tuple(tree["domains"]),
        types=types,
        main_types={operator: tuple(names) for operator, names in tree["main_types"].items()},
        limits=tuple(tree["limits"]),
    )


def check_file(path: Path, target: Target) -> list[Offence]:
    """Walk the graph of an ONNX file, and those inside its nodes and functions.

    Args:
        path: the file; tensors that stand beside it are not read.
        target: what the parser takes.

    Returns:
        All offences, in the order of the graph; none when it is clean.

    Raises:
        ArtifactError: If the file is no ONNX model or its shapes contradict each other.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has a class of its own, by implementation
        raise ArtifactError(f"cannot read {path} as an ONNX model: {error}") from error
    if not model.graph.node:
        raise ArtifactError(f"{path} is no ONNX model: its graph is empty.")
    return check_model(model, target, str(path))


def check_model(model: onnx.ModelProto, target: Target, name: str = "the model") -> list[Offence]:
    """Walk a model; its weights are not looked at.

    Args:
        model: stays as it is.
        target: what the parser takes.
        name: for errors.

    Raises:
        ArtifactError: If its shapes contradict each other.
    """
    try:
        scope = Scope.of(model)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ArtifactError(f"the shapes of {name} contradict each other: {error}") from error
    offences = list(_check_opset(scope.opset, target))
    offences += _check_ends(scope, target)
    for node in walk(scope):
        offences += _check_node(node, target)
    return offences


def _check_opset(opset: int, target: Target) -> Iterator[Offence]:
    low, high = target.opsets
    if not low <= opset <= high:
        found = f"opset {opset} is not in {low} to {high}"
        yield Offence("", "", "", "opset", found, f"Export with an opset up to {high}.")


def _check_ends(scope: Scope, target: Target) -> Iterator[Offence]:
    known = set().union(*target.types.values())
    for what, values in (("input", scope.inputs), ("output", scope.outputs)):
        for name in values:
            kind = scope.type_of(name)
            if kind not in known:
                found = f"{what} {name!r} is {kind}"
                yield Offence("", "", "", "type", found, f"Use one of {_listing(known)}.")


def _check_node(node: Node, target: Target) -> Iterator[Offence]:
    def offence(rule: str, found: str, remedy: str) -> Offence:
        return Offence(node.name, node.operator, node.place, rule, found, remedy)

    if node.proto.domain not in target.domains:
        found = f"the operators of {node.proto.domain!r} need a plugin"
        yield offence("domain", found, "Express it in standard ONNX operators.")
        return
    limits = [limit for limit in target.limits if node.operator in limit["operators"].split()]
    if node.operator not in target.types and not limits:
        yield offence("operator", "the parser does not know it", "Express it in other operators.")
        return
    for kind in _foreign_types(node, target):
        remedy = f"Cast to one of {_listing(target.types[node.operator])} before it."
        yield offence("type", f"it does not take {kind}", remedy)
    yield from (offence(*words) for words in _check_bytes(node))
    rank = max((len(node.scope.shape_of(name) or ()) for name in node.outputs), default=0)
    if rank > target.most_rank:
        found = f"its output has {rank} dimensions, the most are {target.most_rank}"
        yield offence("rank", found, "Merge dimensions with Reshape.")
    for limit in limits:
        if RULES[limit["rule"]](node, limit):
            yield offence(limit["rule"], limit["found"], limit["remedy"])


def _foreign_types(node: Node, target: Target) -> list[str]:
    """Element types of the data of a node that its operator does not take."""
    if node.operator not in target.types:
        return []
    kinds = node.data_types(target.main_types.get(node.operator, ()))
    return sorted(kinds - target.types[node.operator])


def _check_bytes(node: Node) -> Iterator[tuple[str, str, str]]:
    """Bytes come from outside and leave as they are made: between nodes there are none."""
    scope = node.scope
    for name in node.inputs:
        if scope.type_of(name) == "uint8" and not scope.is_input(name):
            yield "uint8", f"it reads {name!r}, bytes made inside the graph", _BYTES
    for name in node.outputs:
        if scope.type_of(name) == "uint8" and not scope.is_output(name):
            yield "uint8", f"it makes {name!r}, bytes that stay inside the graph", _BYTES


_BYTES = "Keep uint8 for inputs and outputs, and cast inputs first of all."


def _listing(kinds: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(kinds))
