# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the three stages share: reading their sidecar and feeding an engine in batches."""

import math

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ArtifactError, ConfigError
from robollm_core.images import CropSpec
from robollm_core.runtime.artifact import Sidecar
from robollm_core.types import Engine, UInt8Array

NATIVE, RELEASED = "native", "released"
"""How an identification network's embeddings are compared: unit vectors by their cosine, or
raw dot products, as the released RoboLLM networks were trained."""

BATCH = 16
"""Crops in one run: large enough to keep a CPU busy, small enough to bound memory."""


def check_stage(sidecar: Sidecar, stage: str) -> None:
    """Refuse the artifact of another stage.

    Raises:
        ArtifactError: If the sidecar names another stage.
    """
    if sidecar.stage != stage:
        raise ArtifactError(
            f"expected an artifact of stage {stage!r}, got one of {sidecar.stage!r}. "
            f"Set {stage}.artifact to a {stage} network."
        )


def labels(sidecar: Sidecar) -> tuple[str, ...]:
    """The class names of the network, in the order of its outputs.

    Raises:
        ArtifactError: If the sidecar's meta has no list of names under "labels".
    """
    names = sidecar.meta.get("labels")
    if not isinstance(names, list | tuple) or not names:
        raise ArtifactError(f"the sidecar's meta.labels must list the classes, got {names!r}.")
    return tuple(str(name) for name in names)


def crop_spec(sidecar: Sidecar) -> CropSpec:
    """How the network was trained to see its crops.

    Raises:
        ArtifactError: If the sidecar's meta has no valid "crop".
    """
    tree = sidecar.meta.get("crop")
    try:
        if isinstance(tree, dict):
            return CropSpec.from_json(tree)
    except ConfigError as error:
        raise ArtifactError(f"the sidecar's meta.crop is wrong: {error}") from error
    raise ArtifactError(f"the sidecar's meta.crop must describe the crop, got {tree!r}.")


def reference_scale(sidecar: Sidecar) -> float:
    """The inverse temperature at which the references of an item are put together.

    Returns:
        The sidecar's meta.scale, above 0; infinite, which takes the best
        reference alone, for a network that was trained without one.

    Raises:
        ArtifactError: If meta.scale is there and no such number.
    """
    value = sidecar.meta.get("scale", math.inf)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ArtifactError(f"the sidecar's meta.scale must be a number above 0, got {value!r}.")
    return float(value)


def scoring(sidecar: Sidecar) -> str:
    """How the embeddings of an identification network are compared.

    Returns:
        `NATIVE`, also for sidecars that do not say it, or `RELEASED`.

    Raises:
        ArtifactError: If meta.scoring is neither, or a released network has a scale:
            its items score as their best reference.
    """
    name = sidecar.meta.get("scoring", NATIVE)
    if name not in (NATIVE, RELEASED):
        raise ArtifactError(
            f"the sidecar's meta.scoring must be {NATIVE!r} or {RELEASED!r}, got {name!r}."
        )
    if name == RELEASED and "scale" in sidecar.meta:
        raise ArtifactError("the sidecar's meta.scale belongs to native scoring, not to released.")
    return str(name)


def has_output(sidecar: Sidecar, name: str) -> bool:
    """Whether the graph of an artifact has an output of this name."""
    return any(tensor.name == name for tensor in sidecar.spec.outputs)


def reference_output(sidecar: Sidecar) -> str:
    """The output of an identification network that embeds references.

    Returns:
        "reference" where a network embeds them otherwise than queries, else "embedding".
    """
    return "reference" if has_output(sidecar, "reference") else "embedding"


def run_batches(engine: Engine, images: UInt8Array, output: str) -> npt.NDArray[np.float32]:
    """Run crops through an engine in batches of at most `BATCH`.

    Args:
        engine: with input "images" (N, S, S, 3) uint8.
        images: (N, S, S, 3) uint8, N at least 1.
        output: name of the output wanted.

    Returns:
        (N, ...) float32, row i belongs to images[i].
    """
    parts = [
        np.asarray(engine.run({"images": images[start : start + BATCH]})[output], np.float32)
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)
