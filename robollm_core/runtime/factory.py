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
        if config.name in ("auto", "onnx"):
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


def load_bare_engine(path: Path, config: RuntimeConfig) -> Engine:
    """Put somebody else's ONNX file, which has no sidecar, on ONNX Runtime.

    Args:
        path: the `.onnx` file.
        config: device and threads; its runtime must be onnx.

    Returns:
        An engine with the names, shapes and dtypes of the graph; -1 for every size
        that the graph leaves open.

    Raises:
        ArtifactError: If the file is missing or no network.
        RuntimeUnavailableError: If runtime or device are not there.
    """
    if config.name not in ("auto", "onnx"):
        raise RuntimeUnavailableError(
            f"{path} is an ONNX file without a sidecar: it runs on onnx alone, got runtime.name "
            f"{config.name!r}. Set runtime.name to onnx."
        )
    from robollm_core.runtime.onnx import bare_engine

    return bare_engine(path, config)
