# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Execution contexts of an engine, which differ between the flavours.

The classic TensorRT chose its kernels when the engine was built. TensorRT-RTX
compiles them on the robot, for each size of the batch; what it compiled is kept in
the cache, so that the next start does not compile it again.
"""

from typing import Any, cast

from robollm_core.errors import CacheError, RuntimeFailedError
from robollm_core.runtime.cache import Entry
from robollm_core.runtime.tensorrt_api import ConfiguredEngine, Context, CudaEngine, KernelCache
from robollm_core.runtime.tensorrt_cache import print_progress
from robollm_core.runtime.tensorrt_flavour import RTX, Flavour


class Contexts:
    """Makes contexts that use memory of the caller's."""

    def __init__(self, engine: CudaEngine, flavour: Flavour, kept: Entry | None) -> None:
        """Take an engine.

        Args:
            engine: it must live as long as this.
            flavour: of the engine.
            kept: where compiled kernels are kept; None for nowhere.
        """
        self._engine, self._flavour, self._kept = engine, flavour, kept
        self._known = b""
        self._kernels: KernelCache | None = None
        # one piece of memory serves all contexts, for one runs at a time
        self._how: Any = flavour.bindings.ExecutionContextAllocationStrategy.USER_MANAGED
        if flavour.name == RTX:
            self._how = self._configure()

    def _configure(self) -> Any:
        config = cast("ConfiguredEngine", self._engine).create_runtime_config()
        config.set_execution_context_allocation_strategy(self._how)
        # kernels are made for each size now, not in the background of the first runs
        strategies = self._flavour.targeted.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        self._kernels = config.create_runtime_cache()
        if self._kept is not None and self._kept.valid():
            self._known = self._kept.path.read_bytes()
            # those of another driver or card are refused by TensorRT-RTX, and compiled again
            self._kernels.deserialize(self._known)
        config.set_runtime_cache(self._kernels)
        return config

    def make(self) -> Context:
        """One more context.

        Raises:
            RuntimeFailedError: If TensorRT cannot make it.
        """
        context = self._engine.create_execution_context(self._how)
        if context is None:
            raise failed(self._flavour, "prepare the network")
        return context

    def keep(self) -> None:
        """Keep what was compiled since the engine was loaded, for the next start."""
        if self._kernels is None or self._kept is None:
            return
        compiled: Any = self._kernels.serialize()
        data = bytes(compiled)
        if data == self._known:
            return
        try:
            self._kept.write(data)
        except CacheError as error:  # the engine runs all the same, only the next start is slow
            print_progress(f"compiled kernels are not kept: {error}")


def failed(flavour: Flavour, doing: str) -> RuntimeFailedError:
    """What to say when TensorRT fails without an exception."""
    why = flavour.why() or "it gave no reason"
    return RuntimeFailedError(
        f"{flavour.name} {flavour.version} cannot {doing}: {why}. If memory ran out, end other "
        "programs on this GPU; else delete the folder engines of the cache (see runtime.cache)."
    )
