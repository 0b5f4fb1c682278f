# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every artifact in every precision on every runtime that is here, each held to the gate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from robollm_core.config import RuntimeConfig
from robollm_core.errors import (
    ArtifactError,
    ConfigError,
    OutputError,
    RobollmError,
    RuntimeUnavailableError,
)
from robollm_core.export.derive import JUDGES, derive, read_network, samples_for
from robollm_core.export.gate import NETWORKS, Candidate, Gate, Verdict
from robollm_core.export.large import write_network
from robollm_core.export.samples import scenes
from robollm_core.export.sets import GATE, set_of
from robollm_core.runtime.artifact import kept_checkpoint, load_artifact
from robollm_core.runtime.cache import cache_folder
from robollm_core.runtime.factory import installed
from robollm_core.runtime.tensorrt_build import BuildPlan
from robollm_core.runtime.tensorrt_cache import placed_engine, ready_engine
from robollm_core.runtime.tensorrt_cuda import this_gpu
from robollm_core.runtime.tensorrt_flavour import RTX

RUNTIMES = ("onnx", "openvino", "torch", RTX)
"""What can be asked for here; the classic TensorRT builds for the GPU of a machine alone."""

TARGETS = ("sm86", "sm89", "sm120")
"""GPUs that engines are built for ahead of time: Ampere, Ada and Blackwell."""

BF16_ARITHMETIC = "fp32 as bf16"
"""What OpenVINO makes of an fp32 artifact by default, on a CPU that has the instructions."""

_TYPED = {"fp16": ("onnx", "openvino"), "bf16": ("openvino",), "int8": ("onnx", "openvino")}
"""Precision to the runtimes for a CPU that have kernels for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to export.

    Attributes:
        models: folder with the fp32 artifacts of the stages.
        out: folder that gets what passes.
        precisions: to derive.
        runtimes: of `RUNTIMES`.
        data, calibration: sets that were named, None for simulated ones.
        targets: GPUs that TensorRT-RTX builds for.
        rebuild: the command, for the sidecars.
        stages: which of them; those that `models` has.
    """

    models: Path
    out: Path
    precisions: Sequence[str] = tuple(_TYPED)
    runtimes: Sequence[str] = RUNTIMES
    data: Path | None = None
    calibration: Path | None = None
    targets: Sequence[str] = TARGETS
    rebuild: str = ""
    stages: Sequence[str] = field(default=tuple(NETWORKS))


def runtimes_here(asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The runtimes to export for.

    Args:
        asked: by name; empty for all that are installed.

    Raises:
        RuntimeUnavailableError: If one that was asked for is not installed.
    """
    here = installed()
    missing = [name for name in asked if name not in here]
    if missing:
        raise RuntimeUnavailableError(
            f"{', '.join(missing)} cannot be exported for: installed are {', '.join(here)}. "
            "Install it; `robollm doctor` says how."
        )
    return tuple(name for name in RUNTIMES if name in (asked or here))


def export_runtimes(plan: Plan, tell: Callable[[Verdict], None]) -> list[Verdict]:
    """Derive, compare, measure, build and write.

    Args:
        plan: what to export.
        tell: gets each verdict as soon as it is known.

    Returns:
        All verdicts, stage by stage.

    Raises:
        ConfigError: If a precision needs a runtime that is left out.
        ArtifactError: If `models` has no artifact, or one is damaged.
        OutputError: If `out` is `models` or cannot be written.
        DatasetError: If a data set is not as it should be.
        DependencyError: If a tool is not installed.
    """
    _check(plan)
    found = []
    for stage in plan.stages:
        for verdict in _stage(plan, stage):
            tell(verdict)
            found.append(verdict)
    return found


def sets_of(plan: Plan) -> dict[str, str]:
    """Stage to the set that its metric is measured on."""
    config = RuntimeConfig()
    return {stage: str(set_of(GATE, stage, plan.data, config)) for stage in plan.stages}


def stages_in(models: Path) -> tuple[str, ...]:
    """The stages that a folder has an artifact of.

    Raises:
        ArtifactError: If it has none.
    """
    found = tuple(stage for stage in NETWORKS if (models / f"{stage}.onnx").is_file())
    if not found:
        wanted = ", ".join(f"{stage}.onnx" for stage in NETWORKS)
        raise ArtifactError(f"{models} must hold at least one of {wanted}.")
    return found


def _check(plan: Plan) -> None:
    if plan.out.resolve() == plan.models.resolve():
        raise OutputError(f"--out must be another folder than --models, got {plan.out} for both.")
    for precision in plan.precisions:
        judge = JUDGES[precision].name
        if judge not in plan.runtimes:
            raise ConfigError(
                f"{precision} is compared on {judge}, which is not among the runtimes "
                f"{', '.join(plan.runtimes)}. Add it with --runtime (and install it), or leave "
                f"{precision} out of --precision."
            )


def _stage(plan: Plan, stage: str) -> Iterator[Verdict]:
    artifact = plan.models / f"{stage}.onnx"
    gate = Gate(stage, artifact, set_of(GATE, stage, plan.data, RuntimeConfig()), scenes())
    written = _copied(gate, plan.out)
    yield gate.reference()
    for words, precision, config in _of_fp32(plan, artifact):
        yield _held(gate, Candidate(artifact, precision, words=words), config)
    for precision in plan.precisions:
        samples = samples_for(gate, precision, plan.calibration, RuntimeConfig())
        derived = derive(gate, precision, samples)
        yield from derived.verdicts
        paths = derived.write(plan.out / artifact.name, plan.rebuild)
        written += paths
        for runtime in _TYPED[precision] if paths else ():
            if runtime in plan.runtimes and runtime != JUDGES[precision].name:
                config = RuntimeConfig(name=runtime, precision="fp32")
                islands = derived.verdicts[-1].islands
                yield _held(gate, Candidate(paths[0], precision, islands), config)
    if RTX in plan.runtimes:
        for path in written:
            yield from _engines(plan, gate, path)


def _held(gate: Gate, candidate: Candidate, config: RuntimeConfig) -> Verdict:
    """Hold a candidate against the reference, where the machine can run it."""
    try:
        return gate.judge(candidate, config)
    except RuntimeUnavailableError as error:
        words = candidate.words or candidate.precision
        return Verdict(gate.stage, words, config.name, note=f"not run: {error}")


def _copied(gate: Gate, out: Path) -> list[Path]:
    """The fp32 artifacts, so that `out` is a whole folder of models."""
    written = []
    for name, path in gate.artifacts.items():
        sidecar = gate.sidecars[name]
        write_network(out / path.name, read_network(path, sidecar), sidecar)
        written.append(out / path.name)
    return written


def _of_fp32(plan: Plan, artifact: Path) -> Iterator[tuple[str, str, RuntimeConfig]]:
    """Other runtimes of the fp32 artifact: the words for it, whose limits, and on what."""
    if "openvino" in plan.runtimes:
        yield "fp32", "fp32", RuntimeConfig(name="openvino", precision="fp32")
        yield BF16_ARITHMETIC, "bf16", RuntimeConfig(name="openvino", precision="bf16")
    source = Path(load_artifact(artifact.resolve())[1].source_checkpoint.get("file", ""))
    if "torch" in plan.runtimes and kept_checkpoint(artifact, source.suffix).is_file():
        yield "fp32", "fp32", RuntimeConfig(name="torch")


def _engines(plan: Plan, gate: Gate, path: Path) -> Iterator[Verdict]:
    """Engines of TensorRT-RTX, which need no GPU to be built and one to be run."""
    path, sidecar = load_artifact(path.resolve())
    cache = cache_folder(RuntimeConfig())
    precision = sidecar.precision if sidecar.precision in _TYPED else "fp32"
    own = _own_gpu()
    for target in plan.targets:
        verdict = Verdict(gate.stage, precision, f"{RTX} {target}")
        build = BuildPlan(path, RTX, target)
        try:
            entry = placed_engine(build, sidecar, plan.out / "engines")
            size = len(ready_engine(build, entry, cache)) / 1e6
        except RobollmError as error:
            yield replace(verdict, reason=f"not built: {error}")
            continue
        runtime = f"{RTX} {entry.facts['version']} {target}"
        why = f"the GPU here is {own}" if own else "no GPU"
        note = f"{path.name}: {size:.1f} MB, built, not run: {why}"
        yield replace(verdict, runtime=runtime, note=note)
    if own and sidecar.stage == gate.stage:
        config = RuntimeConfig(name=RTX, device="cuda")
        yield _held(gate, Candidate(path, precision), config)


def _own_gpu() -> str:
    """The capability of the GPU of this machine, "" without one."""
    try:
        return this_gpu().capability
    except RuntimeUnavailableError:
        return ""
