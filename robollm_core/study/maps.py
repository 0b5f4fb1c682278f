# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How a trained network lays items out: purity, alignment, uniformity, and a map."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from robollm_core.beit3.checkpoint import read_checkpoint, restore
from robollm_core.data.armbench_identification import IdentificationSplit, read_identification
from robollm_core.data.samples import Picture, cached_crops
from robollm_core.errors import DatasetError
from robollm_core.identification.model import build_identification
from robollm_core.images import CropSpec
from robollm_core.types import Float32Array

ITEMS = 60
"""At most so many items are laid out; more would make neither map nor purity clearer."""
_DRAWN = 20
_CHUNK = 64

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The embeddings of val pictures by one network.

    Attributes:
        vectors: (N, D) float32, unit length.
        labels: (N,) int64, item of each.
        figures: what `describe` says of them.
    """

    vectors: Float32Array
    labels: Labels
    figures: dict[str, float]


def lay_out(checkpoint: Path, data: Path, cache: Path) -> Layout:
    """Embed val pictures of some items, picks and references alike.

    Args:
        checkpoint: best.pt of an identification run.
        data: folder in ARMBench's identification layout.
        cache: folder for the crops.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        DatasetError: If the val split has fewer than two items with two pictures.
    """
    source = read_checkpoint(checkpoint)
    network = restore(source, build_identification)
    pictures, labels = choose_pictures(read_identification(data, "val"))
    spec = CropSpec.from_json(source.recipe["crop"])
    crops = cached_crops(pictures, spec, cache / f"maps_{spec.size_px}.npy")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), _CHUNK):
            parts.append(network(torch.from_numpy(crops[start : start + _CHUNK].copy()))[0])
    vectors = torch.cat(parts).float().numpy()
    return Layout(vectors, labels, describe(vectors, labels))


def choose_pictures(split: IdentificationSplit) -> tuple[list[Picture], Labels]:
    """The pictures of the items that have most, item by item.

    Raises:
        DatasetError: If fewer than two items have two pictures.
    """
    owned: dict[str, list[Picture]] = {}
    for pick in split.picks:
        if pick.item_id in split.references:
            owned.setdefault(pick.item_id, []).extend(pick.views.values())
    for item, own in owned.items():
        own.extend(split.references[item])
    ranked = sorted(owned.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    chosen = [own for _, own in ranked[:ITEMS] if len(own) > 1]
    if len(chosen) < 2:
        raise DatasetError(f"a map needs two items with two pictures, got {len(chosen)}.")
    labels = np.repeat(np.arange(len(chosen)), [len(own) for own in chosen])
    return [picture for own in chosen for picture in own], labels


def describe(vectors: Float32Array, labels: Labels) -> dict[str, float]:
    """Figures of a layout.

    Args:
        vectors: (N, D) unit vectors.
        labels: (N,) items.

    Returns:
        purity: share of pictures in a cluster whose commonest item is theirs,
        k-means with one cluster an item; alignment: mean squared distance within
        items; uniformity: log of the mean of exp(-2 d^2) over all pairs;
        positive_cosine and negative_cosine: mean cosine within and between items.

    Source:
        Alignment and uniformity: Wang and Isola, 2020.
    """
    positive, negative = cosines(vectors, labels)
    together = np.concatenate((positive, negative))
    clusters = KMeans(labels.max() + 1, n_init=3, random_state=0).fit_predict(vectors)
    return {
        "purity": purity(clusters, labels),
        "alignment": float(np.mean(2.0 - 2.0 * positive)),
        "uniformity": float(np.log(np.mean(np.exp(-2.0 * (2.0 - 2.0 * together))))),
        "positive_cosine": float(positive.mean()),
        "negative_cosine": float(negative.mean()),
    }


def cosines(
    vectors: Float32Array, labels: Labels
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cosines of all pairs within an item, and of all pairs of different items."""
    matrix = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    pairs = np.triu(np.ones(matrix.shape, dtype=np.bool_), 1)
    same = labels[:, None] == labels[None, :]
    return matrix[pairs & same], matrix[pairs & ~same]


def purity(clusters: npt.ArrayLike, labels: Labels) -> float:
    """Share of pictures whose item is the commonest one of their cluster."""
    table = np.zeros((int(np.max(clusters)) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(table, (np.asarray(clusters), labels), 1)
    return float(table.max(axis=1).sum() / len(labels))


def draw_map(layout: Layout) -> tuple[Float32Array, Labels]:
    """t-SNE of the first items: (n, 2) places and (n,) items.

    Source:
        van der Maaten and Hinton, 2008; computed by scikit-learn.
    """
    shown = layout.labels < _DRAWN
    vectors = layout.vectors[shown]
    spread = min(15.0, (len(vectors) - 1) / 3)
    places = TSNE(perplexity=spread, init="pca", random_state=0).fit_transform(vectors)
    return np.asarray(places, dtype=np.float32), layout.labels[shown]
