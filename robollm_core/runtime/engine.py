# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What all engines share: checking what goes in."""

import numpy as np
import numpy.typing as npt

from robollm_core.errors import ShapeError
from robollm_core.types import EngineSpec, Tensors, TensorSpec


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
    """
    names = [tensor.name for tensor in spec.inputs]
    if set(names) != set(inputs):
        raise ShapeError(f"the engine takes the inputs {names}, got {sorted(inputs)}.")
    for tensor in spec.inputs:
        _check(tensor, inputs[tensor.name])
    return {name: np.ascontiguousarray(inputs[name]) for name in names}


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
