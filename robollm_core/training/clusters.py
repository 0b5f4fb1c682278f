# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Cluster discrimination: pseudo labels by k-means, margin softmax over their centres.

Source: UNICOM (An et al., 2023). Its centres are trained; here they are those
of k-means, made anew several times in a run, so nothing beside the network has
a gradient.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from torch.nn import functional

from robollm_core.errors import DatasetError, ShapeError
from robollm_core.training.losses import check_rows, plain_product
from robollm_core.types import Float32Array

Indices = npt.NDArray[np.int64]


def pseudo_labels(
    embedding: npt.NDArray[np.floating[Any]], count: int, seed: int
) -> tuple[Indices, Float32Array]:
    """Cluster pictures that have no labels.

    Distances and centres are taken about the mean of all pictures: those of a
    network that is not trained yet all point one way, and as targets such
    centres would hold everything together.

    Args:
        embedding: (N, D) unit vectors.
        count: clusters wanted; fewer when there are fewer pictures.
        seed: of k-means.

    Returns:
        (N,) int64 cluster of every picture, and (C, D) float32 centres of unit length.

    Raises:
        DatasetError: If there are no two pictures, or a number is not finite.
    """
    if len(embedding) < 2 or not np.isfinite(embedding).all():
        raise DatasetError(
            f"clusters need two pictures with finite embeddings, got {len(embedding)} pictures."
        )
    count = max(2, min(count, len(embedding)))
    means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=1024)
    rows = np.asarray(embedding, dtype=np.float32)
    rows = rows - rows.mean(axis=0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    labels = means.fit_predict(rows)
    centres = means.cluster_centers_
    centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    return labels.astype(np.int64), centres.astype(np.float32)


def sample_centres(labels: Tensor, count: int, share: float) -> Tensor:
    """Choose the centres a step looks at: all that occur, and a share of the others.

    Chance comes from torch's generator, which the loop seeds by step.

    Args:
        labels: (N,) int64 in 0..count-1.
        count: how many centres there are.
        share: of the others, 0 to 1.

    Returns:
        (K,) int64, ascending.
    """
    lucky = torch.rand(count, device=labels.device) < share
    lucky[labels] = True
    return lucky.nonzero()[:, 0]


def margin_softmax_loss(
    embedding: Tensor, labels: Tensor, centres: Tensor, margin: float = 0.3, scale: float = 16.0
) -> Tensor:
    """Classify by the nearest centre, the right one handicapped by a margin.

    Args:
        embedding: (N, D) float, unit length, N from 1.
        labels: (N,) int64 in 0..C-1, rows of `centres`.
        centres: (C, D) float, brought to unit length here.
        margin: taken off the cosine of the right centre.
        scale: inverse temperature.

    Returns:
        () float; the mean over rows. With one centre alone it is 0.

    Raises:
        ShapeError: If the shapes disagree, there is no row, or a label has no centre.

    Source:
        Additive cosine margin (CosFace, Wang et al., 2018):
        L = mean_i -log( e^{s (cos_iy - m)} / (e^{s (cos_iy - m)} + sum_{j != y} e^{s cos_ij}) ),
        over sampled centres as in UNICOM (An et al., 2023).
    """
    check_rows(embedding, labels)
    fits = centres.ndim == 2 and centres.shape[1] == embedding.shape[1]
    if not fits or not len(labels) or int(labels.max()) >= len(centres) or int(labels.min()) < 0:
        raise ShapeError(
            f"expected centres (C, {embedding.shape[1]}) and labels below C, got centres "
            f"{tuple(centres.shape)} and {len(labels)} labels."
        )
    cosine = plain_product(embedding, functional.normalize(centres, dim=1).T)
    own = functional.one_hot(labels, len(centres)).to(cosine.dtype)
    return functional.cross_entropy(scale * (cosine - margin * own), labels)


class Clusters:
    """The pseudo label of every picture, made anew several times in a run.

    Attributes:
        labels: (N,) int64, cluster of every picture.
        centres: (C, D) float32.
        made: how often they were made.
    """

    def __init__(self, pictures: int, count: int, width: int) -> None:
        """Start without clusters; the first are due at once."""
        self.labels: Indices = np.full(pictures, -1, dtype=np.int64)
        self.centres: Float32Array = np.zeros((count, width), dtype=np.float32)
        self.made = 0

    def due(self, done: float, times: int) -> bool:
        """Whether a run at this progress, 0 to 1, should make them again."""
        return done < 1.0 and int(done * times + 1e-9) >= self.made

    def make(self, embedding: npt.NDArray[np.floating[Any]], seed: int) -> None:
        """Cluster the embeddings (N, D) of all pictures."""
        self.labels, self.centres = pseudo_labels(embedding, len(self.centres), seed)
        self.made += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "labels": torch.from_numpy(self.labels.copy()),
            "centres": torch.from_numpy(self.centres.copy()),
            "made": self.made,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state` back.

        Raises:
            ValueError: If it is of another number of pictures.
        """
        if len(state["labels"]) != len(self.labels):
            raise ValueError("the data set has other pictures than when the run began")
        self.labels, self.centres = state["labels"].numpy(), state["centres"].numpy()
        self.made = int(state["made"])
