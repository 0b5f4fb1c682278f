# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of the CUDA runtime: every status is looked at, everything is given back."""

from contextlib import ExitStack

import numpy as np
import pytest

from robollm_core.errors import RuntimeFailedError, RuntimeUnavailableError

pytest.importorskip("cuda.bindings")

from robollm_core.runtime import tensorrt_cuda

cudart = tensorrt_cuda.cuda


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("MemoryAllocation", RuntimeFailedError, "out of memory.*Not enough memory"),
        ("NoDevice", RuntimeUnavailableError, "No usable GPU"),
        ("InsufficientDriver", RuntimeUnavailableError, "driver"),
        ("IllegalAddress", RuntimeFailedError, "Start the process again"),
    ],
)
def test_a_cuda_status_becomes_an_error_that_says_what_to_do(name, kind, told):
    status = getattr(cudart.cudaError_t, f"cudaError{name}")
    with pytest.raises(kind, match=f"cannot swim: CUDA says cudaError{name}.*{told}"):
        tensorrt_cuda.checked((status, None), "swim")


def test_a_cuda_success_gives_its_value():
    good = cudart.cudaError_t.cudaSuccess
    assert tensorrt_cuda.checked((good, 7), "swim") == 7
    assert tensorrt_cuda.checked((good,), "swim") is None


def scripted(monkeypatch, **answers):
    """Replace calls of the CUDA runtime; the names of those made, in order."""
    calls = []
    for name, answer in answers.items():

        def call(*args, name=name, answer=answer):
            calls.append(name)
            return answer

        monkeypatch.setattr(cudart, name, call)
    return calls


GOOD = (cudart.cudaError_t.cudaSuccess,)
BAD = (cudart.cudaError_t.cudaErrorMemoryAllocation, None)
BROKEN = (cudart.cudaError_t.cudaErrorStreamCaptureInvalidated, None)


def test_device_memory_that_is_not_there_is_told_with_its_size(monkeypatch):
    scripted(monkeypatch, cudaMalloc=BAD)
    with ExitStack() as stack, pytest.raises(RuntimeFailedError, match="2.0 MB .* for tensor"):
        tensorrt_cuda.device_memory(2_000_000, "tensor x", stack)


def test_what_was_reserved_is_freed_when_a_later_piece_is_refused(monkeypatch):
    calls = scripted(monkeypatch, cudaMalloc=(*GOOD, 4096), cudaFree=GOOD)
    with pytest.raises(RuntimeFailedError), ExitStack() as stack:
        assert tensorrt_cuda.device_memory(10, "x", stack) == 4096
        scripted(monkeypatch, cudaMalloc=BAD)
        tensorrt_cuda.device_memory(10, "y", stack)
    assert calls == ["cudaMalloc", "cudaFree"]


def recording(monkeypatch, **changed):
    answers = {
        "cudaStreamBeginCapture": GOOD,
        "cudaStreamEndCapture": (*GOOD, "graph"),
        "cudaGraphInstantiate": (*GOOD, "ready"),
        "cudaGraphDestroy": GOOD,
        "cudaGraphExecDestroy": GOOD,
        "cudaGetLastError": GOOD,
    }
    return scripted(monkeypatch, **{**answers, **changed})


def test_a_graph_is_recorded_and_freed(monkeypatch):
    calls = recording(monkeypatch)
    with ExitStack() as stack:
        assert tensorrt_cuda.captured(lambda: None, 1, stack) == "ready"
    assert calls == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
        "cudaGraphExecDestroy",
    ]


@pytest.mark.parametrize("fault", ["work", "end"])
def test_a_recording_that_fails_is_ended_and_its_error_forgotten(fault, monkeypatch):
    changed = {"cudaStreamEndCapture": BROKEN} if fault == "end" else {}
    calls = recording(monkeypatch, **changed)

    def queue():
        if fault == "work":
            raise RuntimeFailedError("not while recording")

    with ExitStack() as stack:
        assert tensorrt_cuda.captured(queue, 1, stack) is None
    assert calls == ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGetLastError"]


def test_a_graph_without_memory_is_told_and_freed(monkeypatch):
    calls = recording(monkeypatch, cudaGraphInstantiate=BAD)
    with ExitStack() as stack, pytest.raises(RuntimeFailedError, match="Not enough memory"):
        tensorrt_cuda.captured(lambda: None, 1, stack)
    assert "cudaGraphDestroy" in calls
    assert "cudaGraphExecDestroy" not in calls


def test_a_pinned_array_is_zero_and_of_its_shape(monkeypatch):
    import ctypes

    block = (ctypes.c_byte * 48)(*range(48))
    calls = scripted(
        monkeypatch, cudaMallocHost=(*GOOD, ctypes.addressof(block)), cudaFreeHost=GOOD
    )
    with ExitStack() as stack:
        array = tensorrt_cuda.pinned_array((3, 2), "int64", stack)
        assert array.shape == (3, 2)
        assert array.dtype == np.int64
        assert array.ctypes.data == ctypes.addressof(block)
        assert not array.any()
        array[2, 1] = -1
        assert block[47] == -1
    assert calls == ["cudaMallocHost", "cudaFreeHost"]


def test_a_machine_without_a_gpu_says_so():
    if cudart.cudaGetDeviceCount()[0] == cudart.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeUnavailableError, match="No usable GPU.*runtime.device to cpu"):
        tensorrt_cuda.this_gpu()
