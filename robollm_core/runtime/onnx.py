# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, RuntimeUnavailableError
from robollm_core.runtime.engine import check_inputs
from robollm_core.types import EngineSpec, Tensors, TensorSpec

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxEngine:
    """One ONNX Runtime session on exactly one provider."""

    def __init__(self, network: Path | bytes, spec: EngineSpec, config: RuntimeConfig) -> None:
        """Load a network.

        Args:
            network: the `.onnx` file, or its bytes.
            spec: what its sidecar says goes in and out.
            config: device and threads.

        Raises:
            RuntimeUnavailableError: If the device's provider is not there, or
                ONNX Runtime put the network on another one.
            ArtifactError: If the file is no network, or not the one of `spec`.
        """
        self._provider = _provider(config)
        self._session = _open(network, self._provider, config.threads)
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
        """Run once; raises ShapeError when `inputs` does not fit `spec`."""
        names = [tensor.name for tensor in self.spec.outputs]
        outputs = self._session.run(names, check_inputs(self.spec, inputs))
        return dict(zip(names, outputs, strict=True))


def bare_engine(path: Path, config: RuntimeConfig) -> OnnxEngine:
    """Load a network that has no sidecar; its graph alone says what goes in and out.

    Raises:
        RuntimeUnavailableError: If the device is not there.
        ArtifactError: If the file is no network.
    """
    return OnnxEngine(path, _spec(_open(path, _PROVIDERS["cpu"], threads=1)), config)


def graph_spec(network: bytes) -> EngineSpec:
    """Inputs and outputs of a network, as ONNX Runtime sees them on the CPU.

    Raises:
        ArtifactError: If the bytes are no network.
    """
    return _spec(_open(network, _PROVIDERS["cpu"], threads=1))


def _provider(config: RuntimeConfig) -> str:
    provider = _PROVIDERS.get(config.device, config.device)
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise RuntimeUnavailableError(
            f"runtime.device {config.device!r} needs {provider}, onnxruntime "
            f"{onnxruntime.__version__} offers {', '.join(available)}. Install onnxruntime-gpu in "
            "place of onnxruntime, or set runtime.device to cpu."
        )
    return provider


def _open(network: Path | bytes, provider: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors reach the caller as exceptions
    source = network if isinstance(network, bytes) else str(network)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=[provider])
    except Exception as error:  # ONNX Runtime raises a class of its own for every status
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        name = "the network" if isinstance(network, bytes) else str(network)
        raise ArtifactError(f"ONNX Runtime cannot load {name}: {reason}") from error
    session.disable_fallback()
    # a provider that fails to start is left out with no more than a log line
    if session.get_providers()[0] != provider:
        raise RuntimeUnavailableError(
            f"asked for {provider}, ONNX Runtime uses {session.get_providers()[0]}. Its libraries "
            "(CUDA, cuDNN) are missing or of another version; see `robollm doctor`."
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
