# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where figures come from: enough to obtain them again, and to know what chose the network."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core import __version__
from robollm_core.config import Config, flatten
from robollm_core.errors import DatasetError
from robollm_core.evaluation.embedding_model import runtime_of
from robollm_core.evaluation.outcome import Outcome, Request
from robollm_core.runtime import processor
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import resolve, version_of

BY_VALIDATION = "best checkpoint by the val split of its training data; never by this data"
UNKNOWN = "not known: the network does not say how its checkpoint was chosen"


def describe(request: Request, stage: str, outcome: Outcome, command: str) -> dict[str, Any]:
    """What stands beside the figures of a run.

    Args:
        request: what was asked.
        stage: which stage was asked.
        outcome: what came of it.
        command: the command line.

    Returns:
        Plain JSON values: "command", "machine", "version", "seed", "config" (every
        setting that differs from the defaults), "selection", "networks", "runtimes"
        (what each of our networks ran on), "artifact" (the network that the figures
        name first), and "data".

    Raises:
        DatasetError: If the simulator's note beside the data is damaged.
    """
    first = next(iter(outcome.networks.items()), ("", ""))
    return {
        "command": command,
        "machine": machine(),
        "version": __version__,
        "seed": request.seed,
        "config": changed(request.config),
        "selection": {
            "checkpoint": _chosen(request.models, stage, outcome.networks),
            "thresholds": "configuration",
        },
        "networks": dict(outcome.networks),
        "runtimes": _runtimes(request, outcome.networks),
        "artifact": {"file": first[0], "sha256": first[1]},
        "data": {
            "folder": request.dataset.name,
            "split": request.split,
            "synthetic": made_by(request.dataset, request.split),
        },
    }


def _runtimes(request: Request, networks: Mapping[str, str]) -> dict[str, str]:
    """Runtime, version, device and arithmetic of each network that has a sidecar."""
    folder = request.models.parent if request.models.suffix == ".onnx" else request.models
    asked, found = runtime_of(request), {}
    for name in networks:
        path = (folder / name).resolve()
        if path.suffix == ".onnx" and path.is_file() and path.with_suffix(".json").is_file():
            got = resolve(path, asked)
            words = (got.name, version_of(got.name), got.device, got.precision)
            found[name] = " ".join(word for word in words if word != "auto")
    return found


def changed(config: Config) -> dict[str, Any]:
    """The settings that differ from the defaults, by dotted name."""
    defaults = flatten(Config())
    return {name: value for name, value in flatten(config).items() if value != defaults[name]}


def _chosen(models: Path, stage: str, networks: Mapping[str, str]) -> str:
    """How the checkpoints of the networks were chosen, as their sidecars tell."""
    if models.suffix == ".onnx":
        paths = [models]
    else:
        named = [models / name for name in networks] or [models / f"{stage}.onnx"]
        paths = [path for path in named if path.suffix == ".onnx"]
    if not paths or not all(path.with_suffix(".json").is_file() for path in paths):
        return UNKNOWN
    # only our own training writes this key, and it keeps the best by val
    ours = all("validate_every" in load_artifact(path.resolve())[1].recipe for path in paths)
    return BY_VALIDATION if ours else UNKNOWN


def machine() -> str:
    """Processor and core count, one line."""
    return f"{processor.model()}, {os.cpu_count()} cores"


def made_by(data: Path, split: str) -> Mapping[str, Any]:
    """Seed and rates that the simulator noted beside its data; empty for other data.

    Raises:
        DatasetError: If the note is there and is no JSON object.
    """
    note = data / f"synthetic-{split}.json"
    if not note.is_file():
        return {}
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return {key: value for key, value in facts.items() if not isinstance(value, list)}
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(f"cannot read {note}: {error}") from error
