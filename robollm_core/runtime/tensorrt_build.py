# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX to engine, in a process of its own.

Building takes up to minutes and runs foreign code on foreign input: a crash there
must not take a robot down. So `tensorrt_cache` starts this file as a program:
`python -m robollm_core.runtime.tensorrt_build PLAN OUT`. It tells what it does on
its standard output, one line a step: "phase TEXT", or "refused JSON" before it
ends with an exit code that is not 0.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from robollm_core.errors import ArtifactError, RobollmError, RuntimeUnavailableError
from robollm_core.runtime.furniture import BATCH
from robollm_core.runtime.tensorrt_api import (
    Builder,
    BuilderConfig,
    Network,
    ParserError,
    Profile,
    TargetedConfig,
)
from robollm_core.runtime.tensorrt_flavour import CLASSIC, RTX, Flavour, find_flavour

ENGINE, TIMING = "engine", "timing"
"""Names of the files that the program writes into OUT."""

WORKSPACE_MIB = 2048
_STEP_SECS = 1.0


@dataclass(frozen=True, slots=True)
class Batches:
    """The sizes of a free batch that an engine takes.

    Attributes:
        usual: what it is tuned for.
        most: the largest; the smallest is 1.
    """

    usual: int = BATCH // 2
    most: int = BATCH


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """All that a built engine depends on, but for versions.

    Attributes:
        network: the ONNX file.
        flavour: "tensorrt" or "tensorrt_rtx".
        target: the GPU it is for: a capability such as "sm86" of TensorRT-RTX;
            of the classic TensorRT also the name of the card, which is here.
        batches: of inputs with a free batch.
        workspace_mib: most memory that a layer may use while it runs.
    """

    network: Path
    flavour: str
    target: str
    batches: Batches = Batches()
    workspace_mib: int = WORKSPACE_MIB

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps({**asdict(self), "network": str(self.network)})

    @classmethod
    def from_json(cls, text: str) -> "BuildPlan":
        """Read what `to_json` wrote."""
        tree = json.loads(text)
        batches = Batches(**tree.pop("batches"))
        return cls(**{**tree, "network": Path(tree["network"]), "batches": batches})


def targets(flavour: Flavour) -> dict[str, Any]:
    """The capabilities that TensorRT-RTX can build for: "sm86" and so on, with its name of each."""
    members = flavour.targeted.ComputeCapability.__members__
    return {name.lower(): value for name, value in members.items() if name.startswith("SM")}


def build(plan: BuildPlan, timing: bytes = b"") -> tuple[bytes, bytes]:
    """Build an engine in this process.

    Args:
        plan: what to build.
        timing: what an earlier build measured; empty for none. TensorRT-RTX measures
            nothing.

    Returns:
        The engine, and what was measured; empty of TensorRT-RTX.

    Raises:
        ArtifactError: If a node of the network is not supported, or needs a plugin.
        RuntimeUnavailableError: If the flavour or the GPU is not there.
    """
    flavour = find_flavour(plan.flavour)
    bindings = flavour.bindings
    builder = bindings.Builder(flavour.logger)
    # TensorRT 11 and RTX have no other kind: the types in the graph are the types that run
    network = builder.create_network(
        1 << int(bindings.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = bindings.OnnxParser(network, flavour.logger)
    if not parser.parse_from_file(str(plan.network)):
        errors = [_told(parser.get_error(index)) for index in range(parser.num_errors)]
        raise _refused(plan, flavour, "; ".join(errors) or flavour.why())
    _refuse_plugins(plan, flavour, network)
    config = _configure(plan, flavour, builder, network)
    cache = config.create_timing_cache(timing) if plan.flavour == CLASSIC else None
    # one of another version or card is refused by TensorRT, which then measures anew
    if cache is not None and not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _refused(plan, flavour, flavour.why() or "it gave no reason")
    return _bytes(engine), b"" if cache is None else _bytes(cache.serialize())


def _bytes(memory: Any) -> bytes:
    return bytes(memory)


def _told(error: ParserError) -> str:
    if not error.node_operator():  # the file as a whole
        return error.desc()
    return f"node {error.node()} {error.node_name()!r} ({error.node_operator()}): {error.desc()}"


def _refuse_plugins(plan: BuildPlan, flavour: Flavour, network: Network) -> None:
    layers = (network.get_layer(index) for index in range(network.num_layers))
    plugins = [x.name for x in layers if x is not None and x.type.name.startswith("PLUGIN")]
    if plugins:
        raise _refused(
            plan, flavour, f"node {', '.join(map(repr, plugins))} needs a plugin; none is allowed"
        )


def _refused(plan: BuildPlan, flavour: Flavour, why: str) -> ArtifactError:
    return ArtifactError(
        f"{flavour.name} {flavour.version} cannot build {plan.network} for {plan.target}: {why}. "
        "Export the network with nodes that it supports (`robollm export check` names the "
        "others), or choose another runtime."
    )


def _configure(
    plan: BuildPlan, flavour: Flavour, builder: Builder, network: Network
) -> BuilderConfig:
    bindings = flavour.bindings
    config = builder.create_builder_config()
    config.set_memory_pool_limit(bindings.MemoryPoolType.WORKSPACE, plan.workspace_mib << 20)
    # an fp32 graph computes in fp32; who wants less exports less
    config.clear_flag(bindings.BuilderFlag.TF32)
    config.progress_monitor = _monitor(bindings)
    if plan.flavour == RTX:
        _aim(plan, flavour, cast("TargetedConfig", config))
    shapes = dict(_free_inputs(network))
    if shapes:
        profile = builder.create_optimization_profile()
        for name, sizes in shapes.items():
            _open(profile, name, sizes, plan.batches)
        config.add_optimization_profile(profile)
    return config


def _aim(plan: BuildPlan, flavour: Flavour, config: TargetedConfig) -> None:
    known = targets(flavour)
    if plan.target not in known:
        raise RuntimeUnavailableError(
            f"{flavour.name} {flavour.version} builds for {', '.join(known)}, not for "
            f"{plan.target}. Choose another GPU or another runtime."
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[plan.target], 0)


def _free_inputs(network: Network) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        assert tensor is not None
        sizes = tuple(tensor.shape[axis] for axis in range(len(tensor.shape)))
        if -1 in sizes[1:]:
            raise ArtifactError(
                f"input {tensor.name!r} has the sizes {sizes}; only the batch may be free. "
                "Export the network again with fixed sizes."
            )
        if -1 in sizes:
            yield tensor.name, sizes[1:]


def _open(profile: Profile, name: str, sizes: tuple[int, ...], batches: Batches) -> None:
    usual = min(batches.usual, batches.most)
    profile.set_shape(name, (1, *sizes), (usual, *sizes), (batches.most, *sizes))


def _monitor(bindings: Any) -> Any:
    """What TensorRT tells its steps to; each becomes a line of this program's output."""

    class Steps(bindings.IProgressMonitor):  # type: ignore[misc] # it comes with the bindings
        def __init__(self) -> None:
            bindings.IProgressMonitor.__init__(self)
            self.counts: dict[str, int] = {}
            self.told = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.counts[phase_name] = num_steps
            _tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            now = time.monotonic()
            if now - self.told > _STEP_SECS:
                self.told = now
                _tell(f"{phase_name} {step + 1}/{self.counts.get(phase_name, step + 1)}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.counts.pop(phase_name, None)

    return Steps()


def _tell(text: str) -> None:
    print("phase", text, flush=True)


def main(words: list[str]) -> int:
    """Build what the plan says, into the folder OUT.

    Args:
        words: the plan as JSON, and OUT, which may hold what an earlier build measured.

    Returns:
        0, or 2 when the network was refused.
    """
    plan, out = BuildPlan.from_json(words[0]), Path(words[1])
    measured = out / TIMING
    try:
        _tell("reading the network")
        engine, timing = build(plan, measured.read_bytes() if measured.exists() else b"")
    except RobollmError as error:
        told = {"kind": type(error).__name__, "text": str(error)}
        print("refused", json.dumps(told), flush=True)
        return 2
    (out / ENGINE).write_bytes(engine)
    if timing:
        measured.write_bytes(timing)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
