# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The few calls of the CUDA runtime that an engine needs, each with its status checked.

They come from cuda-python (`cuda.bindings.runtime`). Memory and streams are handed
out to an ExitStack, so that an engine that fails half-way gives everything back.
"""

import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from robollm_core.errors import RuntimeFailedError, RuntimeUnavailableError
from robollm_core.runtime.tensorrt_flavour import Gpu

try:
    from cuda.bindings import runtime as cuda
except ImportError as error:
    raise RuntimeUnavailableError(
        f"TensorRT needs the Python package cuda-bindings, which cannot be loaded: {error}. "
        "Run: pip install cuda-bindings; or set runtime.name to another runtime."
    ) from error

_DEVICE = 0
_NO_DRIVER = (
    "cudaErrorInsufficientDriver",
    "cudaErrorNoDevice",
    "cudaErrorInitializationError",
    "cudaErrorStubLibrary",
)
_MEND = {
    "cudaErrorMemoryAllocation": (
        "Not enough memory: end other programs on this GPU, or take a smaller network."
    ),
    **dict.fromkeys(
        _NO_DRIVER,
        "No usable GPU: install an NVIDIA driver that fits this CUDA, see nvidia-smi, or set "
        "runtime.name to openvino or onnx and runtime.device to cpu.",
    ),
}


def checked(answer: tuple[Any, ...], doing: str) -> Any:
    """The value of a CUDA call.

    Args:
        answer: what cuda-python returned, the status first.
        doing: what the call was for, such as "copy to the GPU".

    Raises:
        RuntimeUnavailableError: If there is no GPU, or no driver for it.
        RuntimeFailedError: If the status is another than success; the text says what to do.
    """
    status, *values = answer
    if status != cuda.cudaError_t.cudaSuccess:
        kind = RuntimeUnavailableError if status.name in _NO_DRIVER else RuntimeFailedError
        mend = _MEND.get(
            status.name, "Start the process again; if it happens again, check the GPU with dmesg."
        )
        raise kind(f"cannot {doing}: CUDA says {_text(status)}. {mend}")
    return values[0] if values else None


def _text(status: Any) -> str:
    _, text = cuda.cudaGetErrorString(status)
    return f"{status.name} ({text.decode(errors='replace')})"


def this_gpu() -> Gpu:
    """The first GPU of this machine.

    Raises:
        RuntimeUnavailableError: If there is none.
    """
    count = checked(cuda.cudaGetDeviceCount(), "count the GPUs")
    if not count:
        raise RuntimeUnavailableError(f"cannot find a GPU. {_MEND['cudaErrorNoDevice']}")
    facts = checked(cuda.cudaGetDeviceProperties(_DEVICE), "ask the GPU for its name")
    name = facts.name.decode(errors="replace").rstrip("\0")
    return Gpu(name, f"sm{facts.major}{facts.minor}")


def open_stream(stack: ExitStack) -> Any:
    """A stream of its own, not synchronised with others; closed with the stack."""
    flags = cuda.cudaStreamNonBlocking
    stream = checked(cuda.cudaStreamCreateWithFlags(flags), "open a stream")
    stack.callback(cuda.cudaStreamDestroy, stream)
    return stream


def device_memory(size: int, what: str, stack: ExitStack) -> int:
    """Address of memory on the GPU, freed with the stack.

    Args:
        size: bytes, at least 1.
        what: it is for.
        stack: frees it.

    Raises:
        RuntimeFailedError: If there is not enough.
    """
    doing = f"reserve {size / 1e6:.1f} MB of GPU memory for {what}"
    address = checked(cuda.cudaMalloc(size), doing)
    stack.callback(cuda.cudaFree, address)
    return int(address)


def pinned_array(shape: tuple[int, ...], dtype: str, stack: ExitStack) -> npt.NDArray[np.generic]:
    """An array of zeros in host memory that the GPU reads and writes by itself.

    Args:
        shape: its sizes, each at least 1.
        dtype: its NumPy name.
        stack: frees it; the array must not be used afterwards.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    address = checked(cuda.cudaMallocHost(size), f"pin {size / 1e6:.1f} MB of host memory")
    stack.callback(cuda.cudaFreeHost, address)
    raw = (ctypes.c_byte * size).from_address(int(address))
    array: npt.NDArray[np.generic] = np.ctypeslib.as_array(raw).view(kind).reshape(shape)
    array[...] = np.zeros((), kind)
    return array


def copy_in(device: int, host: npt.NDArray[np.generic], stream: Any) -> None:
    """Queue a copy of a pinned array to the GPU."""
    _copy(device, host.ctypes.data, host.nbytes, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)


def copy_out(host: npt.NDArray[np.generic], device: int, stream: Any) -> None:
    """Queue a copy from the GPU to a pinned array."""
    _copy(host.ctypes.data, device, host.nbytes, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)


def _copy(target: int, source: int, size: int, kind: Any, stream: Any) -> None:
    checked(cuda.cudaMemcpyAsync(target, source, size, kind, stream), "copy to or from the GPU")


def wait(stream: Any) -> None:
    """Until all that was queued is done; what went wrong on the GPU is told here."""
    checked(cuda.cudaStreamSynchronize(stream), "run the network")


def captured(queue: Callable[[], None], stream: Any, stack: ExitStack) -> Any:
    """Record what a function queues as one CUDA graph, which costs one launch.

    Args:
        queue: queues work on the stream and does nothing else on the GPU.
        stream: the stream.
        stack: frees the graph.

    Returns:
        The graph, ready to be launched; None where the work cannot be recorded.
    """
    # other threads of the process may go on using CUDA
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    checked(cuda.cudaStreamBeginCapture(stream, mode), "record a CUDA graph")
    try:
        queue()
    except RuntimeFailedError:
        cuda.cudaStreamEndCapture(stream)
        cuda.cudaGetLastError()  # forget it: the work itself can still be run
        return None
    status, graph = cuda.cudaStreamEndCapture(stream)
    if status != cuda.cudaError_t.cudaSuccess:
        cuda.cudaGetLastError()
        return None
    try:
        ready = checked(cuda.cudaGraphInstantiate(graph, 0), "make a CUDA graph ready")
    finally:
        cuda.cudaGraphDestroy(graph)
    stack.callback(cuda.cudaGraphExecDestroy, ready)
    return ready


def launch(graph: Any, stream: Any) -> None:
    """Queue a recorded graph."""
    checked(cuda.cudaGraphLaunch(graph, stream), "launch the network")
