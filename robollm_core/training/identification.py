# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the identification network: one view and three views in one run."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robollm_core.data.armbench_identification import VIEWS, read_identification
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
from robollm_core.errors import ConfigError
from robollm_core.identification.model import IdentificationModel, build_identification
from robollm_core.training.adapting import adapt
from robollm_core.training.batches import Indices, ItemMemory, PickTable, Sampler, build_table
from robollm_core.training.clusters import Clusters
from robollm_core.training.distributed import gather, padded_shard
from robollm_core.training.judge import RetrievalJudge
from robollm_core.training.labels import TrainingLabels, training_labels
from robollm_core.training.loop import Trainee
from robollm_core.training.losses import LOG_SCALE_LIMITS, label_contrastive_loss
from robollm_core.training.objectives import (
    ClusterDiscrimination,
    Pairs,
    build_objective,
)
from robollm_core.training.recipe import AdapterRecipe, CropRecipe, GateRecipe
from robollm_core.training.sparse import choose_patches, pooled_sparse
from robollm_core.training.warm import warm_start
from robollm_core.types import UInt8Array

_CHUNK = 64


@dataclass(frozen=True)
class IdentificationRecipe(CropRecipe, AdapterRecipe, GateRecipe):
    """What a run of this stage needs.

    Attributes:
        objective: a name of `training.objectives`.
        tau: temperature of the objective; 0 for its own.
        sampler: "lookalike", "random" or "pk", see `training.batches.Sampler`.
        head: the projection, "linear" or "mlp".
        label_noise: chance of a training pick to be given a wrong item.
        label_noise_kind: "uniform" or "lookalike", see `training.labels`.
        train_share: share of the training items that is used.
        cluster_times: how often in a run the clusters of "cluster" are made.
        embedding: width of an embedding.
        fusion: inner width of the 3-view MLP.
        batch_items: items in a batch; each brings three views and its references.
        group: items in a group of look-alikes and container mates, 1 for none.
        views_per_item: pictures of picks an item brings, for the sampler "pk".
        references: reference pictures an item brings.
        disguise: chance that an item is turned into another by hue and mirror.
        fused_weight: weight of the 3-view loss beside the 1-view loss.
        label_weight: weight of the loss over all pictures, whatever their view.
        val_picks: at most this many picks are judged in a validation.
    """

    objective: str = "infonce"
    tau: float = 0.0
    sampler: str = "lookalike"
    head: str = "linear"
    label_noise: float = 0.0
    label_noise_kind: str = "uniform"
    train_share: float = 1.0
    cluster_times: int = 4
    embedding: int = 256
    fusion: int = 1024
    batch_items: int = 24
    group: int = 6
    views_per_item: int = 4
    references: int = 1
    disguise: float = 0.5
    fused_weight: float = 1.0
    label_weight: float = 0.0
    val_picks: int = 200

    def settings(self) -> dict[str, Any]:
        """The "model" branch that the exporter builds the network from."""
        own = {"embedding": self.embedding, "fusion": self.fusion}
        # absent means linear, as in the checkpoints from before there was a choice
        head = {} if self.head == "linear" else {"head": self.head}
        return {**super().settings(), **own, **head}

    def batch_sampler(self) -> Sampler:
        """What draws the batches.

        Raises:
            ConfigError: If there is no such sampler, or "pk" leaves the 3-view
                loss without its three views.
        """
        if self.sampler == "pk" and self.views_per_item < len(VIEWS) and self.fused_weight:
            raise ConfigError(
                f"views_per_item is {self.views_per_item}, and the 3-view loss needs "
                f"{len(VIEWS)}: raise it, or set fused_weight to 0."
            )
        return Sampler(
            self.sampler, self.batch_items, self.group, self.references, self.views_per_item
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What was drawn for a step.

    Attributes:
        items: (n,) numbers of the table.
        views: (n, K) pictures of picks, -1 where absent.
        references: (n, R) pictures.
        disguises: n, what each item is turned into.
    """

    items: Indices
    views: Indices
    references: Indices
    disguises: list[Disguise]


class IdentificationTask:
    """Draws batches of look-alikes, and judges by retrieval among manifests."""

    stage = "identification"

    def __init__(self, recipe: IdentificationRecipe, data: Path, out: Path) -> None:
        """Read the train and val splits and cut their crops.

        Raises:
            ConfigError: If a name or a number in the recipe is none there is.
            DatasetError: If the data is not in ARMBench's layout, or too small.
        """
        self.recipe = recipe
        self.sampler = recipe.batch_sampler()
        whole = read_identification(data, "train")
        self.labels: TrainingLabels = training_labels(
            whole,
            share=recipe.train_share,
            noise=recipe.label_noise,
            kind=recipe.label_noise_kind,
            seed=recipe.seed,
        )
        self.table: PickTable = build_table(self.labels.split)
        count = len(self.table.items)
        torch.manual_seed(recipe.seed)
        self.objective = build_objective(recipe.objective, count, recipe.embedding, recipe.tau)
        torch.manual_seed(recipe.seed)
        self.network = build_identification(recipe.settings())
        encoder = self.network.encoder
        self.origin = warm_start(self.network, encoder, self.stage, recipe.init)
        adapt(encoder, recipe)
        if self.objective.temperature and not recipe.label_weight:
            # nothing trains it: what ships is the temperature that the objective has
            self.network.log_scale.data.fill_(-math.log(self.objective.temperature))
        # one cache of the whole split serves any share and any labels
        pictures = build_table(whole).pictures
        row = {picture: number for number, picture in enumerate(pictures)}
        self.rows = np.array([row[picture] for picture in self.table.pictures])
        self.crops = cached_crops(pictures, recipe.cache_spec(), out / "cache" / "train.npy")
        self.judge = RetrievalJudge(
            read_identification(data, "val"), recipe.crop_spec(), out / "cache", recipe.val_picks
        )
        self.module = Trainee(self.network)
        self.module.add_module("objective", self.objective)
        self.blocks = encoder.shape.depth
        self.memory = ItemMemory(count, recipe.embedding)
        self.clusters = Clusters(len(self.table.pictures), count, recipe.embedding)
        self.batch: dict[str, Tensor] = {}
        self.pool = ThreadPoolExecutor(recipe.workers)
        cv2.setNumThreads(1)

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many picks are drawn as there are."""
        return math.ceil(sum(map(len, self.table.picks)) / self.recipe.batch_items)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """The objective of single views and of fused views against references."""
        with torch.no_grad():  # beyond its limits the loss would give it no gradient back
            self.network.log_scale.clamp_(*LOG_SCALE_LIMITS)
        rng = np.random.default_rng((self.recipe.seed, step))
        items, views, references = self.sampler.draw(self.table, self.memory, rng)
        batch = Batch(items, views, references, [self._disguise(rng) for _ in items])
        images = self._images(batch, rng)
        if isinstance(self.objective, ClusterDiscrimination):
            self._cluster(self.objective, done)
        count = int((batch.views >= 0).sum()) + batch.references.size
        features = gather(self._features(images, done).float(), count)
        # the heads and the loss are cheap, and bfloat16 would round their logits to 1/16
        with torch.autocast(features.device.type, enabled=False):
            return self._objective(features, batch)

    @torch.no_grad()
    def _cluster(self, objective: ClusterDiscrimination, done: float) -> None:
        """Make the clusters anew when they are due, from all pictures as they look now."""
        if not self.clusters.due(done, self.recipe.cluster_times):
            return
        self.network.eval()
        size, parts = (self.recipe.image_px, self.recipe.image_px), []
        for start in range(0, len(self.rows), _CHUNK):
            crops = self.crops[self.rows[start : start + _CHUNK]]
            pixels = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in crops])
            images = torch.from_numpy(pixels).to(self.network.log_scale.device)
            parts.append(self.network(images)[0].float().cpu().numpy())
        self.network.train()
        self.clusters.make(np.concatenate(parts), self.recipe.seed)
        objective.refresh(torch.from_numpy(self.clusters.centres))

    def _disguise(self, rng: np.random.Generator) -> Disguise:
        return draw_disguise(rng) if rng.random() < self.recipe.disguise else NO_DISGUISE

    def _images(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Of all views, then all references, the shard of this rank: (M, S, S, 3) uint8."""
        jobs: list[tuple[int, Strength, Disguise]] = []
        for row, disguise in zip(batch.views, batch.disguises, strict=True):
            jobs += [(int(index), PICK, disguise) for index in row if index >= 0]
        for row, disguise in zip(batch.references, batch.disguises, strict=True):
            jobs += [(int(index), REFERENCE, disguise) for index in row]
        seeds = rng.integers(2**63, size=len(jobs))
        own = padded_shard(len(jobs))
        pixels = list(self.pool.map(self._augmented, [jobs[i] for i in own], seeds[own]))
        images = torch.from_numpy(np.stack(pixels)).to(self.network.log_scale.device)
        pictures = torch.tensor([jobs[i][0] for i in own])
        self.batch = {"images": images, "pictures": pictures}
        return images

    def _augmented(self, job: tuple[int, Strength, Disguise], seed: int) -> UInt8Array:
        index, strength, disguise = job
        return augment(
            self.crops[self.rows[index]],
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

    def _objective(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        pairs = self._pairs(self.network.embed(features), batch)
        scale = self.network.log_scale
        single = self.objective(pairs, scale)
        total, figures = single, {"single": float(single.detach())}
        whole, rows = _whole_picks(batch.views)
        if self.recipe.fused_weight and whole.any():
            fused = self.network.fuse(features[torch.from_numpy(rows).to(features.device)])
            three = self.objective(self._fused(fused.float(), pairs, rows[:, 0]), scale)
            total = total + self.recipe.fused_weight * three
            figures["fused"] = float(three.detach())
        if self.recipe.label_weight:
            everyone = label_contrastive_loss(pairs.embedding, pairs.items, scale)
            total = total + self.recipe.label_weight * everyone
        self._remember(batch, pairs.reference.detach())
        with torch.no_grad():
            best = pairs.reference_items[(pairs.query @ pairs.reference.T).argmax(1)]
            figures["hit"] = float((best == pairs.query_items).float().mean())
            figures["scale"] = float(scale.detach())
        return total, figures

    def _pairs(self, embedding: Tensor, batch: Batch) -> Pairs:
        number = np.arange(len(batch.items))
        present = batch.views >= 0
        query, reference = embedding.split([int(present.sum()), batch.references.size])
        rows = (
            number.repeat(present.sum(1)),
            number.repeat(batch.references.shape[1]),
            self._classes(batch, batch.views)[present],
            self._classes(batch, batch.references).ravel(),
        )
        return Pairs(query, reference, *(torch.from_numpy(r).to(embedding.device) for r in rows))

    def _classes(self, batch: Batch, pictures: Indices) -> Indices:
        """Item or cluster of pictures (n, K), -1 for disguised ones, which look like another."""
        if isinstance(self.objective, ClusterDiscrimination):
            classes = self.clusters.labels[pictures]
        else:
            classes = np.broadcast_to(batch.items[:, None], pictures.shape)
        plain = np.array([disguise is NO_DISGUISE for disguise in batch.disguises])
        return np.where(plain[:, None], classes, -1)

    @staticmethod
    def _fused(fused: Tensor, pairs: Pairs, first: Indices) -> Pairs:
        """Picks seen three times in the place of single views, as their first view."""
        rows = torch.from_numpy(first).to(fused.device)
        items, classes = pairs.query_items[rows], pairs.query_classes[rows]
        return replace(pairs, query=fused, query_items=items, query_classes=classes)

    def _remember(self, batch: Batch, reference: Tensor) -> None:
        # a disguised item looks like another: only true looks are remembered
        plain = np.array([disguise is NO_DISGUISE for disguise in batch.disguises])
        first = reference.unflatten(0, batch.references.shape)[:, 0].float().cpu().numpy()
        self.memory.store(batch.items[plain], first[plain])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall on the val split, each pick among the items of its manifest."""
        assert isinstance(network, IdentificationModel)
        figures = self.judge.judge(network, self.network.log_scale.device)
        if self.recipe.label_noise or self.recipe.train_share < 1.0:
            figures["train_items"] = float(self.labels.items)
            figures["changed_labels"] = float(self.labels.changed)
        return figures

    def state(self) -> dict[str, Any]:
        """The item memory, which decides what the next batches hold, and the clusters."""
        return {
            "clusters": self.clusters.state(),
            "vectors": torch.from_numpy(self.memory.vectors.copy()),
            "filled": torch.from_numpy(self.memory.filled.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take item memory and clusters back.

        Raises:
            ValueError: If they are of another data set.
        """
        if tuple(state["vectors"].shape) != self.memory.vectors.shape:
            raise ValueError("the data set has other items than when the run began")
        self.memory.vectors[:] = state["vectors"].numpy()
        self.memory.filled[:] = state["filled"].numpy()
        self.clusters.restore(state["clusters"])
        if isinstance(self.objective, ClusterDiscrimination):
            self.objective.refresh(torch.from_numpy(self.clusters.centres))


def _whole_picks(views: Indices) -> tuple[npt.NDArray[np.bool_], Indices]:
    """Which of (n, K) picks have all three views, (n,), and their rows in the batch, (m, 3)."""
    present = views >= 0
    place = np.where(present, present.ravel().cumsum().reshape(views.shape) - 1, -1)
    if views.shape[1] < len(VIEWS):
        return np.zeros(len(views), dtype=np.bool_), np.zeros((0, len(VIEWS)), dtype=np.int64)
    whole: npt.NDArray[np.bool_] = np.all(present[:, : len(VIEWS)], axis=1)
    return whole, place[whole, : len(VIEWS)]


RECIPE, TASK = IdentificationRecipe, IdentificationTask
"""What `training.run` looks for in the file of a stage."""
