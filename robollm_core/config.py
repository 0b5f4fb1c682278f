# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration: one frozen tree, each leaf declared once, three views.

YAML files, `--set a.b=c` and ROS parameters use the same dotted names. A leaf
is a bool, int, float or str, never None and never a list, because ROS
parameters can hold neither. Unknown keys are errors.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from robollm_core.errors import ConfigError
from robollm_core.settings import (
    DefectsConfig,
    HealthConfig,
    IdentificationConfig,
    InputConfig,
    OutputConfig,
    PicksConfig,
    RuntimeConfig,
    Scalar,
    SegmentationConfig,
)

__all__ = [
    "Config",
    "DefectsConfig",
    "HealthConfig",
    "IdentificationConfig",
    "InputConfig",
    "Leaf",
    "OutputConfig",
    "PicksConfig",
    "RuntimeConfig",
    "Scalar",
    "SegmentationConfig",
    "check_leaf",
    "flatten",
    "given",
    "leaves",
    "load",
    "to_yaml",
    "update",
    "with_references",
]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree."""

    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    identification: IdentificationConfig = field(default_factory=IdentificationConfig)
    defects: DefectsConfig = field(default_factory=DefectsConfig)
    input: InputConfig = field(default_factory=InputConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    picks: PicksConfig = field(default_factory=PicksConfig)
    health: HealthConfig = field(default_factory=HealthConfig)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One declared setting.

    Attributes:
        name: dotted name, such as "segmentation.score_threshold".
        default: value when nobody sets it; its type is the leaf's type.
        doc: one sentence.
        low, high: inclusive limits of a number, None when free.
        choices: allowed strings, empty when free.
        live: may change while a node is active.
    """

    name: str
    default: Scalar
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool


def leaves() -> tuple[Leaf, ...]:
    """Every leaf of the tree, in the order of declaration."""
    found = []
    for branch in fields(Config):
        for leaf in fields(branch.default_factory):  # type: ignore[arg-type]
            default: Any = leaf.default
            found.append(Leaf(f"{branch.name}.{leaf.name}", default, **leaf.metadata))
    return tuple(found)


def flatten(config: Config) -> dict[str, Scalar]:
    """The dotted names and values of a tree, in the order of declaration."""
    return {
        f"{branch.name}.{leaf.name}": getattr(getattr(config, branch.name), leaf.name)
        for branch in fields(config)
        for leaf in fields(getattr(config, branch.name))
    }


def update(config: Config, values: Mapping[str, Any]) -> Config:
    """Replace leaves by dotted name.

    Args:
        config: the tree to start from.
        values: dotted name to new value; an int is taken for a float leaf.

    Returns:
        A new tree.

    Raises:
        ConfigError: If a name is unknown, or a value has the wrong type or
            lies outside its limits.
    """
    known = {leaf.name: leaf for leaf in leaves()}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(_unknown(name, known))
        checked = check_leaf(known[name], value)
        branch, leaf = name.split(".")
        config = replace(config, **{branch: replace(getattr(config, branch), **{leaf: checked})})
    return config


def with_references(config: Config, beside: Path) -> Config:
    """Relative reference images start beside a file, unless the configuration names a folder.

    Args:
        config: the tree.
        beside: a manifest or a bag.
    """
    if config.identification.reference_root != Config().identification.reference_root:
        return config
    return update(config, {"identification.reference_root": str(beside.resolve().parent)})


def check_leaf(leaf: Leaf, value: Any) -> Scalar:
    """Check one value against its declaration.

    Args:
        leaf: the declaration.
        value: anything.

    Returns:
        The value in the leaf's type.

    Raises:
        ConfigError: If type, limit or choice is violated.
    """
    wanted = type(leaf.default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise ConfigError(
            f"{leaf.name} must be {wanted.__name__}, got {value!r} ({type(value).__name__}). "
            f"{leaf.doc}"
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = leaf.low, leaf.high
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ConfigError(f"{leaf.name} must lie in [{low}, {high}], got {value}. {leaf.doc}")
    if leaf.choices and value not in leaf.choices:
        raise ConfigError(
            f"{leaf.name} must be one of {', '.join(leaf.choices)}, got {value!r}. {leaf.doc}"
        )
    checked: Scalar = value
    return checked


def load(path: Path | None = None, assignments: Iterable[str] = ()) -> Config:
    """Read a YAML file, then apply `a.b=c` assignments on top.

    Args:
        path: YAML file with the tree nested or dotted, or under ROS's
            `/**: ros__parameters:`; None for the defaults.
        assignments: "dotted.name=value" texts; the value is read as YAML.

    Returns:
        The tree.

    Raises:
        ConfigError: If the file cannot be read or anything in it is wrong.
    """
    return update(Config(), given(path, assignments))


def given(path: Path | None = None, assignments: Iterable[str] = ()) -> dict[str, Any]:
    """What `load` would change: the values that were set, each checked, by dotted name.

    Args:
        path: as for `load`.
        assignments: as for `load`; the last one of a name wins.

    Raises:
        ConfigError: If the file cannot be read or anything in it is wrong.
    """
    values = {} if path is None else dict(_walk(_unwrap(_read_yaml(path))))
    update(Config(), values)
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set takes name=value, got {text!r}.")
        values[name.strip()] = _parse(text, value)
        update(Config(), values)
    return values


def _parse(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML: {error}") from error


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error


def _unwrap(tree: Any) -> Any:
    if isinstance(tree, dict) and len(tree) == 1:
        (inner,) = tree.values()
        if isinstance(inner, dict) and set(inner) == {"ros__parameters"}:
            return inner["ros__parameters"] or {}
    return tree


def _walk(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{prefix.rstrip('.') or 'the configuration'} must be a mapping, got {tree!r}."
        )
    branches = {branch.name for branch in fields(Config)}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in branches or isinstance(value, dict):
            yield from _walk(value, f"{name}.")
        else:
            yield name, value


def _unknown(name: str, known: Mapping[str, Leaf]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"unknown configuration key {name!r}.{hint} Known keys: {', '.join(known)}."


def to_yaml(config: Config) -> str:
    """The tree as commented YAML in the form ROS loads (`/**: ros__parameters:`)."""
    lines = ["/**:", "  ros__parameters:"]
    docs = {leaf.name: leaf for leaf in leaves()}
    for branch in fields(config):
        node = getattr(config, branch.name)
        assert is_dataclass(node)
        lines.append(f"    {branch.name}:")
        for leaf in fields(node):
            lines.append(f"      # {docs[f'{branch.name}.{leaf.name}'].doc}")
            value = yaml.safe_dump(getattr(node, leaf.name)).removesuffix("...\n").strip()
            lines.append(f"      {leaf.name}: {value}")
    return "\n".join(lines) + "\n"
