# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How fast each network is on each runtime, and how near to what the machine could do.

All rows of a network take turns with each other, with torch and with the
products that set the peaks, so that a disturbance hits all alike.
"""

import gc
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from robollm_core.bench import machine
from robollm_core.bench.networks import (
    STAGES,
    Choice,
    Network,
    build_module,
    derive,
    find_network,
    size_of,
)
from robollm_core.bench.peak import PRECISIONS, SIZES, Product, peaks_of, product_run, products
from robollm_core.bench.targets import judge
from robollm_core.bench.timing import Plan, Timed, interleave, reason, summary
from robollm_core.config import RuntimeConfig
from robollm_core.errors import ConfigError, RuntimeUnavailableError
from robollm_core.runtime.factory import installed, load_engine

TORCH = ("torch", "torch-compile")
RUNTIMES = ("onnx", "openvino", *TORCH, "tensorrt", "tensorrt_rtx")
"""What can be measured; each is a runtime of the configuration, or torch.compile."""
COUNTS = (
    "two operations a multiply-accumulate of matrix products and convolutions; all else is left out"
)
_OF_CPU = ("onnx", "openvino", *TORCH)
_OF_CUDA = ("onnx", *TORCH, "tensorrt", "tensorrt_rtx")
_Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes:
        sizes: of the networks; none for those that stand in `models`.
        stages: values of `STAGES`.
        runtimes: of `RUNTIMES`; none for all that are here.
        precisions: of `PRECISIONS`; none for what each runtime is good at.
        batches: images a run.
        image_hw: (height, width) of the input, pixels; None for the recipe's.
        models: folder of artifacts in place of the shipped ones.
        device: "cpu" or "cuda".
        threads: of every runtime; 0 for one each core of the affinity.
        peak_sizes: of the matrices whose products set the peaks; none for the device's.
        plan: how long to measure; its seed is also that of weights and pictures.
    """

    sizes: tuple[str, ...] = ("tiny",)
    stages: tuple[str, ...] = tuple(STAGES.values())
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 8)
    image_hw: tuple[int, int] | None = None
    models: Path | None = None
    device: str = "cpu"
    threads: int = 0
    peak_sizes: tuple[int, ...] = ()
    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: If a batch or a size of a matrix is below 1, or `models` comes
                with another choice of networks.
        """
        if not self.batches or min((*self.batches, *self.peak_sizes)) < 1:
            raise ConfigError(
                f"batches and matrices must be 1 or more, got {self.batches}, {self.peak_sizes}."
            )
        if self.models is not None and self.image_hw is not None:
            raise ConfigError("the artifacts of --models have their image size; leave --image out.")


@dataclass(frozen=True, slots=True)
class Case:
    """One row: a network on a runtime, in a precision, at a batch."""

    runtime: str
    precision: str
    batch: int


@dataclass(slots=True)
class _Found:
    """What has been measured so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    products: dict[Product, Timed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def measure(request: Request) -> dict[str, Any]:
    """Measure all networks, one after the other.

    Args:
        request: what.

    Returns:
        "rows" (a dict each; "error" in place of the times of what does not run),
        "peaks" (see `peaks_of`), "machine" (see `machine.facts`; "load_end" too),
        "targets" (see `judge`), "settings", "counts" and "notes".

    Raises:
        ArtifactError: If a network is missing or damaged.
        ConfigError: If an image does not fit a network.
        DependencyError: If a network must be built and torch is not there.
    """
    told = machine.facts(request.threads)
    config = RuntimeConfig(device=request.device, threads=told["threads"])
    found = _Found()
    runtimes = request.runtimes or _installed(request.device, found.notes)
    for choice in _choices(request):
        network = find_network(choice, config)
        with tempfile.TemporaryDirectory() as folder:
            _measure_network(network, runtimes, (request, config), Path(folder), found)
        gc.collect()  # engines hold gigabytes, and some lie in cycles
    peaks = peaks_of(found.products)
    for row in found.rows:
        _compare(row, found.rows, peaks)
    return {
        "rows": found.rows,
        "peaks": peaks,
        "machine": {**told, "load_end": machine.load(), "mhz_end": machine.facts(0)["mhz"]},
        "targets": judge(found.rows, told, request.device),
        "settings": {**asdict(request), "models": str(request.models or ""), "runtimes": runtimes},
        "counts": COUNTS,
        "notes": found.notes,
    }


def _installed(device: str, notes: list[str]) -> tuple[str, ...]:
    """The runtimes of a device whose packages are here."""
    wanted = _OF_CPU if device == "cpu" else _OF_CUDA
    there = installed()
    here = tuple(name for name in wanted if name.partition("-")[0] in there)
    absent = [name for name in wanted if name not in here]
    if absent:
        notes.append(f"not installed, so not measured: {', '.join(absent)}")
    return here


def _choices(request: Request) -> list[Choice]:
    if request.models is not None:
        return [
            Choice(stage, size_of(request.models, stage), None, request.models, request.plan.seed)
            for stage in request.stages
        ]
    return [
        Choice(stage, size, request.image_hw, None, request.plan.seed)
        for size in request.sizes
        for stage in request.stages
    ]


def _measure_network(
    network: Network,
    runtimes: Sequence[str],
    how: tuple[Request, RuntimeConfig],
    folder: Path,
    found: _Found,
) -> None:
    """Time one network on everything; rows and products are added to `found`."""
    request, config = how
    cases = _cases(network, runtimes, request, found.notes)
    gflop = _work(network, sorted({case.batch for case in cases}), found.notes)
    runs, errors, descriptions = _load(network, cases, config)
    kinds = sorted({case.precision for case in runs}, key=PRECISIONS.index)
    sizes = request.peak_sizes or SIZES[request.device]
    for product in products(kinds, _libraries(runtimes), sizes, request.device):
        try:
            runs[product] = product_run(product, config, folder)
        except Exception as error:  # noqa: BLE001 - whatever a library raises; it is reported
            found.products.setdefault(product, Timed(error=reason(error)))
    timed = interleave(runs, request.plan, f"{network.choice.size} {network.name}")
    for case in cases:
        result = timed.get(case, Timed(error=errors.get(case, "")))
        row = _row(network, case, gflop.get(case.batch), result)
        found.rows.append({**row, "description": descriptions.get(case, "")})
    for key, result in timed.items():
        if isinstance(key, Product):
            kept = found.products.setdefault(key, Timed())
            kept.secs += result.secs
            kept.error = kept.error or result.error


def _libraries(runtimes: Sequence[str]) -> tuple[str, ...]:
    """What multiplies for the peaks: torch where it is here, and who takes part."""
    torch = ("torch",) if _here("torch") else ()
    named = [name for name in runtimes if name in ("onnx", "openvino")]
    return (*torch, *(named if _here("onnx") else ()))


def _here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _cases(
    network: Network, runtimes: Sequence[str], request: Request, notes: list[str]
) -> list[Case]:
    fixed = network.batch
    batches = tuple(b for b in request.batches if fixed in (-1, b))
    if left := [str(b) for b in request.batches if b not in batches]:
        notes.append(
            f"{network.choice.size} {network.name} takes {fixed} image a run: batch "
            f"{', '.join(left)} is left out"
        )
    return [
        Case(runtime, precision, batch)
        for batch in batches
        for runtime in runtimes
        for precision in request.precisions or _precisions(runtime, network, request.device)
    ]


def _precisions(runtime: str, network: Network, device: str) -> tuple[str, ...]:
    """What is worth measuring of a runtime when nobody says."""
    if runtime in TORCH:
        return ("fp32", "bf16")
    if runtime == "openvino":
        # its fp16 is slow on CPUs, and measured only when asked for
        return ("fp32", "bf16", *(["int8"] if "int8" in network.files else []))
    # ONNX Runtime has no bf16 kernels for CPUs
    return tuple(kind for kind in network.files if kind != "bf16" or device == "cuda")


def _work(network: Network, batches: Sequence[int], notes: list[str]) -> dict[int, float]:
    """Batch to GFLOP; nothing where a deploy install cannot read graphs."""
    if not _here("onnx"):
        if (note := "work is not counted: the package onnx is not installed") not in notes:
            notes.append(note)
        return {}
    from robollm_core.bench.flops import graph_gflop

    inputs = [network.pictures(batch) for batch in batches]
    counted = graph_gflop(network.files["fp32"], inputs) if inputs else []
    return dict(zip(batches, counted, strict=True))


_Loaded = tuple[dict[Any, _Run], dict[Case, str], dict[Case, str]]


def _load(network: Network, cases: Sequence[Case], config: RuntimeConfig) -> _Loaded:
    """Put the network on every runtime once for all batches.

    Returns:
        Runs, errors and descriptions, by case.
    """
    runs: dict[Any, _Run] = {}
    errors: dict[Case, str] = {}
    descriptions: dict[Case, str] = {}
    made: dict[tuple[str, str], Any] = {}
    for case in cases:
        key = ("torch", "") if case.runtime in TORCH else (case.runtime, case.precision)
        try:
            if key not in made:
                made[key] = _source(network, case, config)
            if isinstance(made[key], str):
                errors[case] = made[key]
                continue
            runs[case], descriptions[case] = _run(network, case, made[key], config)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises; it is reported
            errors[case] = reason(error)
            made.setdefault(key, errors[case])
    return runs, errors, descriptions


def _source(network: Network, case: Case, config: RuntimeConfig) -> Any:
    """The torch module, or the engine, that the runs of a case share."""
    if case.runtime in TORCH:
        from robollm_core.bench.eager import on_device

        module = build_module(network.choice.stage, network.recipe, network.choice.seed)
        return on_device(module, config.device, config.threads)
    hinted = case.runtime == "openvino" and case.precision != "int8"
    kind = "fp32" if hinted else case.precision
    file = network.files.get(kind) or derive(network, kind)
    precision = case.precision if hinted else "auto"
    return load_engine(file, replace(config, name=case.runtime, precision=precision))


def _run(network: Network, case: Case, source: Any, config: RuntimeConfig) -> tuple[_Run, str]:
    tensors = network.pictures(case.batch)
    if case.runtime not in TORCH:
        return (lambda: source.run(tensors)), source.description
    from robollm_core.bench import eager

    if case.precision not in ("fp32", *eager.DTYPES):
        raise RuntimeUnavailableError(f"torch computes in fp32, bf16, fp16, not {case.precision}.")
    module = eager.compiled(source) if case.runtime == "torch-compile" else source
    told = eager.describe(config.device)
    told += ", torch.compile" if case.runtime == "torch-compile" else ""
    told += ", autocast" if case.precision != "fp32" else ""
    return eager.torch_run(module, tensors, case.precision, config.device), told


def _row(network: Network, case: Case, gflop: float | None, timed: Timed) -> dict[str, Any]:
    row: dict[str, Any] = {
        "stage": network.name,
        "artifact": f"{network.choice.stage}.onnx",
        "size": network.choice.size,
        "runtime": case.runtime,
        "precision": case.precision,
        "batch": case.batch,
        "image_hw": list(network.spec.inputs[0].shape[1:3]),
        # torch gets the architecture alone: a network's time is not in its values
        "weights": "random" if case.runtime in TORCH else network.weights,
        "gflop": None if gflop is None else round(gflop, 4),
    }
    if not timed.secs:
        return {**row, "error": timed.error or "it was not run"}
    times = summary(timed.secs)
    return {
        **row,
        **times,
        "items_per_s": round(1e3 * case.batch / times["ms"], 3),
        "gflops": None if gflop is None else round(1e3 * gflop / times["ms"], 2),
    }


def _compare(
    row: dict[str, Any],
    rows: Sequence[Mapping[str, Any]],
    peaks: Mapping[str, Mapping[str, Any]],
) -> None:
    """Add the peak and the ratios to a row that has times."""
    if "error" in row:
        return
    peak = peaks.get(row["precision"], {}).get("gflops")
    row["peak_gflops"] = peak
    known = peak and row["gflops"] is not None
    row["peak_fraction"] = round(row["gflops"] / peak, 4) if known else None
    for runtime in TORCH:
        same = {**{key: row[key] for key in ("stage", "size", "batch")}, "runtime": runtime}
        others = [r for r in rows if "error" not in r and same.items() <= r.items()]
        base = next((r["ms"] for r in others if r["precision"] == "fp32"), None)
        key = f"ratio_to_{runtime.replace('-', '_')}"
        row[key] = round(base / row["ms"], 3) if base else None
