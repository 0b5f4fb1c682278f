# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on OpenVINO, on the CPU."""

import hashlib
import io
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, CacheError, RuntimeUnavailableError
from robollm_core.files import file_sha256
from robollm_core.runtime.cache import Entry, Facts, cache_folder
from robollm_core.runtime.engine import check_inputs, run_failed, thread_count
from robollm_core.types import EngineSpec, Tensors, TensorSpec

_DEVICE = "CPU"
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "own": "dynamic"}
_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}
_FP32_ARITHMETIC = ("fp32", "fp16 weights")

_log = logging.getLogger(__name__)
_SAID: set[Path] = set()
"""Cache folders that cannot be written, as the log has said."""


class OpenVinoEngine:
    """One network compiled by OpenVINO for the CPU."""

    def __init__(
        self,
        network: Path | bytes,
        spec: EngineSpec,
        config: RuntimeConfig,
        stored: str = "fp32",
        digest: str = "",
    ) -> None:
        """Compile a network, or take what an earlier start compiled from the cache.

        Args:
            network: the `.onnx` file, or its bytes.
            spec: what its sidecar says goes in and out.
            config: precision, threads and cache.
            stored: precision of the artifact, as its sidecar says.
            digest: names the network and all its parts in the cache; "" for the
                sha256 of a network that is one file.

        Raises:
            RuntimeUnavailableError: If the device is not the CPU, or the CPU has no
                arithmetic of the precision asked for.
            ArtifactError: If the file is no network, or not the one of `spec`.
        """
        self.spec = spec
        self._arithmetic = arithmetic(config, stored)
        core = openvino.Core()
        settings = _settings(config, self._arithmetic)
        facts = _facts(core, digest or _digest(network), settings)
        # OpenVINO's own CACHE_DIR is as fast, but believes whatever it finds there
        entry = Entry(cache_folder(config) / "openvino", facts, ".blob")
        self._model, self._note = _load(core, network, settings, entry)
        found = _spec(self._model, spec)
        if found != spec:
            raise ArtifactError(
                f"the network and its sidecar disagree: the sidecar says {spec}, the graph has "
                f"{found}. Export it again."
            )
        self._request = self._model.create_infer_request()
        self._turn = threading.Lock()  # a request serves one caller at a time

    @property
    def description(self) -> str:
        """Runtime, version, device and arithmetic in use, and whether a start is repeated."""
        how = "in the types of the graph" if self._arithmetic == "own" else self._arithmetic
        return f"openvino {version()} {_DEVICE} {how}{self._note}"

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once.

        Raises:
            ShapeError: If `inputs` does not fit `spec`.
            NotFiniteError: If one holds NaN or infinity.
            RuntimeFailedError: If OpenVINO fails.
        """
        checked = check_inputs(self.spec, inputs)
        with self._turn:
            try:
                found = self._request.infer(dict(enumerate(checked.values())))
                # the request's memory is overwritten by its next run
                outputs = [np.array(found[port]) for port in self._model.outputs]
            except Exception as error:
                raise run_failed(self.description, error) from error
        return {tensor.name: rows for tensor, rows in zip(self.spec.outputs, outputs, strict=True)}


def version() -> str:
    """The version of OpenVINO, without its build."""
    return str(openvino.__version__).partition("-")[0]


def arithmetic(config: RuntimeConfig, stored: str) -> str:
    """The arithmetic that a network gets.

    Args:
        config: says the precision and the device.
        stored: precision of the artifact, as its sidecar says.

    Returns:
        "fp32", "bf16" or "fp16"; "own" for an artifact that has its types in the graph:
        it is computed in these, islands of fp32 included.

    Raises:
        RuntimeUnavailableError: If the device is not the CPU, or the CPU lacks it.
    """
    if config.device != "cpu":
        raise RuntimeUnavailableError(
            f"runtime openvino runs on the CPU, got runtime.device {config.device!r}. Set "
            "runtime.device to cpu, or runtime.name to one for that device: onnx, tensorrt, "
            "tensorrt_rtx or torch."
        )
    if stored not in _FP32_ARITHMETIC:
        return "own"
    capable = openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if config.precision == "auto":
        # fp16 is not taken by itself: CPUs that have it are often slower with it than with fp32
        return "bf16" if _CAPABILITIES["bf16"] in capable else "fp32"
    needed = _CAPABILITIES.get(config.precision)
    if needed and needed not in capable:
        raise RuntimeUnavailableError(
            f"runtime.precision {config.precision!r} needs a CPU with {needed} arithmetic, this "
            f"one has {', '.join(capable)} (openvino {version()}). Set runtime.precision to auto."
        )
    return config.precision


def _settings(config: RuntimeConfig, how: str) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[how],
        "INFERENCE_NUM_THREADS": thread_count(config),
        # cores are shared with other engines and nodes: a thread must be able to give way
        "ENABLE_CPU_PINNING": False,
    }


def _facts(core: Any, digest: str, settings: dict[str, Any]) -> Facts:
    return {
        "network": digest,
        "openvino": str(openvino.__version__),
        "cpu": str(core.get_property(_DEVICE, "FULL_DEVICE_NAME")),
        "capabilities": " ".join(core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")),
        **{name: str(value) for name, value in settings.items()},
    }


def _digest(network: Path | bytes) -> str:
    if isinstance(network, bytes):
        return hashlib.sha256(network).hexdigest()
    try:
        return file_sha256(network)
    except OSError as error:
        raise ArtifactError(f"cannot read the network {network}: {error}.") from error


def _load(
    core: Any, network: Path | bytes, settings: dict[str, Any], entry: Entry
) -> tuple[Any, str]:
    """The compiled model, and what to say of the cache when it does not work."""
    if entry.valid():
        try:
            return core.import_model(io.BytesIO(entry.path.read_bytes()), _DEVICE, settings), ""
        except (OSError, RuntimeError) as error:
            _log.warning("OpenVINO refuses its own %s, compiling anew: %s", entry.path, error)
    try:
        # the other parts of a network lie beside its file, so a file is given by name
        read = network if isinstance(network, bytes) else str(network)
        model = core.compile_model(core.read_model(read), _DEVICE, settings)
    except RuntimeError as error:
        name = "the network" if isinstance(network, bytes) else str(network)
        raise ArtifactError(f"OpenVINO cannot load {name}: {_reason(error)}") from error
    try:
        entry.write(model.export_model().getvalue())
    except CacheError as error:
        if entry.folder not in _SAID:
            _SAID.add(entry.folder)
            _log.warning("Every start compiles anew, as compiled networks are not kept: %s", error)
        return model, " (not cached)"
    return model, ""


def _reason(error: Exception) -> str:
    """The last line that is no place in OpenVINO's source code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception from ")]
    return (told or lines or ["no reason given"])[-1]


def _spec(model: Any, wanted: EngineSpec) -> EngineSpec:
    return EngineSpec(
        _tensors(model.inputs, wanted.inputs), _tensors(model.outputs, wanted.outputs)
    )


def _tensors(ports: Any, wanted: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    names = [tensor.name for tensor in wanted]
    found = []
    for number, port in enumerate(ports):
        own = port.get_names()
        # a tensor that merely passes on another has the names of both
        fits = number < len(names) and names[number] in own
        name = names[number] if fits else min(own, default="")
        shape = tuple(
            size.get_length() if size.is_static else -1 for size in port.get_partial_shape()
        )
        found.append(TensorSpec(name, shape, str(np.dtype(port.get_element_type().to_dtype()))))
    return tuple(found)
