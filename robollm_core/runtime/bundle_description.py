# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`bundle.json`: what a bundle holds, checked for form and against the sidecars in it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from robollm_core import __version__
from robollm_core.config import Leaf, Scalar, check_leaf, leaves
from robollm_core.errors import ArtifactError, ConfigError
from robollm_core.runtime.artifact import Sidecar, data_path, locate, sidecar_path
from robollm_core.runtime.bundle_files import check_name

FORMAT = 1
DESCRIPTION = "bundle.json"
STAGES = ("segmentation", "identification", "defects")
"""The stages that every bundle has."""
TEXT_LIMIT = 1 << 20
"""Bytes of bundle.json, and of a sidecar, at most."""
_SCHEMA_FILE = "config/schema/bundle.schema.json"
_PREPROCESSING = ("input_hw", "crop")
_GALLERY = ("scale", "scoring", "views", "view_order")


@dataclass(frozen=True, slots=True)
class Listed:
    """What bundle.json says of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        source: the folder or the tar.
        tree: bundle.json, valid by its schema.
        sha256: hex digest of bundle.json, and so of all that it lists.
        files: all other files, by relative name.
        folder: where they lie, absolute; None while they are in a tar.
    """

    source: Path
    tree: Mapping[str, Any]
    sha256: str
    files: Mapping[str, Listed]
    folder: Path | None = None

    @property
    def title(self) -> str:
        """Name, version and the start of the digest, one line."""
        return f"{self.tree['name']} {self.tree['version']} ({self.sha256[:12]})"

    def artifacts(self, stage: str) -> tuple[str, ...]:
        """File names of a stage's networks; the one in use comes first."""
        facts = self.tree["stages"].get(stage)
        return (facts["artifact"], *facts.get("others", ())) if facts else ()

    def settings(self) -> dict[str, Scalar]:
        """What the bundle sets, by dotted name: thresholds, and artifacts by absolute path."""
        paths = {f"{stage}.artifact": self._path(self.artifacts(stage)[0]) for stage in STAGES}
        return {**self.tree["values"], **paths}

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with absolute paths where artifacts of this bundle are named by file name."""
        stages = {f"{stage}.artifact": self.artifacts(stage) for stage in STAGES}
        return {
            name: self._path(value) if value in stages.get(name, ()) else value
            for name, value in values.items()
        }

    def _path(self, file: str) -> str:
        assert self.folder is not None
        return str(self.folder / file)


def thresholds() -> dict[str, Leaf]:
    """The settings that a bundle carries: the stages' numbers, no places and no policies."""
    return {
        leaf.name: leaf
        for leaf in leaves()
        if leaf.live and leaf.name.partition(".")[0] in STAGES and not leaf.choices
    }


def stage_facts(artifact: str, sidecar: Sidecar) -> dict[str, Any]:
    """What bundle.json repeats of the sidecar of the network in use.

    Args:
        artifact: file name of the network.
        sidecar: what stands beside it.
    """
    meta: Any = json.loads(json.dumps(dict(sidecar.meta)))  # tuples as JSON has them
    facts = {
        "artifact": artifact,
        "precision": sidecar.precision,
        "preprocessing": {key: meta[key] for key in _PREPROCESSING if key in meta},
    }
    if "labels" in meta:
        facts["labels"] = meta["labels"]
    if gallery := {key: meta[key] for key in _GALLERY if key in meta}:
        facts["gallery"] = gallery
    return facts


def parse_description(text: bytes, source: Path) -> Bundle:
    """Read bundle.json.

    Args:
        text: its bytes.
        source: the bundle, for error messages.

    Raises:
        ArtifactError: If it is not JSON, not of the schema, of a newer robollm, sets what
            no bundle may set, or names files that cannot be.
    """
    where = f"{source}: {DESCRIPTION}"
    try:
        tree = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where} is not JSON: {error}. Fetch the bundle again.") from error
    _check_version(tree, where)
    for fault in jsonschema.Draft202012Validator(_schema()).iter_errors(tree):
        place = fault.json_path[:100].encode("unicode_escape").decode()
        raise ArtifactError(f"{where}: {place}: {fault.message[:200]}")
    _check_values(tree["values"], where)
    files = {name: Listed(**said) for name, said in tree["files"].items()}
    _check_names(files, source)
    bundle = Bundle(source, tree, hashlib.sha256(text).hexdigest(), files)
    for artifact in (name for stage in tree["stages"] for name in bundle.artifacts(stage)):
        if artifact not in files:
            raise ArtifactError(f"{where} names the network {artifact[:100]!r}, but no such file.")
    return bundle


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key is twice in one object")
    return tree


def _check_version(tree: Any, where: str) -> None:
    """Say "newer" before the schema, which knows this format alone, says "wrong"."""
    told = tree if isinstance(tree, dict) else {}
    if told.get("format") != FORMAT:
        raise ArtifactError(
            f"{where} must have the format {FORMAT}, got {told.get('format')!r}. A later one needs "
            "a newer robollm."
        )
    try:
        newer = _release(told.get("needs", "")) > _release(__version__)
    except (AttributeError, ValueError):
        return  # the schema says what is wrong with it
    if newer:
        raise ArtifactError(
            f"{where} needs robollm {told['needs']} or later, this is {__version__}. Install that."
        )


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@cache
def _schema() -> Any:
    path = locate(_SCHEMA_FILE)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error}. Reinstall robollm.") from error


def _check_values(values: Mapping[str, Any], where: str) -> None:
    known = thresholds()
    for name, value in values.items():
        if name not in known:
            raise ArtifactError(
                f"{where}: a bundle cannot set {name[:100]!r}, only {', '.join(known)}."
            )
        try:
            check_leaf(known[name], value)
        except (ConfigError, OverflowError) as error:
            raise ArtifactError(f"{where}: {name}: {error}") from error


def _check_names(files: Mapping[str, Listed], source: Path) -> None:
    taken = {DESCRIPTION}
    for name in files:
        check_name(name, source)
        if name.casefold() in taken:
            raise ArtifactError(f"{source}: {DESCRIPTION} lists {name!r} twice, but for the case.")
        taken.add(name.casefold())
    for name in taken:
        parents = {parent.as_posix() for parent in Path(name).parents}
        if inside := parents & taken:
            raise ArtifactError(f"{source}: {inside.pop()!r} is a file and a folder at once.")


def check_sidecars(bundle: Bundle, texts: Mapping[str, bytes]) -> None:
    """Hold bundle.json against the sidecars of its networks.

    Args:
        bundle: what it says.
        texts: the sidecars by file name.

    Raises:
        ArtifactError: If a network has no sidecar, or one of another file or stage, or
            bundle.json tells otherwise.
    """
    for stage, facts in bundle.tree["stages"].items():
        for artifact in bundle.artifacts(stage):
            sidecar = _sidecar(bundle, artifact, texts)
            if sidecar.stage != stage:
                raise ArtifactError(
                    f"{bundle.source}: {artifact} must be of the stage {stage}, its sidecar says "
                    f"{sidecar.stage[:100]!r}. Make the bundle again."
                )
            _check_digest(bundle, artifact, sidecar.sha256)
            _check_external(bundle, artifact, sidecar)
        used = stage_facts(facts["artifact"], _sidecar(bundle, facts["artifact"], texts))
        if {key: facts[key] for key in facts if key != "others"} != used:
            raise ArtifactError(
                f"{bundle.source}: {DESCRIPTION} says of {stage} what its sidecar does not: "
                f"expected {used}. Make the bundle again."
            )


def _sidecar(bundle: Bundle, artifact: str, texts: Mapping[str, bytes]) -> Sidecar:
    name = sidecar_path(Path(artifact)).name
    try:
        return Sidecar.from_json(texts[name].decode("utf-8"))
    except KeyError:
        raise ArtifactError(
            f"{bundle.source}: {artifact} has no sidecar {name}. Make the bundle again."
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{bundle.source}: {name} is not a sidecar: {error}.") from error


def _check_external(bundle: Bundle, artifact: str, sidecar: Sidecar) -> None:
    external = sidecar.meta.get("external")
    if external is None:
        return
    name = data_path(Path(artifact)).name
    if not isinstance(external, Mapping) or external.get("file") != name:
        raise ArtifactError(
            f"{bundle.source}: the sidecar of {artifact} must name {name} as external, it says "
            f"{external!r}."
        )
    _check_digest(bundle, name, external.get("sha256"))


def _check_digest(bundle: Bundle, name: str, expected: Any) -> None:
    listed = bundle.files.get(name)
    if listed is None or listed.sha256 != expected:
        raise ArtifactError(
            f"{bundle.source}: the sidecar is about a file {name} of sha256 "
            f"{str(expected)[:16]}..., the bundle has {listed.sha256[:16] if listed else 'none'}. "
            "Make the bundle again."
        )
