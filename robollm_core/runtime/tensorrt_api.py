# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What robollm uses of the Python bindings of TensorRT, as types.

The bindings are compiled and come without types. These protocols say which names
are used and how; the tests hold them against the bindings of TensorRT 10, 11 and
TensorRT-RTX. Names and order of arguments are those of the bindings.
"""

# ruff: noqa: D102, N802 - what a member does is said by NVIDIA's reference

from collections.abc import Callable
from typing import Any, Protocol


class Dims(Protocol):
    """Sizes of a tensor; -1 is a free one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...


class Named(Protocol):
    """A member of an enumeration."""

    @property
    def name(self) -> str: ...


class Memory(Protocol):
    """Bytes that TensorRT owns; `bytes(memory)` copies them."""

    @property
    def nbytes(self) -> int: ...


class Tensor(Protocol):
    """An input of a network."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Dims: ...


class Layer(Protocol):
    """A layer of a network."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> Named: ...


class Network(Protocol):
    """A network that is being defined."""

    @property
    def num_inputs(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    def get_input(self, index: int, /) -> Tensor | None: ...
    def get_layer(self, index: int, /) -> Layer | None: ...


class ParserError(Protocol):
    """Why a node was refused."""

    def desc(self) -> str: ...
    def node(self) -> int: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class Parser(Protocol):
    """Reads ONNX."""

    @property
    def num_errors(self) -> int: ...
    def parse_from_file(self, model: str, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class Profile(Protocol):
    """The sizes that an engine shall take."""

    def set_shape(self, name: str, least: Any, usual: Any, most: Any, /) -> None: ...


class TimingCache(Protocol):
    """What kernels took; spares a second measurement."""

    def serialize(self) -> Memory: ...


class BuilderConfig(Protocol):
    """How to build."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, pool_size: int, /) -> None: ...
    def clear_flag(self, flag: Any, /) -> None: ...
    def add_optimization_profile(self, profile: Any, /) -> int: ...
    def create_timing_cache(self, serialized: bytes, /) -> TimingCache: ...
    def set_timing_cache(self, cache: Any, ignore_mismatch: bool, /) -> bool: ...


class TargetedConfig(Protocol):
    """How to build for a GPU that is not here; TensorRT-RTX alone."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int, /) -> bool: ...


class Builder(Protocol):
    """Builds engines."""

    def create_network(self, flags: int, /) -> Network: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> Profile: ...
    def build_serialized_network(self, network: Any, config: Any, /) -> Memory | None: ...


class Context(Protocol):
    """One execution of an engine, with its sizes and addresses."""

    def set_device_memory(self, memory: int, size: int, /) -> None: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool: ...
    def set_tensor_address(self, name: str, memory: int, /) -> bool: ...
    def infer_shapes(self) -> list[str]: ...
    def execute_async_v3(self, stream_handle: int, /) -> bool: ...


class CudaEngine(Protocol):
    """A built network."""

    @property
    def num_io_tensors(self) -> int: ...
    @property
    def device_memory_size_v2(self) -> int: ...
    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_mode(self, name: str, /) -> Named: ...
    def get_tensor_dtype(self, name: str, /) -> Named: ...
    def get_tensor_shape(self, name: str, /) -> Dims: ...
    def create_execution_context(self, how: Any, /) -> Context | None: ...


class KernelCache(Protocol):
    """What TensorRT-RTX compiled; it refuses what another driver or card compiled."""

    def serialize(self) -> Memory: ...
    def deserialize(self, blob: bytes, /) -> bool: ...


class RuntimeConfig(Protocol):
    """How to execute; TensorRT-RTX alone chooses its kernels here."""

    dynamic_shapes_kernel_specialization_strategy: Any

    def set_execution_context_allocation_strategy(self, strategy: Any, /) -> None: ...
    def create_runtime_cache(self) -> KernelCache: ...
    def set_runtime_cache(self, cache: Any, /) -> bool: ...


class ConfiguredEngine(Protocol):
    """An engine that takes a `RuntimeConfig`; used with TensorRT-RTX alone."""

    def create_runtime_config(self) -> RuntimeConfig: ...


class Runtime(Protocol):
    """Loads engines."""

    def deserialize_cuda_engine(self, serialized_engine: bytes, /) -> CudaEngine | None: ...


class CreationFlags(Protocol):
    """Enumeration `NetworkDefinitionCreationFlag`."""

    @property
    def STRONGLY_TYPED(self) -> Any: ...


class BuilderFlags(Protocol):
    """Enumeration `BuilderFlag`."""

    @property
    def TF32(self) -> Any: ...


class MemoryPools(Protocol):
    """Enumeration `MemoryPoolType`."""

    @property
    def WORKSPACE(self) -> Any: ...


class AllocationStrategies(Protocol):
    """Enumeration `ExecutionContextAllocationStrategy`."""

    @property
    def USER_MANAGED(self) -> Any: ...


class KernelStrategies(Protocol):
    """Enumeration `DynamicShapesKernelSpecializationStrategy` of TensorRT-RTX."""

    @property
    def EAGER(self) -> Any: ...


class Bindings(Protocol):
    """The module that both flavours have in common."""

    @property
    def Builder(self) -> Callable[[Any], Builder]: ...
    @property
    def OnnxParser(self) -> Callable[[Any, Any], Parser]: ...
    @property
    def Runtime(self) -> Callable[[Any], Runtime]: ...
    @property
    def ILogger(self) -> type: ...
    @property
    def IProgressMonitor(self) -> type: ...
    @property
    def NetworkDefinitionCreationFlag(self) -> CreationFlags: ...
    @property
    def BuilderFlag(self) -> BuilderFlags: ...
    @property
    def MemoryPoolType(self) -> MemoryPools: ...
    @property
    def ExecutionContextAllocationStrategy(self) -> AllocationStrategies: ...


class TargetedBindings(Bindings, Protocol):
    """The module of TensorRT-RTX."""

    @property
    def ComputeCapability(self) -> Any: ...
    @property
    def DynamicShapesKernelSpecializationStrategy(self) -> KernelStrategies: ...
