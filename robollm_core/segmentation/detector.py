# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The door to mmdetection: a recipe in, its Cascade Mask R-CNN on our backbone out.

mmdetection is the trainer and the oracle, never a run-time dependency. Its
mmengine configuration is generated, so no second description of the network
exists.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor, nn

from robollm_core.beit3.build import build
from robollm_core.errors import OutputError
from robollm_core.segmentation.align import roi_align
from robollm_core.segmentation.cascade import cascade
from robollm_core.segmentation.design import MASK_SIZE, DetectorDesign
from robollm_core.segmentation.pyramid import SimplePyramid


@MODELS.register_module()
class RobollmBackbone(nn.Module):
    """The encoder's last feature map, as mmdetection calls a backbone."""

    def __init__(
        self, size: str, image_hw: tuple[int, int], drop_path: float, init_cfg: Any = None
    ) -> None:
        """Build the encoder; `init_cfg` is mmengine's and must be None."""
        super().__init__()
        self.encoder = build(size, tuple(image_hw), detection=True, drop_path=drop_path)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to (N, d, H/16, W/16)."""
        return self.encoder.feature_map(images)


@MODELS.register_module()
class RobollmPyramid(SimplePyramid):
    """The pyramid under a name that a configuration can ask for."""

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """As `SimplePyramid.forward`, in float32 and channel by channel.

        Boxes lose pixels in bfloat16, and mmcv's RoIAlign on a CPU misreads maps
        whose channels lie last in memory.
        """
        return tuple(level.float().contiguous() for level in super().forward(features))


class PlainRoIAlign(nn.Module):
    """Our RoIAlign with mmcv's arguments; faster than mmcv's on a CPU."""

    def __init__(self, output_size: int, spatial_scale: float, sampling_ratio: int) -> None:
        """Note the sizes; `spatial_scale` is 1 / stride."""
        super().__init__()
        self.output_size = (output_size, output_size)
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """(N, C, H, W) and (R, 5) rois, image index first, to (R, C, s, s)."""
        size, scale = self.output_size[0], self.spatial_scale
        out = features.new_zeros(rois.shape[0], features.shape[1], size, size)
        for index in range(features.shape[0]):
            mine = torch.nonzero(rois[:, 0] == index)[:, 0]
            if mine.numel():
                boxes = rois[mine, 1:] * scale
                one = features[index : index + 1]
                out[mine] = roi_align(one, boxes, size, self.sampling_ratio)
        return out


@MODELS.register_module()
class PlainRoIExtractor(SingleRoIExtractor):  # type: ignore[misc]
    """mmdetection's level assignment over our RoIAlign."""

    def build_roi_layers(self, layer_cfg: Any, featmap_strides: list[int]) -> nn.ModuleList:
        """One RoIAlign a level."""
        options = {key: layer_cfg[key] for key in ("output_size", "sampling_ratio")}
        return nn.ModuleList(PlainRoIAlign(spatial_scale=1 / s, **options) for s in featmap_strides)


@MODELS.register_module()
class LabelMapMaskHead(FCNMaskHead):  # type: ignore[misc]
    """Mask targets read from one label map an image.

    Visible masks do not overlap, so an (H, W) map of instance numbers holds
    them all, and a target is one gather of its RoI instead of a crop of a
    full-size bitmap.
    """

    def get_targets(
        self,
        sampling_results: list[Any],
        batch_gt_instances: list[InstanceData],
        rcnn_train_cfg: Any,
    ) -> Tensor:
        """(P, 28, 28) float32 in {0, 1} for the positive RoIs of all images, in order."""
        targets = []
        for sampled, truth in zip(sampling_results, batch_gt_instances, strict=True):
            if len(sampled.pos_priors):
                labels, rows = truth.label_map[0], sampled.pos_assigned_gt_inds
                targets.append(mask_targets(labels, sampled.pos_priors, truth.numbers[rows]))
        return torch.cat(targets) if targets else torch.zeros(0, MASK_SIZE, MASK_SIZE)


def mask_targets(label_map: Tensor, boxes: Tensor, numbers: Tensor) -> Tensor:
    """Cut instances out of a label map, resized to the mask grid.

    Args:
        label_map: (H, W) uint8 instance numbers.
        boxes: (P, 4) xyxy pixels.
        numbers: (P,) the instance each box is about.

    Returns:
        (P, 28, 28) float32, 1 where most of four samples in a cell hit.
    """
    height, width = label_map.shape
    steps = (torch.arange(2 * MASK_SIZE, device=boxes.device) + 0.5) / (2 * MASK_SIZE)
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * steps
    y = boxes[:, 1:2] + (boxes[:, 3:4] - boxes[:, 1:2]) * steps
    x, y = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    hit = label_map[y[:, :, None], x[:, None, :]] == numbers[:, None, None]
    cells = hit.float().unflatten(1, (MASK_SIZE, 2)).unflatten(3, (MASK_SIZE, 2)).mean((2, 4))
    targets: Tensor = (cells >= 0.5).float()
    return targets


@MODELS.register_module()
class StagedMaskRoIHead(CascadeRoIHead):  # type: ignore[misc]
    """mmdetection's cascade with mask heads at chosen stages."""

    num_stages: int
    mask_head: nn.ModuleList

    def __init__(self, mask_stages: list[int], **options: Any) -> None:
        """Build the cascade; stages not named get no mask head."""
        self.mask_stages = tuple(mask_stages)
        super().__init__(**options)

    def init_mask_head(self, mask_roi_extractor: Any, mask_head: Any) -> None:
        """Keep the heads of the chosen stages; the numbering stays mmdetection's."""
        super().init_mask_head(mask_roi_extractor, mask_head)
        for stage in range(self.num_stages):
            if stage not in self.mask_stages:
                self.mask_head[stage] = nn.Identity()

    def mask_loss(self, stage: int, *inputs: Any) -> dict[str, Any]:
        """The stage's loss; nothing at a stage without a mask head."""
        if stage not in self.mask_stages:
            return {"loss_mask": {}}
        loss: dict[str, Any] = super().mask_loss(stage, *inputs)
        return loss

    def predict_mask(self, x: Any, batch_img_metas: Any, results_list: Any, rescale: Any) -> Any:
        """As mmdetection, with the stages that have no head left out of the mean."""
        stages, heads = self.num_stages, self.mask_head
        self.num_stages = len(self.mask_stages)
        self.mask_head = nn.ModuleList(heads[stage] for stage in self.mask_stages)
        try:
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        finally:
            self.num_stages, self.mask_head = stages, heads


def detector_config(design: DetectorDesign, *, roi_layer: str = "plain") -> Config:
    """Generate the mmengine configuration of a detector.

    Args:
        design: its sizes.
        roi_layer: "plain" for our RoIAlign, "mmcv" for mmcv's; same weights.

    Returns:
        A Config whose `model` mmdetection's registry builds.
    """
    extractor = "PlainRoIExtractor" if roi_layer == "plain" else "SingleRoIExtractor"
    return Config({"default_scope": "mmdet", "model": cascade(design, extractor)})


def build_detector(design: DetectorDesign, *, roi_layer: str = "plain") -> nn.Module:
    """Build and initialise mmdetection's Cascade Mask R-CNN on our backbone.

    Args:
        design: its sizes.
        roi_layer: as in `detector_config`.

    Returns:
        The detector, with mmdetection's `loss` and `predict`.
    """
    # mmengine prints every parameter it initialises unless a logger is current
    MMLogger.get_instance("robollm", log_level="ERROR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmengine warns about being registered twice
        register_all_modules(init_default_scope=True)
        detector: nn.Module = MODELS.build(detector_config(design, roi_layer=roi_layer).model)
        for part in ("rpn_head", "roi_head"):  # ours have initialised themselves
            getattr(detector, part).init_weights()
    return detector


def dump_config(design: DetectorDesign, path: Path) -> None:
    """Write the generated mmengine configuration, for readers used to mmdetection.

    Raises:
        OutputError: If it cannot be written; an old file stays.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(detector_config(design).pretty_text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(f"cannot write the configuration {path}: {error}") from error
