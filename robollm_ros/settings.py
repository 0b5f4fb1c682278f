# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of a node that has none of the configuration tree: declared, checked, read once."""

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from robollm_core.config import Leaf, Scalar, check_leaf
from robollm_core.errors import ConfigError
from robollm_ros.parameters import descriptor_of, overrides_of, unknown_parameter


def read_settings(node: Node, leaves: Sequence[Leaf]) -> dict[str, Any]:
    """Declare the parameters, read-only and with their limits, and read what they were set to.

    Args:
        node: made with `automatically_declare_parameters_from_overrides`, the one
            public way to see overrides that nobody declares.
        leaves: what there is to set.

    Returns:
        Values by name, each of its leaf's type.

    Raises:
        ConfigError: If overrides are unknown, of the wrong type or out of range; it
            names all of them.
    """
    overrides, known = overrides_of(node), [leaf.name for leaf in leaves]
    listed = f"There are {', '.join(known)}."
    faults = [unknown_parameter(name, known, listed) for name in overrides if name not in known]
    values: dict[str, Any] = {}
    for leaf in leaves:
        try:
            values[leaf.name] = check_leaf(leaf, overrides.get(leaf.name, leaf.default))
        except ConfigError as error:
            faults.append(f"parameter {error}")
    if faults:
        raise ConfigError("wrong parameters: " + " | ".join(faults))
    for leaf in leaves:
        _declare(node, leaf, values[leaf.name])
    return values


def _declare(node: Node, leaf: Leaf, value: Scalar) -> None:
    descriptor = descriptor_of(leaf)
    descriptor.description = leaf.doc  # no word of configure, which such a node does not know
    descriptor.read_only = True
    if node.has_parameter(leaf.name):
        node.undeclare_parameter(leaf.name)
    node.declare_parameter(leaf.name, value, descriptor, ignore_override=True)
