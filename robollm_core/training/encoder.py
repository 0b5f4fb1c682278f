# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A start for the encoder: it learns to say what a teacher of natural photos says.

Every patch of every crop has a target, and no labels are needed. From the
result the stages begin with `init`.

Source: feature distillation, as in "FitNets" (Romero et al., 2015) with linear
regressors, on maps of unit variance.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.encoder import PATCH, Encoder
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.augmentation import NO_DISGUISE, PICK, augment, centre, draw_disguise
from robollm_core.data.samples import Picture, cached_crops
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.training.distributed import shard
from robollm_core.training.recipe import CropRecipe
from robollm_core.training.sparse import choose_patches, sparse_tokens
from robollm_core.training.teachers import STRIDES, Teacher, load_teacher
from robollm_core.training.warm import warm_start
from robollm_core.types import UInt8Array

_READERS = {"Picks": "identification", "data": "defects"}
"""Folder that tells a layout to the stage whose layout it is."""
_CHUNK = 64
_TINY = 1e-6


@dataclass(frozen=True)
class EncoderRecipe(CropRecipe):
    """What a run of this stage needs.

    Attributes:
        teacher: whom to imitate, a key of `teachers.TEACHERS`.
        batch: pictures in a batch.
        disguise: chance that hue and handedness of a picture are changed.
        val_images: at most this many pictures are judged in a validation.
    """

    teacher: str = "efficientnet-lite0"
    batch: int = 96
    disguise: float = 0.3
    val_images: int = 400


class Student(nn.Module):
    """The encoder, and a linear regressor for each map of the teacher; those do not ship."""

    def __init__(self, encoder: Encoder, channels: tuple[int, ...]) -> None:
        """Put regressors on an encoder."""
        super().__init__()
        self.encoder = encoder
        self.regressors = nn.ModuleList(nn.Linear(encoder.width, count) for count in channels)

    def forward(self, images: Tensor, kept: Tensor) -> list[Tensor]:
        """(N, S, S, 3) uint8 RGB to what each patch says (N, K, c), one for each of `STRIDES`.

        Args:
            images: S the encoder's native size.
            kept: (N, K) int64, the patches asked, row by row.
        """
        tokens = sparse_tokens(self.encoder, images, kept)
        return [regressor(tokens) for regressor in self.regressors]


class EncoderTask:
    """Draws pictures of any layout, and judges by the variance that is explained."""

    stage = "encoder"

    def __init__(self, recipe: EncoderRecipe, data: Path, out: Path) -> None:
        """Find the pictures, cut their crops and measure the teacher's maps.

        Raises:
            ConfigError: If the crops do not fit the teacher.
            DatasetError: If there are no pictures.
        """
        if recipe.image_px % max(STRIDES):
            raise ConfigError(
                f"image_px must be a multiple of {max(STRIDES)}, got {recipe.image_px}."
            )
        self.recipe = recipe
        cache = out / "cache"
        train, val = find_pictures(data, "train"), find_pictures(data, "val")
        chosen = np.random.default_rng(recipe.seed).permutation(len(val))[: recipe.val_images]
        self.crops = cached_crops(train, recipe.cache_spec(), cache / "train.npy")
        self.val_crops = cached_crops(
            [val[index] for index in chosen], recipe.crop_spec(), cache / "val.npy"
        )
        self.teacher = load_teacher(recipe.teacher)
        torch.manual_seed(recipe.seed)
        self.network = Student(encoder_from(recipe.settings()), self.teacher.channels)
        encoder = self.network.encoder
        self.origin = warm_start(self.network, encoder, self.stage, recipe.init)
        self.module = Lesson(self.network, self.teacher)
        self.module.measure(self._sample())
        self.blocks = encoder.shape.depth
        self.batch: dict[str, Tensor] = {}
        self.pool = ThreadPoolExecutor(recipe.workers)
        cv2.setNumThreads(1)

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many pictures are drawn as there are."""
        return math.ceil(len(self.crops) / self.recipe.batch)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error, in variances of the teacher's channels."""
        rng = np.random.default_rng((self.recipe.seed, step))
        chosen = rng.integers(len(self.crops), size=self.recipe.batch)
        seeds = rng.integers(2**63, size=len(chosen))
        own = shard(len(chosen))
        pixels = np.stack(list(self.pool.map(self._augmented, chosen[own], seeds[own])))
        images = torch.from_numpy(pixels).to(self.module.device)
        self.batch = {"images": images}
        keep = self.recipe.keep_patches if done < self.recipe.full_from else 1.0
        errors = self.module.errors(self.network, images, choose_patches(images, keep))
        figures = {f"stride_{s}": float(e.detach()) for s, e in zip(STRIDES, errors, strict=True)}
        return torch.stack(errors).mean(), figures

    def _augmented(self, index: int, seed: int) -> UInt8Array:
        rng = np.random.default_rng(seed)
        disguise = draw_disguise(rng) if rng.random() < self.recipe.disguise else NO_DISGUISE
        strength = PICK.scaled(self.recipe.strength)
        return augment(self.crops[index], self.recipe.image_px, strength, rng, disguise)

    def _sample(self) -> Tensor:
        chosen = np.random.default_rng(self.recipe.seed).integers(len(self.crops), size=2 * _CHUNK)
        pixels = [centre(self.crops[index], self.recipe.image_px) for index in chosen]
        return torch.from_numpy(np.stack(pixels))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Explained variance of the maps on the val split; "select" is their mean."""
        assert isinstance(network, Student)
        sums = np.zeros(len(STRIDES))
        for start in range(0, len(self.val_crops), _CHUNK):
            part = self.val_crops[start : start + _CHUNK].copy()
            images = torch.from_numpy(part).to(self.module.device)
            errors = self.module.errors(network, images, choose_patches(images, 1.0))
            sums += len(part) * np.array([float(error) for error in errors])
        explained = 1.0 - sums / len(self.val_crops)
        figures = {f"stride_{s}": float(e) for s, e in zip(STRIDES, explained, strict=True)}
        return {**figures, "select": float(explained.mean())}

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from seed and step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""


class Lesson(nn.Module):
    """Student and teacher, and what the teacher's channels are on such pictures."""

    def __init__(self, network: Student, teacher: Teacher) -> None:
        """Hold both; the teacher's weights stay out of the checkpoints."""
        super().__init__()
        self.network = network
        self._teacher = [teacher]  # in a list, so that it is no part of this module
        for stride, count in zip(STRIDES, teacher.channels, strict=True):
            self.register_buffer(f"mean_{stride}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"deviation_{stride}", torch.ones(1, count, 1, 1))

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return self.network.encoder.cls_token.device

    def measure(self, images: Tensor) -> None:
        """Take mean and deviation of each channel from (N, S, S, 3) uint8 pictures."""
        for stride, seen in zip(STRIDES, self._teacher[0](images), strict=True):
            deviation, mean = torch.std_mean(seen, dim=(0, 2, 3), keepdim=True)
            self.get_buffer(f"mean_{stride}").copy_(mean)
            self.get_buffer(f"deviation_{stride}").copy_(deviation.clamp(min=_TINY))

    def errors(self, network: Student, images: Tensor, kept: Tensor) -> list[Tensor]:
        """Mean squared error of each map at the patches kept, 1 for one who says the mean."""
        targets = self._teacher[0].to(images.device)(images)
        errors = []
        for stride, said, target in zip(STRIDES, network(images, kept), targets, strict=True):
            mean = self.get_buffer(f"mean_{stride}")
            wanted = (target.float() - mean) / self.get_buffer(f"deviation_{stride}")
            # a cell of a coarser map is what all patches under it should say
            wanted = functional.interpolate(wanted, scale_factor=float(stride // PATCH))
            wanted = wanted.flatten(2).transpose(1, 2)
            wanted = wanted.gather(1, kept.unsqueeze(-1).expand(-1, -1, wanted.shape[2]))
            errors.append(functional.mse_loss(said.float(), wanted))
        return errors


def find_pictures(data: Path, split: str) -> tuple[Picture, ...]:
    """All pictures of a split, of one data set or of several side by side.

    Args:
        data: a folder in ARMBench's identification or defect layout, or one
            whose folders are.
        split: "train" or "val".

    Returns:
        The pictures, folder by folder in the order of their names.

    Raises:
        DatasetError: If there is no such layout, or one is damaged.
    """
    folders = [data, *sorted(path for path in data.glob("*") if path.is_dir())]
    found = [
        (folder, stage)
        for folder in folders
        for mark, stage in _READERS.items()
        if (folder / mark).is_dir() and (stage != "defects" or (folder / f"{split}.csv").exists())
    ]
    if not found:
        raise DatasetError(
            f"{data} is in no layout with crops: expected a folder Picks (identification) or "
            f"data and {split}.csv (defects), in it or in its folders."
        )
    pictures: list[Picture] = []
    for folder, stage in found:
        if stage == "defects":
            pictures += [sample.picture for sample in read_defects(folder, split)]
            continue
        picks = read_identification(folder, split)
        pictures += [view for pick in picks.picks for view in pick.views.values()]
        pictures += [picture for group in picks.references.values() for picture in group]
    return tuple(dict.fromkeys(pictures))


RECIPE, TASK = EncoderRecipe, EncoderTask
"""What `training.run` looks for in the file of a stage."""
