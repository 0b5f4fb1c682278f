# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one switch between runtimes. It never falls back to another."""

from pathlib import Path

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime.artifact import load_artifact
from robollm_core.types import Engine


def load_engine(path: Path | str, config: RuntimeConfig) -> Engine:
    """Put an artifact on the runtime and the device that were asked for.

    Args:
        path: the `.onnx` file; a relative path goes through `locate`.
        config: runtime, device and threads.

    Returns:
        An engine that is ready to run.

    Raises:
        ArtifactError: If the artifact is missing, damaged or inconsistent.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    file, sidecar = load_artifact(path)
    try:
        if config.name == "onnx":
            from robollm_core.runtime.onnx import OnnxEngine

            return OnnxEngine(file, sidecar.spec, config)
        if config.name == "torch":
            from robollm_core.runtime.torch import load_torch_engine

            return load_torch_engine(file, sidecar, config)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("robollm_core"):
            raise
        raise RuntimeUnavailableError(
            f"runtime {config.name!r} needs the Python package {error.name!r}. Install it, or "
            "set runtime.name to another runtime; `robollm doctor` lists those that are here."
        ) from error
    raise RuntimeUnavailableError(f"no runtime {config.name!r}; there are onnx and torch.")
