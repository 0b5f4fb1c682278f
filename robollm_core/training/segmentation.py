# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the segmentation network, made for two CPU cores.

First the backbone and the pyramid learn from dense supervision and the RPN
alone, then the whole cascade trains on; the dense loss stays as an aid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from tqdm import tqdm

from robollm_core.beit3.encoder import Encoder, normalise
from robollm_core.data.armbench_segmentation import read_split
from robollm_core.data.tote import ToteImage
from robollm_core.data.tote_batches import ToteSample, Views, draw_batch, plain_sample
from robollm_core.data.tote_cache import open_cache
from robollm_core.errors import ConfigError
from robollm_core.evaluation.precision import IOUS, Found, Judged, average_precision, match
from robollm_core.segmentation import detector
from robollm_core.segmentation.design import DetectorDesign, design_from
from robollm_core.training.adapting import adapt
from robollm_core.training.dense import DenseHead, dense_loss, dense_targets
from robollm_core.training.distributed import shard
from robollm_core.training.recipe import AdapterRecipe, GateRecipe, LoopRecipe, build_recipe
from robollm_core.training.warm import warm_start


@dataclass(frozen=True)
class SegmentationRecipe(LoopRecipe, AdapterRecipe, GateRecipe, DetectorDesign, Views):
    """What a run of this stage needs: the loop, the detector, the views, and this.

    Attributes:
        batch: images a step.
        train_height, train_width: size of the views that are trained on, pixels.
        full_from: progress from which views have the size of the network input.
        cascade_from: progress from which the cascade trains along.
        dense_weight: of the dense loss.
        init: checkpoint or artifact to start from, the encoder's of another stage
            or a whole detector's; "" for a random start.
        subset: ARMBench subset to train and select on.
        train_images: at most this many training images, 0 for all.
        val_images: at most this many val images are judged in a validation, at least 1.
    """

    batch: int = 4
    train_height: int = 288
    train_width: int = 384
    full_from: float = 0.8
    cascade_from: float = 0.2
    dense_weight: float = 1.0
    init: str = ""
    subset: str = "mix-object-tote"
    train_images: int = 0
    val_images: int = 64

    def __post_init__(self) -> None:
        """Refuse what no run can have.

        Raises:
            ConfigError: If a side is not a multiple of 32, or a value is out of range.
        """
        for part in (LoopRecipe, DetectorDesign, Views):  # super() would reach the first alone
            part.__post_init__(self)
        sides = (self.train_height, self.train_width)
        if any(side <= 0 or side % 32 for side in sides):
            raise ConfigError(f"train_height and train_width must be multiples of 32, got {sides}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                limits = f"in [{low}, {high}]" if high < math.inf else f"at least {low}"
                raise ConfigError(f"{name} must be {limits}, got {value}.")


_RANGES = {
    "batch": (1, math.inf),
    "full_from": (0, 1),
    "cascade_from": (0, 1),
    "dense_weight": (0, math.inf),
    "train_images": (0, math.inf),
    "val_images": (1, math.inf),
}


class Supervised(nn.Module):
    """The detector with the dense head, which does not ship."""

    def __init__(self, network: nn.Module, channels: int, finest_stride: int) -> None:
        """Put a dense head beside a detector."""
        super().__init__()
        self.network = network
        self.dense = DenseHead(channels, finest_stride)


class SegmentationTask:
    """Draws views of totes; judges by mask AP50 on the val split."""

    stage = "segmentation"

    def __init__(self, recipe: SegmentationRecipe, data: Path, out: Path) -> None:
        """Read the train and val splits and cache their images.

        Raises:
            DatasetError: If the data is not in ARMBench's layout.
            CheckpointError: If `recipe.init` cannot be used.
        """
        cv2.setNumThreads(1)
        self.recipe = recipe
        totes = read_split(data, "train", recipe.subset)
        totes = totes[: recipe.train_images or len(totes)]
        self.train = open_cache(totes, recipe.input_hw, out / "cache", "train")
        held_out: tuple[ToteImage, ...] = read_split(data, "val", recipe.subset)
        held_out = held_out[: recipe.val_images]
        self.val = open_cache(held_out, recipe.input_hw, out / "cache", "val")
        torch.manual_seed(recipe.seed)
        network = detector.build_detector(recipe)
        self.network: Any = network  # mmdetection has no types
        encoder = network.get_submodule("backbone.encoder")
        assert isinstance(encoder, Encoder)
        self.origin = warm_start(network, encoder, self.stage, recipe.init)
        adapt(encoder, recipe)
        self.module = Supervised(network, recipe.channels, recipe.finest_stride)
        self.blocks: int = encoder.shape.depth
        self.batch: dict[str, Tensor] = {}

    @property
    def epoch_steps(self) -> int:
        """Batches in which as many images are drawn as there are."""
        return math.ceil(len(self.train) / self.recipe.batch)

    def loss(self, step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        """Dense and RPN losses, and from `cascade_from` on those of the cascade."""
        recipe = self.recipe
        small = (recipe.train_height, recipe.train_width)
        size = recipe.input_hw if done >= recipe.full_from else small
        own = shard(recipe.batch)
        seed = (recipe.seed, step)
        samples = draw_batch(self.train, recipe.batch, size, seed, recipe, own)
        device = next(self.network.parameters()).device
        images = to_images([sample.image for sample in samples], device)
        self.batch = {
            "images": images,
            "labels": torch.stack([torch.from_numpy(sample.labels) for sample in samples]),
        }
        truths = [to_truth(sample, device) for sample in samples]
        features = self.network.extract_feat(images)
        losses = self._dense(features[0], truths)
        with torch.autocast(device.type, enabled=False):  # boxes lose pixels in bfloat16
            losses.update(self._boxes(features, truths, cascade=done >= recipe.cascade_from))
        total = torch.stack(list(losses.values())).sum()
        return total, {_short(name): float(value.detach()) for name, value in losses.items()}

    def _dense(self, finest: Tensor, truths: Sequence[Any]) -> dict[str, Tensor]:
        instances = [truth.gt_instances for truth in truths]
        labels = torch.stack([truth.label_map for truth in truths])
        found: Tensor = self.module.dense(finest)
        targets = dense_targets(
            labels, [one.bboxes for one in instances], [one.numbers for one in instances]
        )
        weight = self.recipe.dense_weight
        return {name: weight * loss for name, loss in dense_loss(found, targets).items()}

    def _boxes(
        self, features: tuple[Tensor, ...], truths: list[Any], *, cascade: bool
    ) -> dict[str, Tensor]:
        network = self.network
        if not cascade:
            return _summed(network.rpn_head.loss(features, truths))
        found, proposals = network.rpn_head.loss_and_predict(
            features, truths, proposal_cfg=network.train_cfg.rpn_proposal
        )
        return _summed({**found, **network.roi_head.loss(features, proposals, truths)})

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mask AP, AP50 and AP75 at the size of the network input; AP50 selects."""
        judged = []
        device = next(network.parameters()).device
        for image, labels in tqdm(
            zip(self.val.images, self.val.labels, strict=True),
            total=len(self.val),
            desc="validate",
            leave=False,
        ):
            sample = plain_sample(image, labels)
            found = predict(network, to_images([sample.image], device))
            truths = [_encode(sample.labels == number) for number in sample.numbers]
            judged.append(Judged(tuple(truths), (False,) * len(truths), tuple(found)))
        records = match(judged, "segm")
        at_50, at_75 = (average_precision(records, [iou]) for iou in (0.5, 0.75))
        mean = average_precision(records, IOUS)
        return {"select": at_50, "mask_ap": mean, "mask_ap50": at_50, "mask_ap75": at_75}

    def state(self) -> dict[str, Any]:
        """Nothing: batches follow from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""


def to_images(views: Sequence[Any], device: torch.device) -> Tensor:
    """(H, W, 3) uint8 views to one normalised (N, 3, H, W) float batch."""
    batch = torch.from_numpy(np.stack(views)).to(device)
    return normalise(batch)


def to_truth(sample: ToteSample, device: torch.device) -> Any:
    """One view's instances as mmdetection takes them, the label map beside them."""
    height, width = sample.labels.shape
    count = len(sample.numbers)
    label_map = torch.from_numpy(sample.labels).to(device)
    truth = DetDataSample(metainfo=_meta(height, width))
    truth.label_map = label_map
    truth.gt_instances = InstanceData(
        bboxes=torch.from_numpy(sample.boxes).to(device),
        labels=torch.zeros(count, dtype=torch.long, device=device),
        numbers=torch.from_numpy(sample.numbers).to(device),
        label_map=label_map.expand(count, -1, -1),
    )
    none = torch.zeros(0, dtype=torch.long, device=device)
    truth.ignored_instances = InstanceData(bboxes=none.float().reshape(0, 4), labels=none)
    return truth


def predict(network: nn.Module, images: Tensor) -> list[Found]:
    """Find what mmdetection finds in one normalised (1, 3, H, W) image."""
    truth = DetDataSample(metainfo=_meta(*images.shape[2:]))
    (answer,) = network.predict(images, [truth])  # type: ignore[operator]
    found = answer.pred_instances
    masks = found.masks.cpu().numpy()
    return [
        Found(_encode(mask), float(score), tuple(box))
        for mask, score, box in zip(masks, found.scores, found.bboxes.tolist(), strict=True)
    ]


def _meta(height: int, width: int) -> dict[str, Any]:
    """What mmdetection wants to know of an image that is used as it is."""
    shapes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
    return {**dict.fromkeys(shapes, (height, width)), "scale_factor": (1.0, 1.0)}


def _encode(mask: Any) -> dict[str, Any]:
    rle: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle


def _summed(losses: Mapping[str, Any]) -> dict[str, Tensor]:
    """Losses alone, those of several levels added up."""
    added = {}
    for name, value in losses.items():
        if "loss" in name:
            levels: list[Tensor] = value if isinstance(value, list) else [value]
            added[name] = torch.stack([level.sum() for level in levels]).sum()
    return added


def _short(name: str) -> str:
    return name.replace("loss_", "")


def dump_config(recipe: Mapping[str, Any], path: Path) -> None:
    """Write the mmengine configuration that a recipe generates.

    Raises:
        ConfigError: If the recipe is wrong.
        OutputError: If it cannot be written.
    """
    checked = build_recipe(SegmentationRecipe, recipe)
    detector.dump_config(design_from(vars(checked)), path)


RECIPE, TASK = SegmentationRecipe, SegmentationTask
"""What `training.run` looks for in the file of a stage."""
