# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The one switch between runtimes. It never falls back to another."""

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.cache import Entry, cache_folder
from robollm_core.runtime.engine import thread_count
from robollm_core.runtime.progress import note
from robollm_core.runtime.trial import Choice, choose, machine_facts
from robollm_core.types import Engine, EngineSpec, Tensors

MODULES = {
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    "torch": ("torch",),
}
"""Runtime to the Python modules of which it needs one, in the order of preference."""
PACKAGES = {
    "onnx": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    "torch": ("torch",),
}
"""Runtime to the packages that bring that module, by their names on the index."""
ON_CPU = ("onnx", "openvino")
"""What auto chooses among; an earlier one is taken unless a later one is clearly faster."""


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine that auto chose, and why."""

    engine: Engine
    reason: str

    @property
    def spec(self) -> EngineSpec:
        """As of the engine."""
        return self.engine.spec

    @property
    def description(self) -> str:
        """That of the engine, and why it was chosen."""
        return f"{self.engine.description} ({self.reason})"

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once."""
        return self.engine.run(inputs)


def installed() -> tuple[str, ...]:
    """The runtimes whose packages are here, in the order of preference; none is imported."""
    return tuple(
        name for name, modules in MODULES.items() if any(map(importlib.util.find_spec, modules))
    )


def load_engine(path: Path | str, config: RuntimeConfig) -> Engine:
    """Put an artifact on the runtime and the device that were asked for.

    Args:
        path: the `.onnx` file; a relative path goes through `locate`.
        config: runtime, device and threads. The name auto takes the fastest runtime
            for the CPU, which is measured when no earlier start has.

    Returns:
        An engine that is ready to run.

    Raises:
        ArtifactError: If the artifact is missing, damaged or inconsistent.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    file, sidecar = load_artifact(path)
    note(f"loading {file.name} on {config.name}")
    if config.name != "auto":
        return _load(file, sidecar, config)
    choice, remark = _choice(file, sidecar, config)
    engine = _load(file, sidecar, replace(config, name=choice.name))
    return ChosenEngine(engine, choice.told() + remark)


def resolve(path: Path | str, config: RuntimeConfig) -> RuntimeConfig:
    """What a configuration comes to for an artifact on this machine.

    Args:
        path: the `.onnx` file; a relative path goes through `locate`.
        config: may say auto.

    Returns:
        The configuration with the name of a runtime, and with a precision where that
        decides the answers; equal ones answer alike.

    Raises:
        ArtifactError: If the artifact is missing, damaged or inconsistent.
        RuntimeUnavailableError: If the runtime or the device is not there.
    """
    file, sidecar = load_artifact(path)
    name = config.name
    if name == "auto":
        name = _choice(file, sidecar, config)[0].name
    precision = "auto"  # as every other runtime reads it
    if name == "openvino":
        with _packages_of(name):
            from robollm_core.runtime.openvino import arithmetic

        found = arithmetic(config, sidecar.precision)
        # a graph with types of its own is computed in these, whatever is asked
        precision = "auto" if found == "own" else found
    return replace(config, name=name, precision=precision)


def resolve_bare(config: RuntimeConfig) -> RuntimeConfig:
    """What a configuration comes to for a network without a sidecar: auto is onnx."""
    name = "onnx" if config.name == "auto" else config.name
    return replace(config, name=name, precision="auto")


def load_bare_engine(path: Path, config: RuntimeConfig) -> Engine:
    """Put somebody else's ONNX file, which has no sidecar, on ONNX Runtime.

    Args:
        path: the `.onnx` file.
        config: device and threads; its runtime must be onnx, or auto, which is the same here.

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
    with _packages_of("onnx"):
        from robollm_core.runtime.onnx import bare_engine

    return bare_engine(path, config)


def _load(file: Path, sidecar: Sidecar, config: RuntimeConfig) -> Engine:
    with _packages_of(config.name):
        if config.name == "onnx":
            from robollm_core.runtime.onnx import OnnxEngine

            return OnnxEngine(file, sidecar.spec, config)
        if config.name == "openvino":
            from robollm_core.runtime.openvino import OpenVinoEngine

            stored, digest = sidecar.precision, _digest(sidecar)
            return OpenVinoEngine(file, sidecar.spec, config, stored, digest)
        if config.name in ("tensorrt", "tensorrt_rtx"):
            from robollm_core.runtime.tensorrt import load_tensorrt_engine

            return load_tensorrt_engine(file, sidecar, config)
        if config.name == "torch":
            from robollm_core.runtime.torch import load_torch_engine

            return load_torch_engine(file, sidecar, config)
    raise RuntimeUnavailableError(
        f"no runtime {config.name!r}; there are auto, {', '.join(MODULES)}."
    )


@contextmanager
def _packages_of(name: str) -> Iterator[None]:
    """Turn a failed import into an error that says what to install."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("robollm_core"):
            raise
        if isinstance(error, ModuleNotFoundError):
            lacks = f"needs the Python package {error.name!r}. Install it"
        else:
            lacks = f"does not start: {error}. Install its package again"
        raise RuntimeUnavailableError(
            f"runtime {name!r} {lacks}, or set runtime.name to another runtime; `robollm doctor` "
            "lists those that are here."
        ) from error


def _choice(file: Path, sidecar: Sidecar, config: RuntimeConfig) -> tuple[Choice, str]:
    if config.device != "cpu":
        raise RuntimeUnavailableError(
            f"runtime.name auto chooses among runtimes for the CPU, got runtime.device "
            f"{config.device!r}. Set runtime.name to onnx, tensorrt, tensorrt_rtx or torch."
        )
    names = [name for name in ON_CPU if name in installed()]
    if not names:
        raise RuntimeUnavailableError(
            "runtime.name auto needs onnxruntime or openvino, neither is installed. Run: pip "
            "install onnxruntime"
        )
    loaders = {name: partial(_load, file, sidecar, replace(config, name=name)) for name in names}
    facts = {
        **machine_facts(thread_count(config)),
        "network": _digest(sidecar),
        "precision": config.precision,
        "runtimes": " ".join(f"{name} {version_of(name)}" for name in names),
    }
    return choose(loaders, Entry(cache_folder(config) / "trials", facts, ".trial"))


def version_of(name: str) -> str:
    """The version of an installed runtime's package, without importing it.

    Args:
        name: of a runtime, a key of `MODULES`.

    Returns:
        "unknown" for a package that pip has not installed.
    """
    for package in PACKAGES[name]:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "unknown"


def _digest(sidecar: Sidecar) -> str:
    """Names a network with all its parts; tensors may lie in a second file."""
    external = sidecar.meta.get("external", {})
    return "+".join([sidecar.sha256, *([external["sha256"]] if external else [])])
