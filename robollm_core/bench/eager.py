# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The same networks in torch, as they are and compiled: what the runtimes are held against."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from robollm_core.errors import RuntimeUnavailableError
from robollm_core.types import Tensors

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def torch_run(
    module: nn.Module, tensors: Tensors, precision: str, device: str
) -> Callable[[], object]:
    """A run of a module from arrays to arrays.

    Args:
        module: on the device, in evaluation mode.
        tensors: its inputs, in order.
        precision: "fp32", or a key of `DTYPES` for autocast.
        device: "cpu" or "cuda".
    """

    def run() -> object:
        inputs = [torch.from_numpy(array).to(device) for array in tensors.values()]
        with torch.inference_mode(), _arithmetic(precision, device):
            outputs = module(*inputs)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return [output.cpu() for output in outputs]

    return run


def compiled(module: nn.Module) -> nn.Module:
    """A module that torch.compile translates at its first run, for fixed shapes."""
    found: Any = torch.compile(module, dynamic=False)
    return found  # type: ignore[no-any-return]


def on_device(module: nn.Module, device: str, threads: int) -> nn.Module:
    """Move a module, and have torch use this many threads in the process.

    Raises:
        RuntimeUnavailableError: If torch sees no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            f"--device is cuda, but torch {torch.__version__} sees no CUDA device."
        )
    torch.set_num_threads(threads)
    return module.to(device).eval()


def describe(device: str) -> str:
    """Version, device and threads."""
    return f"torch {torch.__version__} {device}, {torch.get_num_threads()} threads"


def product_run(precision: str, size: int, device: str) -> Callable[[], object]:
    """One product of two square matrices.

    Args:
        precision: "fp32", "bf16", "fp16" or "int8".
        size: rows and columns.
        device: "cpu" or "cuda".
    """
    generator = torch.Generator().manual_seed(size)
    if precision == "int8":
        left = torch.randint(-9, 9, (size, size), dtype=torch.int8, generator=generator).to(device)
        return _synchronised(lambda: torch._int_mm(left, left), device)
    dtype = DTYPES.get(precision, torch.float32)
    square = torch.randn((size, size), generator=generator).to(device, dtype)
    return _synchronised(lambda: square @ square, device)


def _synchronised(run: Callable[[], object], device: str) -> Callable[[], object]:
    def whole() -> object:
        with torch.inference_mode():
            found = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return whole


def _arithmetic(precision: str, device: str) -> AbstractContextManager[Any]:
    if precision not in DTYPES:
        return nullcontext()
    return torch.autocast(device, dtype=DTYPES[precision])
