# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A start for the encoder, from pictures without labels: the stages begin with it (`init`)."""

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

from robollm_core.beit3.build import encoder_from
from robollm_core.beit3.encoder import PATCH
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.augmentation import NO_DISGUISE, PICK, augment, centre, draw_disguise
from robollm_core.data.samples import Picture, cached_crops
from robollm_core.errors import CheckpointError, ConfigError, DatasetError
from robollm_core.training.distil import Lesson, Student
from robollm_core.training.distributed import shard
from robollm_core.training.encoder_teacher import find_teacher
from robollm_core.training.masked import MaskedImages, Painter
from robollm_core.training.pretext import CHUNK, MASKS, OBJECTIVES, Pretext
from robollm_core.training.recipe import CropRecipe
from robollm_core.training.teachers import Teacher
from robollm_core.training.views import Projector, TwoViews
from robollm_core.training.warm import Origin, read_start, warm_start
from robollm_core.types import UInt8Array

_READERS = {"Picks": "identification", "data": "defects"}
"""Folder that tells a layout to the stage whose layout it is."""


@dataclass(frozen=True)
class EncoderRecipe(CropRecipe):
    """What a run of this stage needs.

    Attributes:
        objective: "distil" imitates a teacher, "masked" paints hidden patches
            (`mask_share` takes the place of `keep_patches`), "views" tells two
            views of a crop from those of others.
        teacher: of "distil": a key of `teachers.TEACHERS`, or a file that holds
            an encoder.
        mask: of "masked": "random" hides single patches, "block" rectangles.
        mask_share: of "masked": fraction of the patches that is hidden.
        tau: of "views": temperature.
        batch: pictures in a batch.
        disguise: chance that hue and handedness of a picture are changed, in all
            its views alike.
        val_images: at most this many pictures are judged in a validation.
    """

    objective: str = "distil"
    teacher: str = "efficientnet-lite0"
    mask: str = "random"
    mask_share: float = 0.6
    tau: float = 0.2
    batch: int = 96
    disguise: float = 0.3
    val_images: int = 400

    def __post_init__(self) -> None:
        """Refuse names and numbers that no run can have.

        Raises:
            ConfigError: If one is unknown or out of range.
        """
        super().__post_init__()
        for key, names in (("objective", OBJECTIVES), ("mask", MASKS)):
            if getattr(self, key) not in names:
                raise ConfigError(
                    f"{key} must be one of {', '.join(names)}, got {getattr(self, key)!r}."
                )
        for key, least, most in (("mask_share", 0.05, 0.95), ("tau", 0.01, 1.0)):
            if not least <= getattr(self, key) <= most:
                raise ConfigError(f"{key} must be in {least}..{most}, got {getattr(self, key)}.")
        for key in ("batch", "val_images"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} must be at least 1, got {getattr(self, key)}.")


class EncoderTask:
    """Draws pictures of any layout; an objective of `pretext` learns from them and judges."""

    stage = "encoder"

    def __init__(self, recipe: EncoderRecipe, data: Path, out: Path) -> None:
        """Find the teacher and the pictures, cut their crops and build what is trained.

        Raises:
            CheckpointError: If the teacher or the start cannot be read.
            ConfigError: If the crops do not fit, or there is no such teacher.
            DatasetError: If there are no pictures.
            RuntimeUnavailableError: If the packages of the teacher are missing.
        """
        self.recipe = recipe
        teacher = _teacher(recipe)
        cache = out / "cache"
        train, val = find_pictures(data, "train"), find_pictures(data, "val")
        chosen = np.random.default_rng(recipe.seed).permutation(len(val))[: recipe.val_images]
        self.crops = cached_crops(train, recipe.cache_spec(), cache / "train.npy")
        self.val_crops = cached_crops(
            [val[index] for index in chosen], recipe.crop_spec(), cache / "val.npy"
        )
        torch.manual_seed(recipe.seed)
        self.module = _pretext(recipe, teacher)
        self.network = self.module.network
        self.origin = self._start()
        self.teacher_sha256 = ""
        if teacher is not None:
            self.origin += teacher.origin
            self.teacher_sha256 = teacher.sha256
        if isinstance(self.module, Lesson):
            self.module.measure(self._sample())
        self.blocks = self.network.encoder.shape.depth
        self.batch: dict[str, Tensor] = {}
        self.pool = ThreadPoolExecutor(recipe.workers)
        cv2.setNumThreads(1)

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many pictures are drawn as there are."""
        return math.ceil(len(self.crops) / self.recipe.batch)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """The objective on the batch of this number."""
        rng = np.random.default_rng((self.recipe.seed, step))
        chosen = rng.integers(len(self.crops), size=self.recipe.batch)
        seeds = rng.integers(2**63, size=len(chosen))
        own = shard(len(chosen))
        views = self.pool.map(self._augmented, chosen[own], seeds[own])
        pixels = np.stack([view for turn in zip(*views, strict=True) for view in turn])
        images = torch.from_numpy(pixels).to(self.module.device)
        self.batch = {"images": images}
        keep = self.recipe.keep_patches if done < self.recipe.full_from else 1.0
        return self.module.loss(images, torch.from_numpy(chosen).to(images.device), keep)

    def _augmented(self, index: int, seed: int) -> list[UInt8Array]:
        rng = np.random.default_rng(seed)
        disguise = draw_disguise(rng) if rng.random() < self.recipe.disguise else NO_DISGUISE
        strength, size = PICK.scaled(self.recipe.strength), self.recipe.image_px
        crop = self.crops[index]
        return [augment(crop, size, strength, rng, disguise) for _ in range(self.module.views)]

    def _sample(self) -> Tensor:
        chosen = np.random.default_rng(self.recipe.seed).integers(len(self.crops), size=2 * CHUNK)
        pixels = [centre(self.crops[index], self.recipe.image_px) for index in chosen]
        return torch.from_numpy(np.stack(pixels))

    def _start(self) -> Origin:
        """Take weights over; what another objective put beside the encoder is left out."""
        init, stage = self.recipe.init, self.stage
        if init:
            before = read_start(Path(init)).recipe
            same = ("objective", "teacher") if self.recipe.objective == "distil" else ("objective",)
            defaults = EncoderRecipe()
            if any(before.get(k, getattr(defaults, k)) != getattr(self.recipe, k) for k in same):
                stage = ""
        return warm_start(self.network, self.network.encoder, stage, init)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures of the objective on the val split; "select" decides."""
        return self.module.judge(network, self.val_crops)

    def state(self) -> dict[str, Any]:
        """Which teacher this is; every batch follows from seed and step."""
        return {"teacher_sha256": self.teacher_sha256}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back, but the teacher must be the same.

        Raises:
            CheckpointError: If the file of the teacher is another now.
        """
        before = state["teacher_sha256"]
        if before != self.teacher_sha256:
            raise CheckpointError(
                f"the teacher {self.recipe.teacher} changed: the run began with sha256 "
                f"{before[:16]}..., the file has {self.teacher_sha256[:16]}... now. Put the old "
                "file back, or start in another folder."
            )


def _teacher(recipe: EncoderRecipe) -> Teacher | None:
    """The teacher of the recipe, None where the objective has none; crops that fit it.

    Raises:
        ConfigError: If image_px does not fit, or there is no such teacher.
    """
    teacher = None
    if recipe.objective == "distil":
        teacher = find_teacher(recipe.teacher)
    unit = max(teacher.strides) if teacher else PATCH
    least = unit if teacher else 2 * PATCH
    if recipe.image_px % unit or recipe.image_px < least:
        raise ConfigError(
            f"image_px must be a multiple of {unit} and at least {least} for the objective "
            f"{recipe.objective}, got {recipe.image_px}."
        )
    return teacher


def _pretext(recipe: EncoderRecipe, teacher: Teacher | None) -> Pretext:
    encoder = encoder_from(recipe.settings())
    if teacher is not None:
        return Lesson(Student(encoder, teacher.channels), teacher)
    if recipe.objective == "masked":
        return MaskedImages(Painter(encoder), recipe.mask_share, recipe.mask, recipe.seed)
    strength = PICK.scaled(recipe.strength)
    return TwoViews(Projector(encoder), recipe.tau, strength, recipe.seed)


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
