# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What turns pictures into embeddings: our exported networks, told so that a worker can load them.

A description is small and can be sent to another process; what it loads is the
running network.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from robollm_core.config import RuntimeConfig
from robollm_core.data.samples import Picture, cut_image
from robollm_core.images import CUT, CropSpec
from robollm_core.runtime.factory import load_engine
from robollm_core.types import Float32Array, UInt8Array

BATCH = 32
"""Pictures in one run."""

Prepared = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A network that runs.

    Attributes:
        prepare: pixels (H, W, 3) uint8 and what to look at in them, to the
            network's input for one picture.
        run: (batch, ...) of those to name of output to (batch, ...) float32.
    """

    prepare: Callable[[UInt8Array, Picture], Prepared]
    run: Callable[[Prepared], Mapping[str, Float32Array]]


class EncoderSource(Protocol):
    """Describes an encoder; can be pickled."""

    @property
    def network(self) -> str:
        """Hex digest of the network and of all else that decides its answers."""

    @property
    def sight(self) -> str:
        """How a picture is prepared, as text; equal texts prepare alike."""

    @property
    def batch(self) -> int:
        """How many pictures it is given at a time, neither more nor fewer.

        A network's sums may depend on how many there are.
        """

    @property
    def device(self) -> str:
        """Where it runs, "cpu" or "cuda"."""

    def load(self) -> Encoder:
        """Put the network on its runtime."""


@dataclass(frozen=True, slots=True)
class ExportedEncoder:
    """A network that this package exported.

    Attributes:
        path: x.onnx, its sidecar beside it.
        sha256: of the network.
        crop: how it sees pictures.
        runtime: where it runs.
    """

    path: Path
    sha256: str
    crop: CropSpec
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    @property
    def network(self) -> str:
        """The network's sha256 with runtime and device, which round differently."""
        return identity(self.sha256, self.runtime)

    @property
    def sight(self) -> str:
        """The crop."""
        return repr(self.crop)

    @property
    def batch(self) -> int:
        """A power of two that keeps a processor busy."""
        return BATCH

    @property
    def device(self) -> str:
        """As the runtime is told."""
        return self.runtime.device

    def load(self) -> Encoder:
        """Load it; raises ArtifactError when it is not what its sidecar says."""
        engine = load_engine(self.path, self.runtime)

        def run(images: Prepared) -> dict[str, Float32Array]:
            answers = engine.run({"images": images})
            return {name: np.asarray(rows, np.float32) for name, rows in answers.items()}

        return Encoder(lambda image, picture: cut_image(image, picture, self.crop), run)


def identity(sha256: str, runtime: RuntimeConfig, more: str = "") -> str:
    """Name a network together with what else decides its answers.

    Args:
        sha256: of the network.
        runtime: as `factory.resolve` returns it; auto would not say who answers.
        more: preprocessing, as text.
    """
    where = [runtime.name, runtime.device, runtime.precision]
    if runtime.device != "cpu":
        where.append(runtime.provider)
    parts = (sha256, *where, more, str(CUT))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
