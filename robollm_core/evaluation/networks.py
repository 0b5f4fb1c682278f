# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which network file of a stage an evaluation is about."""

from pathlib import Path

from robollm_core.errors import ArtifactError


def find(models: Path, stage: str) -> Path:
    """The network of a stage.

    Args:
        models: folder with one network a stage, named after it, or one network.
        stage: "segmentation", "identification" or "defects".

    Returns:
        The .onnx file. What lies here comes before what the package ships under
        the same relative name.

    Raises:
        ArtifactError: If the folder has no such network.
    """
    if models.suffix == ".onnx":
        return models.resolve() if models.exists() else models
    path = models / f"{stage}.onnx"
    if path.exists():
        return path.resolve()
    if models.is_dir():
        held = ", ".join(sorted(file.name for file in models.glob("*.onnx"))) or "none"
        raise ArtifactError(
            f"expected a network {path.name} in {models}, it holds: {held}. Name the network "
            f"itself, or run: robollm export {stage} --checkpoint CHECKPOINT --out {path}"
        )
    return path
