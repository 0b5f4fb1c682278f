# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Cells whose engines are watched, and frames with a set number of instances for them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.bench.sample import recorded
from robollm_core.cell import build_stages
from robollm_core.config import Config, RuntimeConfig
from robollm_core.errors import ConfigError
from robollm_core.geometry import Letterbox
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import crop_spec
from robollm_core.segmentation.stage import Segmenter
from robollm_core.types import Engine, EngineSpec, Manifest, Tensors, UInt8Array

Rows = dict[str, npt.NDArray[np.generic]]
SAMPLE_FRAMES = 8
SIDES = (0.08, 0.2)
"""Sides of the set boxes, as fractions of the frame's."""


class Watched:
    """An engine whose runs are timed, and whose answer may be set.

    Attributes:
        rows: outputs that take the place of the engine's.
        wall, cpu: seconds in the engine since `reset`; CPU time is that of the process.
    """

    def __init__(self, engine: Engine) -> None:
        """Watch an engine."""
        self._engine = engine
        self.rows: Rows = {}
        self.wall = self.cpu = 0.0

    @property
    def spec(self) -> EngineSpec:
        """Of the engine."""
        return self._engine.spec

    @property
    def description(self) -> str:
        """Of the engine."""
        return self._engine.description

    def reset(self) -> None:
        """Begin to count at 0."""
        self.wall = self.cpu = 0.0

    def run(self, inputs: Tensors) -> Rows:
        """Run the engine; the rows that are set replace its own."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = self._engine.run(inputs)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        return {**found, **self.rows}


class Cell:
    """Three watched engines and their stages."""

    def __init__(self, config: Config) -> None:
        """Load the networks of a configuration.

        Raises:
            ArtifactError: If a network is missing, damaged or of another stage.
            RuntimeUnavailableError: If the runtime or the device is not there.
        """
        loaded: dict[str, Watched] = {}

        def load(path: str, runtime: RuntimeConfig) -> Watched:
            loaded[path] = Watched(load_engine(path, runtime))
            return loaded[path]

        self.stages = build_stages(config, load)
        assert isinstance(self.stages.segmentation, Segmenter)
        self.segmenter: Segmenter = self.stages.segmentation
        paths = [config.segmentation.artifact, config.identification.artifact]
        paths.append(config.defects.artifact)
        self.engines = [loaded[path] for path in paths]
        self.specs = [crop_spec(load_artifact(path)[1]) for path in paths[1:]]

    @property
    def input_hw(self) -> tuple[int, int]:
        """(height, width) the segmentation network sees."""
        _, height, width, _ = self.engines[0].spec.inputs[0].shape
        return height, width

    @property
    def masks(self) -> tuple[int, ...]:
        """Shape of the masks that the segmentation network answers with, (1, slots, h, w)."""
        shapes = {tensor.name: tensor.shape for tensor in self.engines[0].spec.outputs}
        return shapes["masks"]

    @property
    def most(self) -> int:
        """Instances that a frame can have."""
        return min(self.masks[1], self.segmenter.config.max_instances)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is measured against the others.

    Attributes:
        image_rgb: (H, W, 3) uint8.
        manifest: what the container holds.
        instances: how many the frame shows; 0 for as many as are found.
        raw: the image as a camera sends it, bgr8.
    """

    image_rgb: UInt8Array
    manifest: Manifest
    instances: int = 0
    raw: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keep the bytes of a message."""
        object.__setattr__(self, "raw", self.image_rgb[..., ::-1].tobytes())

    @property
    def size(self) -> str:
        """Width x height."""
        height, width = self.image_rgb.shape[:2]
        return f"{width}x{height}"

    @property
    def key(self) -> tuple[str, int]:
        """Size and number of instances: what a row is about."""
        return self.size, self.instances


def cases(bag: Path, sizes: Sequence[str], instances: Sequence[int]) -> list[Case]:
    """What to measure: frames of a recording as they are, and resized with set instances.

    Args:
        bag: the recording.
        sizes: "640x480" and the like.
        instances: how many on a frame.

    Raises:
        ConfigError: If a size is none.
        BagError: If the recording has no frame with a manifest.
    """
    sample = recorded(bag, SAMPLE_FRAMES)
    image, manifest = sample[0][0].image_rgb, sample[0][1]
    found = [Case(frame.image_rgb, own) for frame, own in sample]
    for size in sizes:
        width, _, height = size.partition("x")
        if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 32):
            raise ConfigError(f"a size is WIDTHxHEIGHT in pixels, from 32x32, got {size!r}.")
        resized = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        pixels = resized.astype(np.uint8, copy=False)
        found += [Case(pixels, manifest, count) for count in instances]
    return found


def set_rows(case: Case, cell: Cell, seed: int = 0) -> Rows:
    """Outputs of a segmentation engine that found exactly `case.instances` things.

    Returns:
        Outputs by name, empty for a case without a set number. Boxes have `SIDES`,
        masks are round, and every score is above every threshold but 1.

    Raises:
        ConfigError: If the network has fewer slots, or the configuration reports fewer.
    """
    if not case.instances:
        return {}
    _, slots, high, wide = cell.masks
    if not 1 <= case.instances <= cell.most:
        raise ConfigError(
            f"the network and segmentation.max_instances allow 1 to {cell.most} instances, got "
            f"{case.instances}."
        )
    rng = np.random.default_rng(seed)
    source_hw = (case.image_rgb.shape[0], case.image_rgb.shape[1])
    sides = rng.uniform(*SIDES, (slots, 2)) * source_hw[::-1]
    corner = rng.uniform(0.0, 1.0, (slots, 2)) * (np.array(source_hw[::-1]) - sides)
    boxes = Letterbox(source_hw, cell.input_hw).to_target(np.hstack([corner, corner + sides]))
    y, x = np.meshgrid(np.linspace(-1, 1, high), np.linspace(-1, 1, wide), indexing="ij")
    solid = 1.0 / (1.0 + np.exp(8.0 * ((np.abs(x) ** 4 + np.abs(y) ** 4) - 1.0)))
    scores = np.where(np.arange(slots) < case.instances, np.linspace(1.0, 0.999, slots), 0.0)
    return {
        "boxes": boxes[None],
        "scores": scores.astype(np.float32)[None],
        "labels": np.zeros((1, slots), np.int64),
        "masks": np.broadcast_to(solid.astype(np.float32), (1, slots, high, wide)).copy(),
    }
