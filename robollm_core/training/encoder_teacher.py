# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Any encoder in a file as a teacher: runs of ours, exports, conversions, BEiT-3 weights."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from robollm_core.beit3.adapters import attach_asked
from robollm_core.beit3.build import SIZES, build, size_of
from robollm_core.beit3.checkpoint import Checkpoint, load_encoder
from robollm_core.beit3.encoder import PATCH, Encoder, normalise
from robollm_core.beit3.layouts import PREFIX
from robollm_core.errors import CheckpointError
from robollm_core.training.teachers import TEACHERS, Teacher, load_teacher
from robollm_core.training.warm import (
    encoder_alone,
    encoder_tensors,
    input_grid,
    lineage,
    read_start,
)

_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".onnx", ".safetensors"})
_AT_ONCE = 32


def find_teacher(name: str) -> Teacher:
    """Load a teacher by name or from a file.

    Args:
        name: a key of `teachers.TEACHERS`, or the path of what `warm.read_start`
            reads.

    Raises:
        CheckpointError: If the file cannot be read, or holds no encoder of a
            known size.
        ConfigError: If it is neither.
        RuntimeUnavailableError: If the packages of a named one are not installed.
    """
    path = Path(name)
    if name in TEACHERS or not (path.suffix in _SUFFIXES or path.is_file()):
        return load_teacher(name)
    return EncoderTeacher(read_start(path))


class EncoderTeacher(Teacher):
    """A BEiT-3 encoder that sees the images at the size its positions belong to.

    Attributes:
        encoder: frozen.
    """

    strides = (PATCH,)

    def __init__(self, start: Checkpoint) -> None:
        """Build the encoder that the weights are of.

        Raises:
            CheckpointError: If they are of no known size.
        """
        super().__init__()
        self.encoder = build_encoder(start)
        self.channels = (self.encoder.width,)
        self.sha256 = start.sha256
        *before, own = lineage(start)
        self.origin = (*before, {**own, "stage": "teacher"})
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """The map of a batch, after the final norm.

        Args:
            images: (N, S, S, 3) uint8 RGB, S a multiple of 16; resized to the
                native size of the encoder, its map back to the patches of S.

        Returns:
            (N, d, S/16, S/16), no gradient.
        """
        with torch.no_grad():
            # in parts, so that a large teacher does not decide how large a batch can be
            return (torch.cat([self._map(part) for part in images.split(_AT_ONCE)]),)

    def _map(self, images: Tensor) -> Tensor:
        pixels = _resized(normalise(images), self.encoder.shape.image_hw)
        grid = (images.shape[1] // PATCH, images.shape[2] // PATCH)
        return _resized(self.encoder.feature_map(pixels).float(), grid)


def build_encoder(start: Checkpoint) -> Encoder:
    """The encoder in a file, its size told by the shapes of the weights.

    Args:
        start: what `warm.read_start` read. A detector's encoder attends in
            windows, as it was trained, at a square of its shorter side.

    Raises:
        CheckpointError: If there is none, or it is of no known size.
    """
    own = {name.removeprefix(PREFIX): tensor for name, tensor in encoder_tensors(start).items()}
    depth = len({name.split(".")[1] for name in own if name.startswith("blocks.")})
    positions, inner = own.get("positions"), own.get("blocks.0.ffn.fc1.weight")
    if positions is None or inner is None or positions.ndim != 3 or inner.ndim != 2:
        raise CheckpointError(
            f"{start.file} holds no BEiT-3 encoder: expected positions (1, 1 + n, d) and blocks "
            "under its names. Give the best.pt of a run, an export, or BEiT-3 weights."
        )
    size = size_of(depth, int(positions.shape[2]), int(inner.shape[0]))
    if not size:
        raise CheckpointError(
            f"{start.file} holds an encoder of {depth} blocks, width {positions.shape[2]} and "
            f"inner width {inner.shape[0]}, which is none of {', '.join(SIZES)}."
        )
    grid = input_grid(start.recipe)
    encoder = build(size, _edge(start, positions), detection=grid is not None)
    attach_asked(encoder, start.recipe.get("model"))
    load_encoder(encoder, encoder_alone(start, encoder))
    return encoder


def _edge(start: Checkpoint, positions: Tensor) -> int:
    """Native edge in pixels."""
    grid = input_grid(start.recipe)
    if grid is not None:
        return min(grid) * PATCH
    count = int(positions.shape[1]) - 1
    edge = math.isqrt(max(count, 0))
    if edge < 1 or edge * edge != count:
        raise CheckpointError(
            f"{start.file}: {count} positions are no square grid, and its recipe names no other."
        )
    return edge * PATCH


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == size:
        return maps
    return functional.interpolate(
        maps, size=size, mode="bilinear", align_corners=False, antialias=True
    )
