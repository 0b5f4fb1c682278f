# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reference images to embeddings, as one network makes them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robollm_core.errors import NotFiniteError
from robollm_core.images import CUT, CropSpec, crop_whole, decode_image
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.furniture import BATCH, crop_spec, reference_output, run_batches
from robollm_core.types import Engine, Float32Array, UInt8Array

BACKGROUND_BATCH = 4
"""References in one run beside a running cell: a frame that comes waits for no more."""


@dataclass(frozen=True, slots=True)
class Network:
    """What an embedding depends on, beside its image.

    Attributes:
        model: sha256 of the network file.
        crop: how images are brought to its size, as text.
        dim: numbers in an embedding; 0 where the sidecar leaves it open.
    """

    model: str
    crop: str
    dim: int

    @property
    def key(self) -> str:
        """Names model and crop, and by them the embeddings in a gallery file."""
        return hashlib.sha256(f"{self.model}\n{self.crop}".encode()).hexdigest()


def network_of(sidecar: Sidecar) -> Network:
    """What the sidecar of an identification network says of its embeddings.

    Raises:
        ArtifactError: If its meta has no valid "crop".
    """
    name = reference_output(sidecar)
    widths = [tensor.shape[-1] for tensor in sidecar.spec.outputs if tensor.name == name]
    crop = {"cut": CUT, "output": name, **crop_spec(sidecar).to_json()}
    width = max(widths[0], 0) if widths else 0
    return Network(sidecar.sha256, json.dumps(crop, sort_keys=True), width)


class Embedder:
    """Embeds reference images in batches."""

    def __init__(
        self, engine: Engine, crop: CropSpec, output: str = "embedding", batch: int = BATCH
    ) -> None:
        """Take a network.

        Args:
            engine: input "images" (N, S, S, 3) uint8, output `output` (N, D) float32.
            crop: how the network sees images.
            output: which output embeds references.
            batch: images in one run, at most `BATCH`.
        """
        self._engine, self._crop, self._output = engine, crop, output
        self.batch = batch

    def look(self, data: bytes, name: str) -> UInt8Array:
        """Decode an image and bring it to the size of the network, (S, S, 3) uint8.

        Raises:
            ImageError: If it is no whole JPEG or PNG.
        """
        return crop_whole(decode_image(data, name), self._crop)

    def embed(self, crops: Sequence[UInt8Array]) -> Float32Array:
        """Embed what `look` gave, at least one; (N, D) float32.

        Raises:
            NotFiniteError: If the network answers with NaN or infinity.
            RuntimeFailedError: If the runtime fails.
        """
        rows = run_batches(self._engine, np.stack(crops), self._output)
        check_finite(rows, "reference images")
        return rows


def check_finite(rows: Float32Array, what: str) -> None:
    """Refuse embeddings that are no numbers: each would be as similar to everything.

    Args:
        rows: (N, D).
        what: was embedded, for the error.

    Raises:
        NotFiniteError: If one holds NaN or infinity.
    """
    wrong = ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise NotFiniteError(
            f"the identification network answers with NaN or infinity for {int(wrong.sum())} of "
            f"{len(rows)} {what}. The network or its runtime is broken: run `robollm doctor`, or "
            "set runtime.precision to fp32."
        )
