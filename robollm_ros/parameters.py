# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration tree as ROS parameters: same dotted names, same limits, same sentences.

A wrong override must not kill the node before it can say so, therefore faults
are kept and `Parameters.config` raises them together when the node configures.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from robollm_core.config import Config, Leaf, Scalar, check_leaf, flatten, leaves, update
from robollm_core.errors import ConfigError
from robollm_core.runtime.bundle import settle
from robollm_ros.cameras import (
    CAMERA_NAMES,
    CAMERA_NAMES_DOC,
    DEFAULT_NAMES,
    Camera,
    camera_leaves,
    check_names,
    check_topics,
    read_cameras,
)

AUTOSTART = Leaf(
    "autostart", False, "Configure and activate without being told.", None, None, (), False
)
_TREE = frozenset(leaf.name for leaf in leaves())
_OF_ROS = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares itself."""


class Parameters:
    """Declares every leaf of the configuration, and a few more, on a node; watches over changes.

    The node must have been made with `automatically_declare_parameters_from_overrides`,
    the one public way to see overrides that nobody declares.
    """

    def __init__(
        self, node: Node, on_change: Callable[[Config], None], more: Iterable[Leaf] = ()
    ) -> None:
        """Declare everything; never raises for a bad override.

        Args:
            node: the node that gets the parameters.
            on_change: called with the new tree after a live leaf changed while locked.
            more: parameters that are no part of the tree.
        """
        self.locked = False
        """True while the node is configured: only live leaves may change."""
        self.bundle = ""
        """Name, version and digest of the bundle in force; "" without one."""
        self._node = node
        self._on_change = on_change
        self._faults: dict[str, str] = {}
        self._given: dict[str, Any] = {}
        """What was set of the tree from outside; the rest is the bundle's, or the default."""
        overrides = overrides_of(node)
        self._declare(AUTOSTART, _at_start(AUTOSTART.doc), overrides)
        self.autostart = bool(self._value(AUTOSTART.name))
        self.camera_names = self._declare_names(overrides)
        own = camera_leaves(self.camera_names)
        self._leaves = {leaf.name: leaf for leaf in (*leaves(), *own, *more)}
        for leaf in self._leaves.values():
            self._declare(leaf, descriptor_of(leaf), overrides)
        for name in overrides:
            self._faults[name] = unknown_parameter(name, self._leaves, "See ros2 param list.")
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._accepted)

    def configure(self) -> Config:
        """The tree in force, as the parameters then show it: a bundle sets what nobody else did.

        Raises:
            ConfigError: If any override was unknown, of the wrong type or out of range.
            ArtifactError: If the bundle is missing or damaged.
            CacheError: If the bundle cannot be unpacked.
        """
        self._refuse_faults()
        given = dict(self._given)
        config, bundle = settle(given)
        shown = {leaf.name: self._value(leaf.name) for leaf in leaves()}
        news = {name: value for name, value in flatten(config).items() if value != shown[name]}
        self._node.set_parameters([Parameter(name, value=value) for name, value in news.items()])
        self._given = given  # what was just set came from inside
        self.bundle = bundle.title if bundle else ""
        if bundle:
            told = ", ".join(f"{name}={value}" for name, value in news.items()) or "nothing new"
            self._node.get_logger().info(f"the bundle {bundle.title} sets {told}")
        return config

    def config(self) -> Config:
        """The tree as the parameters stand.

        Raises:
            ConfigError: If any override was unknown, of the wrong type or out of range.
        """
        self._refuse_faults()
        return update(Config(), {leaf.name: self._value(leaf.name) for leaf in leaves()})

    def cameras(self, config: Config) -> tuple[Camera, ...]:
        """The cameras as the parameters stand.

        Raises:
            ConfigError: If a topic is no name for ROS, or two cameras share one.
        """
        cameras = read_cameras(self.camera_names, self._value, config.input)
        check_topics(cameras, self._node.resolve_topic_name)
        return cameras

    def _refuse_faults(self) -> None:
        if self._faults:
            raise ConfigError(
                "wrong parameters: " + " | ".join(self._faults[name] for name in self._faults)
            )

    def period_s(self) -> float:
        """Seconds between diagnostics; the default while the override is wrong."""
        return float(self._value("health.period_s"))

    def _value(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _declare_names(self, overrides: dict[str, Any]) -> tuple[str, ...]:
        names: tuple[str, ...] = DEFAULT_NAMES
        if CAMERA_NAMES in overrides:
            self._node.undeclare_parameter(CAMERA_NAMES)
            try:
                names = check_names(overrides.pop(CAMERA_NAMES))
            except ConfigError as error:
                self._faults[CAMERA_NAMES] = f"parameter {error}"
        descriptor = _at_start(CAMERA_NAMES_DOC)
        self._node.declare_parameter(CAMERA_NAMES, list(names), descriptor, ignore_override=True)
        return names

    def _declare(
        self, leaf: Leaf, descriptor: ParameterDescriptor, overrides: dict[str, Any]
    ) -> None:
        value: Scalar = leaf.default
        if leaf.name in overrides:
            self._node.undeclare_parameter(leaf.name)
            try:
                value = check_leaf(leaf, overrides.pop(leaf.name))
                self._given |= {leaf.name: value} if leaf.name in _TREE else {}
            except ConfigError as error:
                self._faults[leaf.name] = f"parameter {error}"
        # the override was judged above; ROS would raise its own error in the constructor
        self._node.declare_parameter(leaf.name, value, descriptor, ignore_override=True)

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            leaf = self._leaves.get(change.name)
            if leaf is None:
                continue
            if self.locked and not leaf.live:
                return SetParametersResult(
                    successful=False,
                    reason=f"{leaf.name} takes effect at configure: deactivate and clean up first.",
                )
            try:
                check_leaf(leaf, change.value)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _accepted(self, changes: list[Parameter]) -> None:
        named = [change.name for change in changes if change.name in self._leaves]
        for name in named:
            self._faults.pop(name, None)
        self._given |= {change.name: change.value for change in changes if change.name in _TREE}
        if named and self.locked:
            self._on_change(self.config())


def node_leaves() -> tuple[Leaf, ...]:
    """The parameters of a node with one camera, but for qos_overrides, for people to read."""
    names = Leaf(CAMERA_NAMES, "[camera]", CAMERA_NAMES_DOC, None, None, (), False)
    return (AUTOSTART, names, *camera_leaves(DEFAULT_NAMES), *leaves())


def _at_start(doc: str) -> ParameterDescriptor:
    return ParameterDescriptor(
        description=f"{doc} (takes effect at the start of the node)", read_only=True
    )


def overrides_of(node: Node) -> dict[str, Any]:
    """What was set from outside before anything is declared, by name.

    Args:
        node: made with `automatically_declare_parameters_from_overrides`.
    """
    found = node.get_parameters_by_prefix("").items()
    return {name: parameter.value for name, parameter in found if name not in _OF_ROS}


def unknown_parameter(name: str, known: Iterable[str], otherwise: str) -> str:
    """The sentence on a name that is none of the known ones; `otherwise` when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown parameter {name!r}. " + (f"Did you mean {close[0]}?" if close else otherwise)


def descriptor_of(leaf: Leaf) -> ParameterDescriptor:
    """What ROS is told of a leaf: its sentence, when it takes effect, its choices or range."""
    when = "may change at any time" if leaf.live else "takes effect at configure"
    descriptor = ParameterDescriptor(description=f"{leaf.doc} ({when})")
    if leaf.choices:
        descriptor.additional_constraints = "one of " + ", ".join(leaf.choices)
    if leaf.low is None or leaf.high is None:
        return descriptor
    if isinstance(leaf.default, float):
        limits = FloatingPointRange(from_value=float(leaf.low), to_value=float(leaf.high))
        descriptor.floating_point_range = [limits]
    else:
        limits = IntegerRange(from_value=int(leaf.low), to_value=int(leaf.high), step=1)
        descriptor.integer_range = [limits]
    return descriptor
