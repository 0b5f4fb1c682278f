# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The most arithmetic a second that any library at hand gets out of this machine.

Measured with products of large square matrices, in the same turns as the
networks. The best library at the best size sets the peak, by its median run, as
the networks are judged by theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robollm_core.bench.timing import Timed
from robollm_core.config import RuntimeConfig
from robollm_core.runtime.factory import load_engine

SIZES = {"cpu": (1024, 2048, 3072), "cuda": (4096, 8192)}
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
STEPS = 4
"""Products in a run of a runtime: one after the other, so that what goes in and out hardly
counts."""


@dataclass(frozen=True, slots=True)
class Product:
    """Products of square matrices by one library.

    Attributes:
        precision: of the arithmetic.
        library: "torch" or the name of a runtime.
        size: rows and columns.
    """

    precision: str
    library: str
    size: int

    @property
    def gflop(self) -> float:
        """Billions of operations in one run."""
        steps = 1 if self.library == "torch" else STEPS
        return steps * 2e-9 * self.size**3


def products(
    precisions: Sequence[str], libraries: Sequence[str], sizes: Sequence[int], device: str
) -> list[Product]:
    """All that compete for the peaks.

    Args:
        precisions: peaks wanted.
        libraries: "torch" and names of runtimes.
        sizes: of the matrices.
        device: "cpu" or "cuda".
    """
    return [
        Product(precision, library, size)
        for precision in precisions
        for library in libraries
        for size in sizes
        if precision in _able(library, device)
    ]


def _able(library: str, device: str) -> tuple[str, ...]:
    """What a library computes in when a graph of plain products asks for it."""
    if library == "torch":
        return PRECISIONS
    if library == "openvino":
        return ("fp32", "bf16", "fp16", "int8")
    return ("fp32", "int8") if device == "cpu" else ("fp32", "fp16")


def product_run(product: Product, config: RuntimeConfig, folder: Path) -> Callable[[], object]:
    """What is timed.

    Args:
        product: which.
        config: device and threads.
        folder: for the graph.

    Raises:
        RobollmError: If the library does not take the graph.
    """
    if product.library == "torch":
        from robollm_core.bench import eager

        return eager.product_run(product.precision, product.size, config.device)
    # a deploy install has no onnx package
    from robollm_core.bench.products import write_graph

    path = folder / f"product_{product.library}_{product.precision}_{product.size}.onnx"
    write_graph(path, product.precision, product.size, STEPS)
    hint = product.precision if product.precision in ("fp32", "bf16", "fp16") else "auto"
    engine = load_engine(path, replace(config, name=product.library, precision=hint))
    rng = np.random.default_rng(product.size)
    left = {"x": rng.standard_normal((product.size, product.size), np.float32)}
    return lambda: engine.run(left)


def peaks_of(found: Mapping[Product, Timed]) -> dict[str, dict[str, Any]]:
    """The best of each precision.

    Args:
        found: times of the products.

    Returns:
        Precision to "gflops" (of the median run), "library", "size", "gflops_best" (of
        the best run of that library and size), "all" (of the median run, by "library
        size") and "errors".
    """
    peaks: dict[str, dict[str, Any]] = {}
    for precision in dict.fromkeys(product.precision for product in found):
        mine = {p: timed for p, timed in found.items() if p.precision == precision}
        rates = {p: p.gflop / float(np.median(t.secs)) for p, t in mine.items() if t.secs}
        errors = {f"{p.library} {p.size}": t.error for p, t in mine.items() if t.error}
        peaks[precision] = {"gflops": None, "errors": errors}
        if rates:
            best = max(rates, key=lambda product: rates[product])
            peaks[precision] |= {
                "gflops": round(rates[best], 2),
                "library": best.library,
                "size": best.size,
                "gflops_best": round(best.gflop / min(mine[best].secs), 2),
                "all": {f"{p.library} {p.size}": round(rate, 2) for p, rate in rates.items()},
            }
    return peaks
