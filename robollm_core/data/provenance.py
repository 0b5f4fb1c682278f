# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a replayed bag came from: enough to say whether two of them must be equal.

The facts are the same on every run of the same software over the same bag; they stand
in the bag's own metadata and, with a digest, in the file beside it. What differs
between two runs, the hour and the seconds, stands in that file alone.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.config import Config, flatten
from robollm_core.errors import BagError
from robollm_core.files import file_sha256
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.bundle import read_description
from robollm_core.runtime.bundle_description import parse_description
from robollm_core.runtime.factory import resolve, version_of

KEY = "robollm"
"""Name of the facts among the custom data of a bag."""
STAGES = ("segmentation", "identification", "defects")
PACKAGES = ("numpy", "opencv-python-headless", "rosbags")
_PLACES = frozenset(
    {
        "runtime.cache", "runtime.bundle", "identification.reference_root",
        "identification.gallery", *(f"{stage}.artifact" for stage in STAGES),
    }
)  # fmt: skip
"""Settings that only say where something lies; what lies there is named by its digest."""


def facts_of(config: Config, bag: Path, mode: Mapping[str, Any]) -> dict[str, Any]:
    """Where the answers of a replay come from.

    Args:
        config: the tree in force.
        bag: what is replayed.
        mode: how, as JSON: whatever changes which frames are answered.

    Returns:
        Plain JSON values without a place or a time: "robollm", "mode", "bag",
        "parameters", "networks" (by stage), "bundle", "gallery", "packages".

    Raises:
        ArtifactError: If a network is missing or damaged.
        BagError: If the bag cannot be read.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    settings = {name: value for name, value in flatten(config).items() if name not in _PLACES}
    defaults = flatten(Config())
    gallery = Path(config.identification.gallery) if config.identification.gallery else None
    return {
        "robollm": __version__,
        "mode": dict(mode),
        "bag": {"sha256": bag_sha256(bag)},
        "parameters": {
            "sha256": _digest(settings),
            "changed": {n: value for n, value in settings.items() if value != defaults[n]},
        },
        "networks": {stage: _network(config, stage) for stage in STAGES},
        "bundle": _bundle(config),
        "gallery": file_sha256(gallery) if gallery and gallery.is_file() else "",
        "packages": _packages(),
    }


def bag_sha256(path: Path) -> str:
    """Names the content of a bag: of a folder the digest over its files, by name.

    Raises:
        BagError: If it cannot be read.
    """
    try:
        if path.is_file():
            return file_sha256(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = {file.relative_to(path).as_posix(): file_sha256(file) for file in files}
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error}") from error
    return _digest(listed)


def note(facts: Mapping[str, Any], run: Mapping[str, Any]) -> bytes:
    """The file beside a replayed bag.

    Args:
        facts: as of `facts_of`.
        run: what is true of this run alone.

    Returns:
        JSON with "facts", "facts_sha256" and "run".
    """
    tree = {"facts": dict(facts), "facts_sha256": _digest(facts), "run": dict(run)}
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()


def note_path(bag: Path) -> Path:
    """Where the file beside a replayed bag stands."""
    return bag.with_name(f"{bag.name}.run.json")


def canonical(tree: Mapping[str, Any]) -> str:
    """JSON text that is the same for equal trees."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(tree).encode()).hexdigest()


def _network(config: Config, stage: str) -> dict[str, str]:
    artifact = getattr(config, stage).artifact
    sidecar = load_artifact(artifact)[1]
    # what auto comes to, since two runtimes answer alike but not to the last bit
    found = resolve(artifact, config.runtime)
    words = (found.name, version_of(found.name), found.device, found.precision)
    return {
        "sha256": sidecar.sha256,
        "precision": sidecar.precision,
        "runtime": " ".join(word for word in words if word != "auto"),
    }


def _bundle(config: Config) -> dict[str, str]:
    if not config.runtime.bundle:
        return {}
    source = Path(config.runtime.bundle)
    bundle = parse_description(read_description(source), source)
    return {
        "name": str(bundle.tree["name"]),
        "version": str(bundle.tree["version"]),
        "sha256": bundle.sha256,
    }


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
