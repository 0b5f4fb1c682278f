# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on ONNX Runtime."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, RuntimeUnavailableError
from robollm_core.runtime.cache import cache_folder
from robollm_core.runtime.engine import check_inputs, memory_is_short, run_failed, thread_count
from robollm_core.types import EngineSpec, Tensors, TensorSpec

CPU = "CPUExecutionProvider"
GPU = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
}
"""Values of runtime.provider, which counts on the device cuda."""

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}

_log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[np.generic]]


class OnnxEngine:
    """One ONNX Runtime session on exactly one provider."""

    def __init__(self, network: Path | bytes, spec: EngineSpec, config: RuntimeConfig) -> None:
        """Load a network.

        Args:
            network: the `.onnx` file, or its bytes.
            spec: what its sidecar says goes in and out.
            config: device, provider and threads.

        Raises:
            RuntimeUnavailableError: If the device's provider is not there, or
                ONNX Runtime put the network on another one.
            ArtifactError: If the file is no network, or not the one of `spec`.
            RuntimeFailedError: If the device has not enough memory for it.
        """
        self._provider = _provider(config)
        self._session = _open(network, _choice(self._provider, config), thread_count(config))
        self._device = config.device
        self._bound: _Bound | None = None
        self._turn = threading.Lock()  # bound buffers serve one caller at a time
        self.spec = spec
        found = _spec(self._session)
        if found != spec:
            raise ArtifactError(
                f"the network and its sidecar disagree: the sidecar says {spec}, the graph has "
                f"{found}. Export it again."
            )

    @property
    def description(self) -> str:
        """Runtime, version and provider in use."""
        return f"onnxruntime {onnxruntime.__version__} {self._provider}"

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once.

        Raises:
            ShapeError: If `inputs` does not fit `spec`.
            NotFiniteError: If one holds NaN or infinity.
            RuntimeFailedError: If ONNX Runtime fails, for want of memory for one.
        """
        checked = check_inputs(self.spec, inputs)
        with self._turn:
            try:
                if self._bound is None or not self._bound.fits(checked):
                    self._bound = None  # its memory is free before more is asked for
                    self._bound = _Bound(self._session, self.spec, checked, self._device)
                return self._bound.run(checked)
            except Exception as error:  # ONNX Runtime raises a class of its own for every status
                self._bound = None
                raise run_failed(self.description, error) from error


class _Bound:
    """Buffers on the device for inputs of one shape, filled in place from run to run.

    Nothing is moved but the inputs to the device and the outputs from it.
    """

    def __init__(self, session: Any, spec: EngineSpec, inputs: Arrays, device: str) -> None:
        self._session, self._binding = session, session.io_binding()
        make = onnxruntime.OrtValue
        # a copy: on the CPU the buffer is the array's own memory, and the caller's is not ours
        self._inputs = {
            name: make.ortvalue_from_numpy(np.array(array), device, 0)
            for name, array in inputs.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._names = [tensor.name for tensor in spec.outputs]
        self._open = [tensor.name for tensor in spec.outputs if -1 in tensor.shape]
        self._device = device
        for tensor in spec.outputs:
            if tensor.name in self._open:
                self._binding.bind_output(tensor.name, device)
                continue
            kind = np.dtype(tensor.dtype)
            value = make.ortvalue_from_shape_and_type(list(tensor.shape), kind, device, 0)
            self._binding.bind_ortvalue_output(tensor.name, value)

    def fits(self, inputs: Arrays) -> bool:
        """Whether inputs have the shapes of the buffers."""
        return all(
            tuple(self._inputs[name].shape()) == array.shape for name, array in inputs.items()
        )

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Run once; what it returns is the caller's."""
        for name, array in inputs.items():
            self._inputs[name].update_inplace(array)
        for name in self._open:  # else it would have to be as large as in the run before
            self._binding.bind_output(name, self._device)
        self._session.run_with_iobinding(self._binding)
        outputs = self._binding.get_outputs()
        # on the CPU the array is a view of the buffer, which the next run overwrites
        return {
            name: np.array(value.numpy()) for name, value in zip(self._names, outputs, strict=True)
        }


def bare_engine(path: Path, config: RuntimeConfig) -> OnnxEngine:
    """Load a network that has no sidecar; its graph alone says what goes in and out.

    Raises:
        RuntimeUnavailableError: If the device is not there.
        ArtifactError: If the file is no network.
    """
    return OnnxEngine(path, _spec(_open(path, [CPU], threads=1)), config)


def graph_spec(network: Path | bytes) -> EngineSpec:
    """Inputs and outputs of a network, as ONNX Runtime sees them on the CPU.

    Raises:
        ArtifactError: If it is no network.
    """
    return _spec(_open(network, [CPU], threads=1))


def _provider(config: RuntimeConfig) -> str:
    provider = CPU if config.device == "cpu" else GPU[config.provider]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise RuntimeUnavailableError(
            f"runtime.device {config.device!r} with runtime.provider {config.provider!r} needs "
            f"{provider}, onnxruntime {onnxruntime.__version__} offers {', '.join(available)}. "
            "Install onnxruntime-gpu in place of onnxruntime, or set runtime.device to cpu."
        )
    return provider


def _choice(provider: str, config: RuntimeConfig) -> list[Any]:
    """What ONNX Runtime is told: the provider with its options, then who takes the rest."""
    if provider in (CPU, GPU["cuda"]):
        return [provider]
    folder = str(cache_folder(config).absolute() / "onnxruntime")
    options = {
        GPU["tensorrt"]: {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        },
        GPU["tensorrt_rtx"]: {"nv_runtime_cache_path": folder},
    }
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("%s builds its engines anew at every start: %s", provider, error)
        return [provider, GPU["cuda"]]
    return [(provider, options[provider]), GPU["cuda"]]


def _open(network: Path | bytes, providers: list[Any], threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # a thread that spins while it waits takes a core from the rest of the robot: on two busy cores
    # a frame of the tiny segmenter took 402 ms of CPU time with spinning and 270 ms without
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors reach the caller as exceptions
    source = network if isinstance(network, bytes) else str(network)
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    try:
        session = onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a class of its own for every status
        if memory_is_short(error):
            raise run_failed(f"onnxruntime {onnxruntime.__version__} {wanted}", error) from error
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        name = "the network" if isinstance(network, bytes) else str(network)
        raise ArtifactError(f"ONNX Runtime cannot load {name}: {reason}") from error
    session.disable_fallback()
    # a provider that fails to start is left out with no more than a log line
    if session.get_providers()[0] != wanted:
        raise RuntimeUnavailableError(
            f"asked for {wanted}, ONNX Runtime uses {session.get_providers()[0]}. Its libraries "
            "(CUDA, cuDNN, TensorRT) are missing or of another version; see `robollm doctor`."
        )
    return session


def _spec(session: Any) -> EngineSpec:
    return EngineSpec(
        tuple(map(_tensor, session.get_inputs())), tuple(map(_tensor, session.get_outputs()))
    )


def _tensor(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    dtype = _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return TensorSpec(node.name, shape, dtype)
