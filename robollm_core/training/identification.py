# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the identification network: one view and three views in one run."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.augmentation import (
    NO_DISGUISE,
    PICK,
    REFERENCE,
    Disguise,
    Strength,
    augment,
    draw_disguise,
)
from robollm_core.data.samples import cached_crops
from robollm_core.identification.model import IdentificationModel, build_identification
from robollm_core.training.batches import (
    ItemMemory,
    PickTable,
    build_table,
    draw_items,
    draw_pictures,
)
from robollm_core.training.judge import RetrievalJudge
from robollm_core.training.loop import Trainee
from robollm_core.training.losses import (
    LOG_SCALE_LIMITS,
    contrastive_loss,
    label_contrastive_loss,
)
from robollm_core.training.recipe import CropRecipe
from robollm_core.training.sparse import choose_patches, pooled_sparse
from robollm_core.training.warm import warm_start
from robollm_core.types import UInt8Array


@dataclass(frozen=True)
class IdentificationRecipe(CropRecipe):
    """What a run of this stage needs.

    Attributes:
        embedding: width of an embedding.
        fusion: inner width of the 3-view MLP.
        batch_items: items in a batch; each brings three views and its references.
        group: items in a group of look-alikes and container mates, 1 for none.
        references: reference pictures an item brings.
        disguise: chance that an item is turned into another by hue and mirror.
        fused_weight: weight of the 3-view loss beside the 1-view loss.
        label_weight: weight of the loss over all pictures, whatever their view.
        val_picks: at most this many picks are judged in a validation.
    """

    embedding: int = 256
    fusion: int = 1024
    batch_items: int = 24
    group: int = 6
    references: int = 1
    disguise: float = 0.5
    fused_weight: float = 1.0
    label_weight: float = 0.0
    val_picks: int = 200

    def settings(self) -> dict[str, Any]:
        """The "model" branch that the exporter builds the network from."""
        return {**super().settings(), "embedding": self.embedding, "fusion": self.fusion}


class IdentificationTask:
    """Draws batches of look-alikes, and judges by retrieval among manifests."""

    stage = "identification"

    def __init__(self, recipe: IdentificationRecipe, data: Path, out: Path) -> None:
        """Read the train and val splits and cut their crops.

        Raises:
            DatasetError: If the data is not in ARMBench's layout, or too small.
        """
        self.recipe = recipe
        self.table: PickTable = build_table(read_identification(data, "train"))
        self.crops = cached_crops(
            self.table.pictures, recipe.cache_spec(), out / "cache" / "train.npy"
        )
        self.judge = RetrievalJudge(
            read_identification(data, "val"), recipe.crop_spec(), out / "cache", recipe.val_picks
        )
        torch.manual_seed(recipe.seed)
        self.network = build_identification(recipe.settings())
        encoder = self.network.encoder
        self.origin = warm_start(self.network, encoder, self.stage, recipe.init)
        self.module = Trainee(self.network)
        self.blocks = encoder.shape.depth
        self.memory = ItemMemory(len(self.table.items), recipe.embedding)
        self.pool = ThreadPoolExecutor(recipe.workers)
        cv2.setNumThreads(1)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """Symmetric InfoNCE of single views and of fused views against references."""
        with torch.no_grad():  # beyond its limits the loss would give it no gradient back
            self.network.log_scale.clamp_(*LOG_SCALE_LIMITS)
        rng = np.random.default_rng((self.recipe.seed, step))
        items = draw_items(self.table, self.memory, self.recipe.batch_items, self.recipe.group, rng)
        views, references = draw_pictures(self.table, items, self.recipe.references, rng)
        disguises = [self._disguise(rng) for _ in items]
        images = self._images(views, references, disguises, rng)
        features = self._features(images, done)
        # the heads and the loss are cheap, and bfloat16 would round their logits to 1/16
        with torch.autocast(features.device.type, enabled=False):
            return self._objective(features.float(), items, views, disguises)

    def _disguise(self, rng: np.random.Generator) -> Disguise:
        return draw_disguise(rng) if rng.random() < self.recipe.disguise else NO_DISGUISE

    def _images(
        self, views: Any, references: Any, disguises: list[Disguise], rng: np.random.Generator
    ) -> Tensor:
        """All views, then all references, as one (M, S, S, 3) uint8 batch."""
        jobs: list[tuple[int, Strength, Disguise]] = []
        for row, disguise in zip(views, disguises, strict=True):
            jobs += [(int(index), PICK, disguise) for index in row if index >= 0]
        for row, disguise in zip(references, disguises, strict=True):
            jobs += [(int(index), REFERENCE, disguise) for index in row]
        seeds = rng.integers(2**63, size=len(jobs))
        pixels = list(self.pool.map(self._augmented, jobs, seeds))
        return torch.from_numpy(np.stack(pixels)).to(self.network.log_scale.device)

    def _augmented(self, job: tuple[int, Strength, Disguise], seed: int) -> UInt8Array:
        index, strength, disguise = job
        return augment(
            self.crops[index],
            self.recipe.image_px,
            strength.scaled(self.recipe.strength),
            np.random.default_rng(seed),
            disguise,
        )

    def _features(self, images: Tensor, done: float) -> Tensor:
        if self.recipe.keep_patches >= 1.0 or done >= self.recipe.full_from:
            return self.network.features(images)
        kept = choose_patches(images, self.recipe.keep_patches)
        out: Tensor = self.network.fc_norm(pooled_sparse(self.network.encoder, images, kept))
        return out

    def _objective(
        self, features: Tensor, items: Any, views: Any, disguises: list[Disguise]
    ) -> tuple[Tensor, dict[str, float]]:
        present = torch.from_numpy(views >= 0)
        device = features.device
        number = torch.arange(len(items), device=device)
        count = int(present.sum())
        embedding = self.network.embed(features)
        query, reference = embedding[:count], embedding[count:]
        query_items = number.repeat_interleave(present.sum(1).to(device))
        reference_items = number.repeat_interleave(self.recipe.references)
        scale = self.network.log_scale
        single = contrastive_loss(query, reference, query_items, reference_items, scale)
        total, figures = single, {"single": float(single.detach())}
        whole = present.all(dim=1).to(device)
        if self.recipe.fused_weight and bool(whole.any()):
            rows = whole[query_items]
            fused = self.network.fuse(features[:count][rows].unflatten(0, (-1, views.shape[1])))
            three = contrastive_loss(
                fused.float(), reference, number[whole], reference_items, scale
            )
            total = total + self.recipe.fused_weight * three
            figures["fused"] = float(three.detach())
        if self.recipe.label_weight:
            everyone = label_contrastive_loss(
                embedding, torch.cat((query_items, reference_items)), scale
            )
            total = total + self.recipe.label_weight * everyone
        self._remember(items, reference.detach(), disguises)
        with torch.no_grad():
            best = reference_items[(query @ reference.T).argmax(1)]
            figures["hit"] = float((best == query_items).float().mean())
            figures["scale"] = float(scale.detach())
        return total, figures

    def _remember(self, items: Any, reference: Tensor, disguises: list[Disguise]) -> None:
        # a disguised item looks like another: only true looks are remembered
        plain = np.array([disguise is NO_DISGUISE for disguise in disguises])
        first = reference.unflatten(0, (len(items), -1))[:, 0].float().cpu().numpy()
        self.memory.store(items[plain], first[plain])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall on the val split, each pick among the items of its manifest."""
        assert isinstance(network, IdentificationModel)
        return self.judge.judge(network, self.network.log_scale.device)

    def state(self) -> dict[str, Any]:
        """The item memory, which decides what the next batches hold."""
        return {
            "vectors": torch.from_numpy(self.memory.vectors.copy()),
            "filled": torch.from_numpy(self.memory.filled.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the item memory back."""
        if tuple(state["vectors"].shape) != self.memory.vectors.shape:
            raise ValueError("the data set has other items than when the run began")
        self.memory.vectors[:] = state["vectors"].numpy()
        self.memory.filled[:] = state["filled"].numpy()


RECIPE, TASK = IdentificationRecipe, IdentificationTask
"""What `training.run` looks for in the file of a stage."""
