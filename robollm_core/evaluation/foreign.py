# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders of others, exported to ONNX, asked like our own: timm's, torchvision's, any."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError
from robollm_core.evaluation.encoder import BATCH, Encoder, Prepared, identity
from robollm_core.evaluation.preprocess import Preprocess, bring, normalise
from robollm_core.files import file_sha256
from robollm_core.images import GREY
from robollm_core.runtime.factory import load_bare_engine, resolve_bare
from robollm_core.types import Engine, Float32Array, TensorSpec

_FLOATS = ("float16", "float32")
_BESIDE = (".data", "_data")
"""Endings under which exporters put weights beside the graph, x.onnx.data and x.onnx_data."""


@dataclass(frozen=True, slots=True)
class ForeignEncoder:
    """Somebody else's encoder.

    Attributes:
        path: x.onnx.
        sha256: of the file, and of the weights beside it where there are any.
        how: its preprocessing, as stated.
        input, output: the tensors used.
        size: pictures a run, as the graph fixes it.
        runtime: where it runs.
    """

    path: Path
    sha256: str
    how: Preprocess
    input: TensorSpec
    output: str
    size: int = BATCH
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    @property
    def network(self) -> str:
        """Network, runtime and preprocessing."""
        return identity(self.sha256, self.runtime, self.how.to_json())

    @property
    def sight(self) -> str:
        """The preprocessing."""
        return self.how.to_json()

    @property
    def batch(self) -> int:
        """As the graph fixes it, else as for our own."""
        return self.size

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.runtime.device

    def load(self) -> Encoder:
        """Load it; raises ArtifactError when it is no network."""
        engine = load_bare_engine(self.path, self.runtime)
        return Encoder(lambda image, picture: bring(image, picture, self.how), self._runner(engine))

    def _runner(self, engine: Engine) -> Callable[[Prepared], dict[str, Float32Array]]:
        def run(pixels: Prepared) -> dict[str, Float32Array]:
            fed = normalise(pixels, self.how).astype(np.dtype(self.input.dtype), copy=False)
            found = engine.run({self.input.name: fed})[self.output]
            return {"embedding": pool(np.asarray(found, np.float32), self.how, self.output)}

        return run


def open_foreign(path: Path, how: Preprocess, runtime: RuntimeConfig) -> ForeignEncoder:
    """Look at an ONNX file and see that the stated preprocessing fits it.

    Args:
        path: x.onnx.
        how: the statement.
        runtime: where it is to run.

    Raises:
        ArtifactError: If it is no network, or one that the statement does not fit;
            the text says what to state.
        RuntimeUnavailableError: If runtime or device are not there.
    """
    try:
        sha256 = _sha256(path)
    except OSError as error:
        raise ArtifactError(f"cannot read the encoder {path}: {error}.") from error
    runtime = resolve_bare(runtime)
    engine = load_bare_engine(path, runtime)
    taken = _chosen(engine.spec.inputs, how.input, f"{path}: input")
    given = _chosen(engine.spec.outputs, how.output, f"{path}: output")
    _check_input(taken, how, path)
    size = taken.shape[0] if taken.shape[0] > 0 else BATCH
    found = ForeignEncoder(path, sha256, how, taken, given.name, size, runtime)
    # the graph may leave the shape of its answer open: ask once
    grey = np.full((size, *how.size, 3), GREY, np.uint8)
    found._runner(engine)(grey)
    return found


def pool(rows: Float32Array, how: Preprocess, output: str) -> Float32Array:
    """Make one vector a picture of what an encoder gives.

    Args:
        rows: (N, D), (N, T, D) tokens, or a feature map, (N, D, h, w) or, in NHWC,
            (N, h, w, D).
        how: says the pooling.
        output: name, for the error.

    Returns:
        (N, D) float32, of unit length if stated.

    Raises:
        ArtifactError: If there is no such pooling of this shape.
    """
    if rows.ndim == 3 and how.pooling == "cls" and rows.shape[1] > 0:
        rows = rows[:, 0]
    elif rows.ndim == 3 and how.pooling == "mean" and rows.shape[1] > how.skip:
        rows = rows[:, how.skip :].mean(axis=1)
    elif rows.ndim == 4 and how.pooling == "mean":
        rows = rows.mean(axis=(2, 3) if how.layout == "NCHW" else (1, 2))
    elif rows.ndim != 2 or how.pooling != "none":
        raise ArtifactError(
            f"the encoder's output {output!r} is {rows.shape}; pooling {how.pooling!r} does not "
            "fit. State pooling=none for (N, D), cls or mean for tokens (N, T, D), mean for a "
            "feature map (N, D, h, w), or another output."
        )
    if how.l2:
        # a vector of zeros has no direction: it becomes NaN, and is refused as such
        with np.errstate(invalid="ignore", divide="ignore"):
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows, np.float32)


def _sha256(path: Path) -> str:
    found = [path, *(path.with_name(path.name + ending) for ending in _BESIDE)]
    digests = [file_sha256(file) for file in found if file == path or file.is_file()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _chosen(tensors: Sequence[TensorSpec], name: str, what: str) -> TensorSpec:
    held = {tensor.name: tensor for tensor in tensors}
    if name in held:
        return held[name]
    if not name and len(held) == 1:
        return tensors[0]
    key = what.rpartition(" ")[2]
    raise ArtifactError(
        f"{what} {name!r} is not there, it has {list(held)}. State {key}=NAME."
        if name
        else f"{what}: it has several, {list(held)}. State {key}=NAME."
    )


def _check_input(tensor: TensorSpec, how: Preprocess, path: Path) -> None:
    high, wide = how.size
    wanted = (3, high, wide) if how.layout == "NCHW" else (high, wide, 3)
    shape = tensor.shape
    fits = len(shape) == 4 and all(
        have in (want, -1) for have, want in zip(shape[1:], wanted, strict=True)
    )
    if not fits:
        raise ArtifactError(
            f"{path}: input {tensor.name!r} is {shape} (-1: free), the statement gives pictures of "
            f"(N, {', '.join(map(str, wanted))}). State the layout and size it was trained with, "
            "or another input."
        )
    if tensor.dtype not in _FLOATS:
        raise ArtifactError(
            f"{path}: input {tensor.name!r} is {tensor.dtype}, expected one of {_FLOATS}. Export "
            "the encoder without its own preprocessing."
        )
