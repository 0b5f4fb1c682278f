# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Other precisions of an artifact, each written only when the gate lets it pass."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, OutputError, ParityError
from robollm_core.export.calibration import calibration_samples
from robollm_core.export.gate import FUSION, REFERENCE, Candidate, Gate, Verdict, allowed
from robollm_core.export.large import LargeNetwork, write_network
from robollm_core.export.precision import INT8, Islands, convert, ladder
from robollm_core.export.sets import CALIBRATION, set_of
from robollm_core.runtime.artifact import Sidecar, data_path, sidecar_path
from robollm_core.runtime.factory import load_engine
from robollm_core.types import Tensors

JUDGES = {
    "fp16": REFERENCE,
    # ONNX Runtime has no kernels for bf16 on a CPU
    "bf16": RuntimeConfig(name="openvino", precision="fp32"),
    "int8": REFERENCE,
}
"""Where a precision has to pass the gate."""

Samples = Mapping[str, Sequence[Tensors]]


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """What came of one precision.

    Attributes:
        precision: "fp16", "bf16" or "int8".
        networks: by name, of those islands that passed; empty when none did.
        sidecars: of the networks.
        verdicts: of every islands that were tried, the last one tried last.
    """

    precision: str
    networks: Mapping[str, bytes]
    sidecars: Mapping[str, Sidecar]
    verdicts: tuple[Verdict, ...]

    def write(self, out: Path, rebuild: str) -> list[Path]:
        """Write the artifacts, if the gate let them pass.

        Args:
            out: the fp32 artifact's place, x.onnx; x.fp16.onnx goes beside it.
            rebuild: the command that does this again.

        Returns:
            The files written, none when the gate refused.

        Raises:
            OutputError: If writing fails; then none of them is there.
        """
        written: list[Path] = []
        try:
            for name, network in self.networks.items():
                path = derived_path(out, self.precision, fusion=name == FUSION)
                write_network(path, network, replace(self.sidecars[name], rebuild=rebuild))
                written.append(path)
        except OutputError:
            # a network without its fusion would be taken for one that has none
            for path in written:
                path.unlink(missing_ok=True)
                sidecar_path(path).unlink(missing_ok=True)
            raise
        return written


def derived_path(out: Path, precision: str, *, fusion: bool = False) -> Path:
    """Where a precision of x.onnx goes: x.fp16.onnx, and x.fp16_fusion.onnx of a fusion."""
    return out.with_name(f"{out.stem}.{precision}{'_fusion' if fusion else ''}.onnx")


def derive(gate: Gate, precision: str, samples: Samples) -> Derived:
    """Make a precision with ever wider islands of fp32 until the gate lets it pass.

    Args:
        gate: of the stage.
        precision: "fp16", "bf16" or "int8".
        samples: network to inputs, see `samples_for`.

    Raises:
        ConfigError: If there is no such precision.
        DependencyError: If a tool is not installed.
        RuntimeUnavailableError: If the runtime that judges it is not there.
    """
    verdicts: list[Verdict] = []
    for islands in ladder(precision):
        with tempfile.TemporaryDirectory() as folder:
            try:
                networks = _convert(gate, precision, samples, islands)
                sidecars = _sidecars(gate, precision, networks, islands)
                path = _lay_out(Path(folder), precision, networks, sidecars)
            except ParityError as error:
                verdicts.append(_refused(gate, precision, islands, error))
                continue
            candidate = Candidate(path, precision, islands.name)
            verdicts.append(gate.judge(candidate, JUDGES[precision]))
        if verdicts[-1].passed:
            return Derived(precision, networks, sidecars, tuple(verdicts))
    return Derived(precision, {}, {}, tuple(verdicts))


def samples_for(gate: Gate, precision: str, named: Path | None, config: RuntimeConfig) -> Samples:
    """Inputs from which a precision is made.

    Args:
        gate: of the stage.
        precision: int8 is calibrated on a data set, the others on the gate's pictures.
        named: the set to calibrate with, None for a simulated one.
        config: says where the cache is.

    Raises:
        DatasetError: If the set is missing, empty or of another layout.
        DependencyError: If a set has to be made and the simulator is not installed.
    """
    if precision != INT8:
        return gate.inputs
    folder = set_of(CALIBRATION, gate.stage, named, config)
    embedder = None
    if FUSION in gate.artifacts:
        embedder = load_engine(gate.artifacts[gate.stage], REFERENCE), gate.sidecars[gate.stage]
    return {
        name: calibration_samples(sidecar, folder, embedder)
        for name, sidecar in gate.sidecars.items()
    }


def read_network(path: Path, sidecar: Sidecar) -> bytes:
    """The bytes of an artifact, a `LargeNetwork` when it has two files.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        graph = path.read_bytes()
        if sidecar.meta.get("external") is None:
            return graph
        return LargeNetwork.of(graph, data_path(path).read_bytes())
    except OSError as error:
        raise ArtifactError(f"cannot read the network {path}: {error}.") from error


def _convert(gate: Gate, precision: str, samples: Samples, islands: Islands) -> dict[str, bytes]:
    return {
        name: convert(read_network(path, gate.sidecars[name]), precision, samples[name], islands)
        for name, path in gate.artifacts.items()
    }


def _sidecars(
    gate: Gate, precision: str, networks: Mapping[str, bytes], islands: Islands
) -> dict[str, Sidecar]:
    return {
        name: replace(
            gate.sidecars[name],
            precision=precision,
            opset=_opset(network),
            meta={
                **gate.sidecars[name].meta,
                "derived": {"from": gate.sidecars[name].sha256, "islands": islands.name},
            },
        )
        for name, network in networks.items()
    }


def _opset(network: bytes) -> int:
    imported = onnx.load_from_string(network).opset_import
    return next(int(one.version) for one in imported if one.domain in ("", "ai.onnx"))


def _lay_out(
    folder: Path, precision: str, networks: Mapping[str, bytes], sidecars: Mapping[str, Sidecar]
) -> Path:
    out = folder / "network.onnx"
    for name, network in networks.items():
        path = derived_path(out, precision, fusion=name == FUSION)
        write_network(path, network, sidecars[name])
    return derived_path(out, precision)


def _refused(gate: Gate, precision: str, islands: Islands, error: ParityError) -> Verdict:
    limits = allowed(gate.stage, precision, gate.recipe)
    return Verdict(
        gate.stage, precision, "", islands.name, limits=limits, reason=f"not made: {error}"
    )
