# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on TensorRT and TensorRT-RTX.

An engine has one stream, pinned memory for what goes in and out, and for each size
of the batch one recorded CUDA graph, so that a run costs one launch. Batches are
filled up to the next power of two: a robot sees every number of instances, and a
graph for each would be made in the middle of its work. All are made on loading.
"""

import threading
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, ConfigError, ShapeError
from robollm_core.runtime import tensorrt_cuda as cuda
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.cache import Entry, cache_folder
from robollm_core.runtime.engine import check_inputs
from robollm_core.runtime.tensorrt_api import Context, CudaEngine
from robollm_core.runtime.tensorrt_build import Batches, BuildPlan
from robollm_core.runtime.tensorrt_cache import (
    facts,
    kept_engine,
    placed_engine,
    print_progress,
    ready_engine,
)
from robollm_core.runtime.tensorrt_context import Contexts, failed
from robollm_core.runtime.tensorrt_flavour import Flavour, find_flavour, target_of
from robollm_core.types import EngineSpec, Tensors, TensorSpec

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


def load_tensorrt_engine(
    file: Path, sidecar: Sidecar, config: RuntimeConfig, batches: Batches | None = None
) -> "TensorRTEngine":
    """Put an artifact on the GPU; its engine is built first where there is none.

    Args:
        file: the `.onnx` file, checked against its sidecar.
        sidecar: its sidecar.
        config: name is "tensorrt" or "tensorrt_rtx", device must be cuda.
        batches: sizes of a free batch; None for those the stages use.

    Raises:
        ConfigError: If device or precision do not go with TensorRT.
        RuntimeUnavailableError: If TensorRT or the GPU is not there.
        RuntimeFailedError: If memory runs out, or the builder crashes.
        ArtifactError: If the network cannot be built, or is not the one of its sidecar.
        CacheError: If the engine cannot be kept.
    """
    _check_config(config)
    flavour = find_flavour(config.name)
    gpu, cache = cuda.this_gpu(), cache_folder(config)
    plan = BuildPlan(file, config.name, target_of(config.name, gpu), batches or Batches())
    data = _engine_of(plan, sidecar, cache)
    told = {**facts(plan, sidecar), "card": gpu.name}
    kernels = Entry(cache / "engines", told, ".kernels")
    return TensorRTEngine(data, sidecar.spec, flavour, plan.batches.most, kernels)


def _check_config(config: RuntimeConfig) -> None:
    if config.device != "cuda":
        raise ConfigError(
            f"runtime {config.name!r} runs on a GPU, runtime.device is {config.device!r}. Set "
            "runtime.device to cuda, or runtime.name to openvino or onnx."
        )
    if config.precision != "auto":
        raise ConfigError(
            f"runtime {config.name!r} computes as the artifact says, runtime.precision is "
            f"{config.precision!r}. Set it to auto, and choose an artifact of that precision "
            "(`robollm export STAGE --precision`)."
        )


def _engine_of(plan: BuildPlan, sidecar: Sidecar, cache: Path) -> bytes:
    beside = placed_engine(plan, sidecar, plan.network.parent)
    if beside.valid():
        return beside.path.read_bytes()
    if beside.path.exists():
        # as good as none: this machine has the GPU to build its own
        print_progress(
            f"{beside.path} is damaged, or of another network or version: not used, built anew"
        )
    return ready_engine(plan, kept_engine(plan, sidecar, cache), cache)


@dataclass(frozen=True, slots=True, eq=False)
class _Sized:
    """An engine ready for one size of the batch.

    Attributes:
        context: with sizes and addresses set.
        host: pinned memory by name, of this size.
        graph: the recorded run; None where it cannot be recorded.
    """

    context: Context
    host: dict[str, npt.NDArray[np.generic]]
    graph: Any


class TensorRTEngine:
    """One engine on one GPU; runs one after another, in any thread."""

    def __init__(
        self,
        data: bytes,
        spec: EngineSpec,
        flavour: Flavour,
        most: int,
        kernels: Entry | None = None,
    ) -> None:
        """Load an engine and make all its sizes ready.

        Args:
            data: the engine, of this flavour, version and GPU.
            spec: what its sidecar says goes in and out.
            flavour: TensorRT or TensorRT-RTX.
            most: largest size of a free batch.
            kernels: where TensorRT-RTX keeps what it compiles; None for nowhere.

        Raises:
            ArtifactError: If the engine is not the one of `spec`.
            RuntimeFailedError: If the GPU cannot take it, as when memory runs out.
        """
        self.spec = spec
        self._tensors = (*spec.inputs, *spec.outputs)
        self._flavour, self._most = flavour, most
        self._free = any(-1 in tensor.shape for tensor in spec.inputs)
        self._lock = threading.Lock()
        with ExitStack() as stack:
            self._runtime = flavour.bindings.Runtime(flavour.logger)
            engine = self._runtime.deserialize_cuda_engine(data)
            if engine is None:
                raise failed(flavour, "load the engine")
            self._engine = engine
            _check_spec(engine, spec)
            self._stream = cuda.open_stream(stack)
            self._host = {
                tensor.name: cuda.pinned_array(_shape(tensor, most), tensor.dtype, stack)
                for tensor in self._tensors
            }
            self._device = {
                name: cuda.device_memory(array.nbytes, f"tensor {name}", stack)
                for name, array in self._host.items()
            }
            size = max(1, engine.device_memory_size_v2)
            self._scratch = cuda.device_memory(size, "the network's layers", stack), size
            self._contexts = Contexts(engine, flavour, kernels)
            self._sizes = {size: self._prepare(size, stack) for size in self._batches()}
            self._contexts.keep()
            weakref.finalize(self, stack.pop_all().close)

    @property
    def description(self) -> str:
        """Runtime, version, GPU and whether runs are recorded."""
        recorded = all(sized.graph is not None for sized in self._sizes.values())
        how = "CUDA graphs" if recorded else "no CUDA graphs"
        return f"{self._flavour.name} {self._flavour.version} {cuda.this_gpu().name}, {how}"

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once; a batch that is larger than the engine takes is run in parts.

        Raises:
            ShapeError: If `inputs` does not fit `spec`.
            NotFiniteError: If an input holds NaN or infinity.
            RuntimeFailedError: If the GPU fails.
        """
        arrays = check_inputs(self.spec, inputs)
        count = self._count(arrays)
        starts = range(0, count, self._most)
        with self._lock:
            parts = [self._part(arrays, at, min(self._most, count - at)) for at in starts]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, arrays: Tensors, at: int, count: int) -> dict[str, npt.NDArray[np.generic]]:
        sized = self._sizes[min(size for size in self._sizes if size >= count)]
        for tensor in self.spec.inputs:
            if -1 in tensor.shape:
                sized.host[tensor.name][:count] = arrays[tensor.name][at : at + count]
            else:
                sized.host[tensor.name][...] = arrays[tensor.name]
        self._launch(sized)
        # copies: the next run writes to the same memory
        return {
            tensor.name: sized.host[tensor.name][: count if -1 in tensor.shape else None].copy()
            for tensor in self.spec.outputs
        }

    def _batches(self) -> list[int]:
        if not self._free:
            return [1]
        powers = [1 << k for k in range(self._most.bit_length()) if 1 << k < self._most]
        return [*powers, self._most]

    def _count(self, arrays: Tensors) -> int:
        counts = {len(arrays[t.name]) for t in self.spec.inputs if -1 in t.shape} or {1}
        if len(counts) > 1:
            raise ShapeError(
                f"all inputs of the engine must be of one batch, got {sorted(counts)} rows."
            )
        return counts.pop()

    def _prepare(self, batch: int, stack: ExitStack) -> _Sized:
        """A context for one size: run once, as TensorRT asks, then recorded."""
        context = self._contexts.make()
        context.set_device_memory(*self._scratch)
        host = {
            tensor.name: self._host[tensor.name][: batch if -1 in tensor.shape else None]
            for tensor in self._tensors
        }
        taken = [context.set_tensor_address(t.name, self._device[t.name]) for t in self._tensors]
        taken += [context.set_input_shape(t.name, host[t.name].shape) for t in self.spec.inputs]
        if not all(taken):
            raise failed(self._flavour, f"prepare the network for a batch of {batch}")
        missing = context.infer_shapes()
        if missing:
            raise ArtifactError(f"the engine leaves open the sizes of {missing}. Export it again.")
        sized = _Sized(context, host, None)
        self._launch(sized)
        graph = None
        # TensorRT-RTX can say beforehand; of the classic one the attempt shows
        able = getattr(context, "is_stream_capturable", None)
        if able is None or able(int(self._stream)):
            graph = cuda.captured(lambda: self._queue(sized), self._stream, stack)
        return _Sized(context, host, graph)

    def _launch(self, sized: _Sized) -> None:
        if sized.graph is None:
            self._queue(sized)
        else:
            cuda.launch(sized.graph, self._stream)
        cuda.wait(self._stream)

    def _queue(self, sized: _Sized) -> None:
        for tensor in self.spec.inputs:
            cuda.copy_in(self._device[tensor.name], sized.host[tensor.name], self._stream)
        if not sized.context.execute_async_v3(int(self._stream)):
            raise failed(self._flavour, "run the network")
        for tensor in self.spec.outputs:
            cuda.copy_out(sized.host[tensor.name], self._device[tensor.name], self._stream)


def _shape(tensor: TensorSpec, batch: int) -> tuple[int, ...]:
    return tuple(batch if size == -1 else size for size in tensor.shape)


def _check_spec(engine: CudaEngine, spec: EngineSpec) -> None:
    found: dict[str, list[TensorSpec]] = {"INPUT": [], "OUTPUT": []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        sizes = engine.get_tensor_shape(name)
        kind = engine.get_tensor_dtype(name).name
        tensor = TensorSpec(
            name, tuple(sizes[axis] for axis in range(len(sizes))), _DTYPES.get(kind, kind)
        )
        found[engine.get_tensor_mode(name).name].append(tensor)
    told = {"INPUT": spec.inputs, "OUTPUT": spec.outputs}
    for mode, tensors in told.items():
        if set(found[mode]) != set(tensors):
            raise ArtifactError(
                f"the network and its sidecar disagree: the sidecar says {tensors}, the engine "
                f"has {found[mode]}. Export it again."
            )
