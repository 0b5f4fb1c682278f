# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the defect network: balanced batches on a warm encoder."""

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

from robollm_core.data.armbench_defects import DefectSample, read_defects
from robollm_core.data.augmentation import NO_DISGUISE, Strength, augment, draw_disguise
from robollm_core.data.samples import cached_crops
from robollm_core.defects.model import build_defects
from robollm_core.evaluation.intervals import auroc, recall_at_fpr
from robollm_core.training.adapting import adapt
from robollm_core.training.classes import ClassObjective
from robollm_core.training.distributed import gather, padded_shard
from robollm_core.training.loop import Trainee
from robollm_core.training.losses import class_weights
from robollm_core.training.recipe import AdapterRecipe, CropRecipe, GateRecipe
from robollm_core.training.sparse import choose_patches, pooled_sparse
from robollm_core.training.warm import warm_start
from robollm_core.types import DEFECT_LABELS, Float32Array, UInt8Array

CHANGES = Strength(turn=0.9, zoom=1.25, shift=0.06, shear=0.1, colour=0.3, damage=0.2, cutout=0.1)
"""Little is cut out: what would be hidden may be the defect."""

_NOMINAL = DEFECT_LABELS.index("nominal")
_CHUNK = 64


@dataclass(frozen=True)
class DefectRecipe(CropRecipe, AdapterRecipe, GateRecipe):
    """What a run of this stage needs.

    Attributes:
        objective: "ce", "focal", "clce" or "scl_rhe", see `training.classes`.
        gamma: of the focal loss.
        head: the classifier, "linear" or "mlp".
        batch: images in a batch.
        sample_balance: 0 draws images alike, 1 draws classes alike.
        loss_balance: 0 weighs images alike, 1 weighs what balance is left.
        smoothing: label smoothing of the cross-entropy.
        disguise: chance that hue and handedness of an image are changed.
        val_images: at most this many images are judged in a validation.
    """

    objective: str = "ce"
    gamma: float = 2.0
    head: str = "linear"
    batch: int = 64
    sample_balance: float = 0.5
    loss_balance: float = 0.0
    smoothing: float = 0.05
    disguise: float = 0.5
    val_images: int = 600

    def settings(self) -> dict[str, Any]:
        """The "model" branch that the exporter builds the network from."""
        # absent means linear, as in the checkpoints from before there was a choice
        head = {} if self.head == "linear" else {"head": self.head}
        return {**super().settings(), **head}


class DefectTask:
    """Draws balanced batches, and judges by the ROC of "any defect"."""

    stage = "defects"

    def __init__(self, recipe: DefectRecipe, data: Path, out: Path) -> None:
        """Read the train and val splits and cut their crops.

        Raises:
            ConfigError: If a name or a number in the recipe is none there is.
            DatasetError: If the data is not in ARMBench's layout, or has one class.
        """
        self.recipe = recipe
        train, val = read_defects(data, "train"), _evenly(read_defects(data, "val"), recipe)
        torch.manual_seed(recipe.seed)
        self.network = build_defects(recipe.settings())
        encoder = self.network.encoder
        self.origin = warm_start(self.network, encoder, self.stage, recipe.init)
        adapt(encoder, recipe)
        self.labels = np.array([DEFECT_LABELS.index(s.label) for s in train])
        self.val_labels = np.array([DEFECT_LABELS.index(s.label) for s in val])
        counts = np.bincount(self.labels, minlength=len(DEFECT_LABELS))
        per_class = np.power(np.maximum(counts, 1), -recipe.sample_balance, dtype=np.float64)
        self.chances = per_class[self.labels] / per_class[self.labels].sum()
        self.objective = self._objective()
        cache = out / "cache"
        self.crops = cached_crops(
            [s.picture for s in train], recipe.cache_spec(), cache / "train.npy"
        )
        self.val_crops = cached_crops(
            [s.picture for s in val], recipe.crop_spec(), cache / "val.npy"
        )
        self.module = Trainee(self.network)
        self.blocks = encoder.shape.depth
        self.batch: dict[str, Tensor] = {}
        self.pool = ThreadPoolExecutor(recipe.workers)
        cv2.setNumThreads(1)

    def _objective(self) -> ClassObjective:
        drawn = np.bincount(self.labels, self.chances, len(DEFECT_LABELS))
        counts = torch.from_numpy(np.round(1e6 * drawn)).long()
        return ClassObjective(
            self.recipe.objective,
            class_weights(counts, self.recipe.loss_balance),
            self.recipe.smoothing,
            self.recipe.gamma,
            tau_plus=min(float((drawn**2).sum()), 0.99),
        )

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many images are drawn as there are."""
        return math.ceil(len(self.labels) / self.recipe.batch)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """The recipe's objective over a balanced batch."""
        rng = np.random.default_rng((self.recipe.seed, step))
        chosen = rng.choice(len(self.labels), size=self.recipe.batch, p=self.chances)
        seeds = rng.integers(2**63, size=len(chosen))
        own = padded_shard(len(chosen))
        pixels = np.stack(list(self.pool.map(self._augmented, chosen[own], seeds[own])))
        device = self.network.fc_norm.weight.device
        images = torch.from_numpy(pixels).to(device)
        labels = torch.from_numpy(self.labels[chosen]).to(device)
        self.batch = {"images": images, "labels": labels[torch.from_numpy(own).to(device)]}
        feature = gather(self._features(images, done), len(chosen))
        logits = self.network.head(feature).float()
        loss = self.objective(feature, logits, labels)
        return loss, {"hit": float((logits.detach().argmax(1) == labels).float().mean())}

    def _augmented(self, index: int, seed: int) -> UInt8Array:
        rng = np.random.default_rng(seed)
        disguise = draw_disguise(rng) if rng.random() < self.recipe.disguise else NO_DISGUISE
        strength = CHANGES.scaled(self.recipe.strength)
        return augment(self.crops[index], self.recipe.image_px, strength, rng, disguise)

    def _features(self, images: Tensor, done: float) -> Tensor:
        if self.recipe.keep_patches >= 1.0 or done >= self.recipe.full_from:
            return self.network.features(images)
        kept = choose_patches(images, self.recipe.keep_patches)
        part: Tensor = self.network.fc_norm(pooled_sparse(self.network.encoder, images, kept))
        return part

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall of defects at FPR 0.10 and 0.01; "select" is the area under the ROC."""
        device = self.network.fc_norm.weight.device
        parts: list[Float32Array] = []
        for start in range(0, len(self.val_crops), _CHUNK):
            pixels = torch.from_numpy(self.val_crops[start : start + _CHUNK].copy()).to(device)
            parts.append(network(pixels).softmax(dim=-1).float().cpu().numpy())
        scores = 1.0 - np.concatenate(parts)[:, _NOMINAL]
        defect = self.val_labels != _NOMINAL
        good, bad = scores[~defect], scores[defect]
        if not len(good) or not len(bad):
            return {"select": float("-inf")}
        figures = {f"recall_fpr_{p:02d}": recall_at_fpr(p / 100)(bad, good) for p in (10, 1)}
        return {**figures, "select": auroc(bad, good)}

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from seed and step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""


def _evenly(samples: tuple[DefectSample, ...], recipe: DefectRecipe) -> list[DefectSample]:
    chosen = np.linspace(0, len(samples) - 1, min(len(samples), recipe.val_images)).round()
    return [samples[int(index)] for index in dict.fromkeys(chosen.tolist())]


RECIPE, TASK = DefectRecipe, DefectTask
"""What `training.run` looks for in the file of a stage."""
