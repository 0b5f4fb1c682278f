# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Validation during training: retrieval among the manifest's items."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robollm_core.data.armbench_identification import VIEWS, IdentificationSplit, Pick
from robollm_core.data.samples import Picture, cached_crops
from robollm_core.errors import DatasetError
from robollm_core.identification.gallery import item_scores
from robollm_core.identification.model import IdentificationModel
from robollm_core.images import CropSpec
from robollm_core.types import UInt8Array

_CHUNK = 64


class RetrievalJudge:
    """Ranks the items of every val pick's manifest as the stage does.

    Attributes:
        views: what a pick is judged by: all views, or PickRGB alone where no pick
            has all, as in a cell with one camera.
        picks: those that are judged.
        items: the items they are ranked among.
    """

    def __init__(self, split: IdentificationSplit, spec: CropSpec, cache: Path, limit: int) -> None:
        """Choose the picks, evenly over the split, and cut their pictures.

        Raises:
            DatasetError: If no pick has PickRGB and a known item on its manifest.
        """
        self.views, fit = _judged(split)
        chosen = np.linspace(0, len(fit) - 1, min(limit, len(fit))).round().astype(int)
        self.picks = [fit[index] for index in dict.fromkeys(chosen.tolist())]
        names = dict.fromkeys(name for pick in self.picks for name in pick.manifest)
        self.items = [name for name in names if name in split.references]
        queries = [pick.views[view] for pick in self.picks for view in self.views]
        references: list[Picture] = []
        starts = []
        for name in self.items:
            starts.append(len(references))
            references += split.references[name]
        self.starts = np.asarray(starts, dtype=np.int64)
        self.query_count = len(queries)
        self.crops = cached_crops(queries + references, spec, cache / "val.npy")

    def judge(self, network: IdentificationModel, device: torch.device) -> dict[str, float]:
        """Recall at 1 by view and fused; "select" is the mean reciprocal rank.

        The reciprocal rank decides because it is less noisy than the recall on
        few picks. It is the mean of PickRGB and fused, where there is fused.
        """
        features = self._features(network, device)
        query, reference = features[: self.query_count], features[self.query_count :]
        gallery = network.embed(reference)
        query = query.unflatten(0, (len(self.picks), len(self.views)))
        embedded = {view: network.embed(query[:, i]) for i, view in enumerate(self.views)}
        if self.views == VIEWS:
            embedded["fused"] = network.fuse(query)
        scale = float(network.log_scale.exp())
        ranks = {name: self._ranks(rows, gallery, scale) for name, rows in embedded.items()}
        figures = {f"r1_{name}": float(np.mean(rank == 1)) for name, rank in ranks.items()}
        deciding = [name for name in (VIEWS[0], "fused") if name in ranks]
        reciprocal = [float(np.mean(1.0 / ranks[name])) for name in deciding]
        return {**figures, "select": sum(reciprocal) / len(reciprocal)}

    def _features(self, network: IdentificationModel, device: torch.device) -> Tensor:
        parts = []
        for start in range(0, len(self.crops), _CHUNK):
            pixels: UInt8Array = np.ascontiguousarray(self.crops[start : start + _CHUNK])
            parts.append(network.features(torch.from_numpy(pixels.copy()).to(device)))
        return torch.cat(parts)

    def _ranks(self, query: Tensor, gallery: Tensor, scale: float) -> npt.NDArray[np.int64]:
        similarity = (query @ gallery.T).float().cpu().numpy()
        ranks = []
        for pick, row in zip(self.picks, item_scores(similarity, self.starts, scale), strict=True):
            rivals = [i for i, name in enumerate(self.items) if name in set(pick.manifest)]
            truth = row[self.items.index(pick.item_id)]
            # a tie counts against the network
            ranks.append(int(np.sum(row[rivals] >= truth)))
        return np.asarray(ranks, dtype=np.int64)


def _judged(split: IdentificationSplit) -> tuple[tuple[str, ...], list[Pick]]:
    """The views to judge by, and the picks that have them and a known item."""
    for views in (VIEWS, VIEWS[:1]):
        fit = [pick for pick in split.picks if _is_closed(pick, split, views)]
        if fit:
            return views, fit
    raise DatasetError(
        f"the val split has no pick with {VIEWS[0]} whose item is on its manifest and has a "
        "reference image."
    )


def _is_closed(pick: Pick, split: IdentificationSplit, views: tuple[str, ...]) -> bool:
    known = pick.item_id in pick.manifest and pick.item_id in split.references
    return known and all(view in pick.views for view in views)
