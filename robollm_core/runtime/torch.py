# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on PyTorch: the reference the other runtimes are compared with."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, RuntimeUnavailableError
from robollm_core.files import file_sha256
from robollm_core.runtime.artifact import Sidecar, kept_checkpoint
from robollm_core.runtime.engine import check_inputs, run_failed
from robollm_core.types import EngineSpec, Tensors

# Runtimes lie below the stages, so a stage's graph is found by name: a function
# that takes the path of a checkpoint and returns the module that is exported.
GRAPHS = {
    "segmentation": "robollm_core.segmentation.deploy:load_graph",
    "identification": "robollm_core.identification.model:load_graph",
    "identification_fusion": "robollm_core.identification.model:load_fusion_graph",
    "defects": "robollm_core.defects.model:load_graph",
}


class TorchEngine:
    """One torch module in inference mode."""

    def __init__(self, module: nn.Module, spec: EngineSpec, config: RuntimeConfig) -> None:
        """Move a module to its device.

        Args:
            module: takes the inputs of `spec` in order, returns its outputs in
                order (a tensor or a tuple).
            spec: what goes in and out.
            config: device and threads; torch counts threads by process.

        Raises:
            RuntimeUnavailableError: If the device is not there.
        """
        if config.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeUnavailableError(
                f"runtime.device is cuda, but torch {torch.__version__} sees no CUDA device. "
                "Install a CUDA build of torch and a driver, or set runtime.device to cpu."
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        self.spec = spec
        self._device = torch.device(config.device)
        self._module = module.to(self._device).eval()

    @property
    def description(self) -> str:
        """Runtime, version and device in use."""
        return f"torch {torch.__version__} {self._device}"

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[np.generic]]:
        """Run once.

        Raises:
            ShapeError: If `inputs` does not fit `spec`.
            NotFiniteError: If one holds NaN or infinity.
            RuntimeFailedError: If torch fails, for want of memory for one.
        """
        checked = check_inputs(self.spec, inputs)
        try:
            outputs = self._run(checked.values())
        except RuntimeError as error:
            raise run_failed(self.description, error) from error
        names = [tensor.name for tensor in self.spec.outputs]
        return dict(zip(names, outputs, strict=True))

    def _run(self, arrays: Iterable[npt.NDArray[np.generic]]) -> list[npt.NDArray[np.generic]]:
        tensors = [torch.from_numpy(np.array(array)).to(self._device) for array in arrays]
        with torch.inference_mode():
            outputs = self._module(*tensors)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return [output.cpu().numpy() for output in outputs]


def load_torch_engine(path: Path, sidecar: Sidecar, config: RuntimeConfig) -> TorchEngine:
    """Load the checkpoint beside an artifact: `x.pt` or `x.checkpoint.safetensors`.

    Args:
        path: the `.onnx` file.
        sidecar: its sidecar.
        config: device and threads.

    Raises:
        ArtifactError: If the checkpoint is missing or is not the one the
            artifact was exported from.
        CheckpointError: If it cannot be read.
        RuntimeUnavailableError: If the device is not there.
    """
    source = Path(sidecar.source_checkpoint.get("file", ""))
    checkpoint = kept_checkpoint(path, source.suffix)
    wanted = sidecar.source_checkpoint.get("sha256", "")
    if not checkpoint.is_file():
        raise ArtifactError(
            f"the torch runtime needs the checkpoint {checkpoint}, which is not there. Export "
            "with --keep-checkpoint, or set runtime.name to onnx."
        )
    if file_sha256(checkpoint) != wanted:
        raise ArtifactError(
            f"{checkpoint} is not the checkpoint that {path.name} was exported from "
            f"(sha256 {wanted[:16]}...). Run: {sidecar.rebuild} --keep-checkpoint"
        )
    module = graph_loader(sidecar.stage)(checkpoint)
    return TorchEngine(sized(module, sidecar.meta.get("input_hw")), sidecar.spec, config)


def sized(module: nn.Module, input_hw: Sequence[int] | None) -> nn.Module:
    """A detector for images of another size than its recipe's; other modules as they are.

    Args:
        module: what a loader of `graph_loader` built.
        input_hw: (height, width) in pixels; None for the recipe's.
    """
    if input_hw is None or not hasattr(module, "at"):
        return module
    resized: nn.Module = cast(Any, module).at(tuple(input_hw))
    return resized


def graph_loader(stage: str) -> Callable[[Path], nn.Module]:
    """The function that builds a stage's exported module from a checkpoint.

    Raises:
        ArtifactError: If there is no such stage.
    """
    if stage not in GRAPHS:
        raise ArtifactError(f"no stage {stage!r}; the stages are {', '.join(GRAPHS)}.")
    module, _, name = GRAPHS[stage].partition(":")
    loader: Callable[[Path], nn.Module] = getattr(importlib.import_module(module), name)
    return loader
