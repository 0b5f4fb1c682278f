# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What all engines share: checking what goes in, and how many threads they may have."""

import os

import numpy as np
import numpy.typing as npt

from robollm_core.config import RuntimeConfig
from robollm_core.errors import NotFiniteError, RuntimeFailedError, ShapeError
from robollm_core.types import EngineSpec, Tensors, TensorSpec


def thread_count(config: RuntimeConfig) -> int:
    """CPU threads of an engine: as configured, else one a core that this process may use.

    The cores of the machine would be too many in a container or under taskset.
    """
    return config.threads or len(os.sched_getaffinity(0))


def check_inputs(spec: EngineSpec, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
    """Refuse inputs that do not fit, before a runtime reads past them.

    Args:
        spec: what the engine takes.
        inputs: arrays by name.

    Returns:
        The inputs, C-contiguous, in the order of the spec.

    Raises:
        ShapeError: If a name is missing or unknown, or a shape or dtype differs;
            a free size (-1) takes anything from 1 up.
        NotFiniteError: If a floating-point input holds NaN or infinity, which
            some runtimes would turn into a plausible answer.
    """
    names = [tensor.name for tensor in spec.inputs]
    if set(names) != set(inputs):
        raise ShapeError(f"the engine takes the inputs {names}, got {sorted(inputs)}.")
    for tensor in spec.inputs:
        _check(tensor, inputs[tensor.name])
    return {name: np.ascontiguousarray(inputs[name]) for name in names}


def check_finite(outputs: Tensors) -> None:
    """Refuse what is no answer, before a comparison quietly makes one of it.

    Args:
        outputs: arrays of any dtype by name.

    Raises:
        NotFiniteError: If one holds NaN or infinity.
    """
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int(array.size - np.isfinite(array).sum())
            raise NotFiniteError(
                f"output {name!r} must hold numbers, {count} of its {array.size} are NaN or "
                "infinite. Another precision or runtime may compute this network; see "
                "`robollm doctor`."
            )


def _check(tensor: TensorSpec, array: npt.NDArray[np.generic]) -> None:
    fits = len(array.shape) == len(tensor.shape) and all(
        got == wanted or (wanted == -1 and got >= 1)
        for got, wanted in zip(array.shape, tensor.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(tensor.dtype):
        raise ShapeError(
            f"input {tensor.name!r} must be {tensor.dtype} {tensor.shape} (-1: any size from 1), "
            f"got {array.dtype} {array.shape}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise NotFiniteError(
            f"input {tensor.name!r} must hold numbers, {count} of its {array.size} are NaN or "
            "infinite. What made it has failed; look there."
        )


def run_failed(description: str, error: Exception) -> RuntimeFailedError:
    """The error to raise when a runtime fails while it runs; the engine may be asked again.

    Args:
        description: of the engine.
        error: what the runtime raised.
    """
    # runtimes put places in their source code and whole stacks into the text
    reason = " ".join(str(error).split())[:500]
    hint = ""
    if memory_is_short(error):
        hint = (
            " There is not enough memory: use smaller batches or a smaller network, or end other "
            "programs that hold it."
        )
    return RuntimeFailedError(f"the engine failed: {description}: {reason}.{hint}")


def memory_is_short(error: Exception) -> bool:
    """Whether a runtime's error is about memory; they have no class of their own for it."""
    text = str(error).lower()
    return any(words in text for words in ("allocate memory", "out of memory", "bad_alloc"))
