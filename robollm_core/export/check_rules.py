# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of limit that the data of a target uses; each says whether a node breaks it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from robollm_core.export.check_scope import Node, Scope

Limit = Mapping[str, Any]


def _always(node: Node, limit: Limit) -> bool:
    return True


def _attribute(node: Node, limit: Limit) -> bool:
    return node.attribute(limit["attribute"], limit["default"]) not in limit["allowed"]


def _absent(node: Node, limit: Limit) -> bool:
    return any(node.attribute(name, None) is not None for name in limit["attributes"])


def _ones(node: Node, limit: Limit) -> bool:
    return any(value != 1 for value in node.attribute(limit["attribute"], []))


def _constant(node: Node, limit: Limit) -> bool:
    given = [node.input(index) for index in limit["inputs"]]
    return any(name and name not in node.scope.constants for name in given)


def _below(node: Node, limit: Limit) -> bool:
    value = node.constant(limit["input"])
    return value is None or bool((value >= limit["limit"]).any())


def _rank(node: Node, limit: Limit) -> bool:
    shape = node.scope.shape_of(node.input(0))
    return shape is not None and not limit["least"] <= len(shape) <= limit["most"]


def _static(node: Node, limit: Limit) -> bool:
    shape = node.scope.shape_of(node.input(limit["input"]))
    return shape is None or None in shape


def _outputs(node: Node, limit: Limit) -> bool:
    return any(node.proto.output[limit["most"] :])


def _false(node: Node, limit: Limit) -> bool:
    if not node.input(limit["input"]):
        return False
    value = node.constant(limit["input"])
    return value is None or bool(value.any())


def _zero_point(node: Node, limit: Limit) -> bool:
    """A zero point must be known, of a signed type, and zero; without one, ONNX means uint8."""
    name = node.input(limit["input"])
    if not name:
        quantised = node.input(0) if node.operator == "DequantizeLinear" else node.proto.output[0]
        return node.scope.type_of(quantised) not in limit["types"]
    if node.scope.type_of(name) not in limit["types"]:
        return True
    value = node.constant(limit["input"])
    return value is None or bool(np.asarray(value).astype(np.float32).any())


def _branches(node: Node, limit: Limit) -> bool:
    """Both branches must give tensors of the same rank; an unknown rank is not the same."""
    ranks = []
    for attribute in node.proto.attribute:
        if attribute.HasField("g"):
            scope = node.scope.inner(attribute.g, node.place)
            ranks.append([_rank_of(scope, value) for value in attribute.g.output])
    return len(ranks) != 2 or ranks[0] != ranks[1]


def _rank_of(scope: Scope, value: onnx.ValueInfoProto) -> int | None:
    shape = scope.shape_of(value.name)
    return None if shape is None else len(shape)


RULES: Mapping[str, Callable[[Node, Limit], bool]] = {
    "data-dependent": _always,
    "plugin": _always,
    "attribute": _attribute,
    "absent": _absent,
    "ones": _ones,
    "constant": _constant,
    "below": _below,
    "rank": _rank,
    "static": _static,
    "outputs": _outputs,
    "false": _false,
    "zero-point": _zero_point,
    "branches": _branches,
}
