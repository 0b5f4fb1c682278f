# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which networks embed a split, and how their answers are to be compared."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ConfigError
from robollm_core.evaluation.encoder import EncoderSource, ExportedEncoder
from robollm_core.evaluation.foreign import open_foreign
from robollm_core.evaluation.networks import find
from robollm_core.evaluation.outcome import Request
from robollm_core.evaluation.preprocess import read_preprocess
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine, resolve
from robollm_core.runtime.furniture import (
    RELEASED,
    check_stage,
    crop_spec,
    has_output,
    reference_output,
    reference_scale,
    scoring,
)
from robollm_core.types import Engine


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What answers, and how its answers are compared.

    Attributes:
        source: embeds single pictures.
        query: output that embeds a view, "" where single views are not asked.
        reference: output that embeds a reference.
        fusion: takes (N, 3, F) "features" of the three views, None without.
        scale: as in `embedding.Embedded`.
        raw: scores are dot products of vectors of any length.
        networks, preparation: as in `embedding.Embedded`.
    """

    source: EncoderSource
    query: str = "embedding"
    reference: str = "embedding"
    fusion: Engine | None = None
    scale: float = math.inf
    raw: bool = False
    networks: Mapping[str, str] = field(default_factory=dict)
    preparation: str = ""


def runtime_of(request: Request) -> RuntimeConfig:
    """Where the networks of a request run: the workers together take all cores."""
    runtime = request.config.runtime
    if request.options.get("workers") and not runtime.threads:
        return replace(runtime, threads=1)
    return runtime


def load_model(request: Request) -> Model:
    """The networks of a request: our exported ones, or the encoder of others it names.

    Args:
        request: `options` may hold "encoder", an ONNX file of others, and
            "encoder_preprocess", how it sees pictures (`preprocess.read_preprocess`).

    Raises:
        ArtifactError: If one is missing or not what it should be.
        ConfigError: If the preprocessing is not stated, or stated wrongly.
    """
    runtime, options = runtime_of(request), request.options
    encoder, statement = options.get("encoder"), options.get("encoder_preprocess")
    if not encoder and statement:
        raise ConfigError("--encoder-preprocess states how an encoder sees; name it by --encoder.")
    if not encoder:
        return exported(find(request.models, "identification"), runtime)
    how = read_preprocess(statement or {})
    source = open_foreign(Path(encoder), how, runtime)
    words = "encoder of others: " + _in_words(asdict(how))
    return Model(source, networks={source.path.name: source.sha256}, preparation=words)


def exported(artifact: Path, runtime: RuntimeConfig) -> Model:
    """An exported network, with its fusion where it has features to fuse.

    Raises:
        ArtifactError: If one is missing or not what it should be.
    """
    path, sidecar = load_artifact(artifact)
    check_stage(sidecar, "identification")
    # a name says who answers; auto would not
    resolved = resolve(path, runtime)
    crop = crop_spec(sidecar)
    networks = {path.name: sidecar.sha256}
    fusion = None
    # a network of single views has no features to fuse
    if has_output(sidecar, "feature"):
        beside, its = load_artifact(path.with_name(f"{path.stem}_fusion.onnx"))
        check_stage(its, "identification_fusion")
        fusion = load_engine(beside, runtime)
        networks[beside.name] = its.sha256
    return Model(
        source=ExportedEncoder(path, sidecar.sha256, crop, resolved),
        query="embedding" if has_output(sidecar, "embedding") else "",
        reference=reference_output(sidecar),
        fusion=fusion,
        scale=reference_scale(sidecar),
        raw=scoring(sidecar) == RELEASED,
        networks=networks,
        preparation="crop as the stage cuts it: " + _in_words(crop.to_json()),
    )


def _in_words(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value != "")
