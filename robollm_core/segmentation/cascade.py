# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Cascade Mask R-CNN spelled out in mmdetection's own configuration words; plain data."""

from typing import Any

from robollm_core.beit3.build import build
from robollm_core.segmentation.design import (
    ANCHOR_RATIOS,
    BOX_ROI,
    BOX_STDS,
    CASCADE_IOUS,
    CASCADE_WEIGHTS,
    MASK_ROI,
    MASK_SIZE,
    DetectorDesign,
)
from robollm_core.segmentation.pyramid import STRIDES

NO_LIMIT = -1


def cascade(design: DetectorDesign, roi_extractor: str) -> dict[str, Any]:
    """Describe the model.

    Args:
        design: its sizes.
        roi_extractor: name of a registered RoI extractor.

    Returns:
        What mmdetection's registry builds a detector from.
    """
    strides = [stride for stride in STRIDES if stride >= design.finest_stride]
    width = build(design.encoder, design.input_hw, detection=True).width
    normal = {"mean": [127.5] * 3, "std": [127.5] * 3, "bgr_to_rgb": False, "pad_size_divisor": 32}
    return {
        "type": "CascadeRCNN",
        "data_preprocessor": {"type": "DetDataPreprocessor", **normal},
        "backbone": {
            "type": "RobollmBackbone",
            "size": design.encoder,
            "image_hw": list(design.input_hw),
            "drop_path": design.drop_path,
        },
        "neck": {
            "type": "RobollmPyramid",
            "width": width,
            "channels": design.channels,
            "finest_stride": design.finest_stride,
        },
        "rpn_head": _rpn_head(design, strides),
        "roi_head": _roi_head(design, strides[:-1], roi_extractor),
        "train_cfg": _train_cfg(design),
        "test_cfg": _test_cfg(design),
    }


def _rpn_head(design: DetectorDesign, strides: list[int]) -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": design.channels,
        "feat_channels": design.channels,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [design.anchor_scale],
            "ratios": list(ANCHOR_RATIOS),
            "strides": strides,
        },
        "bbox_coder": {
            "type": "DeltaXYWHBBoxCoder",
            "target_means": [0.0] * 4,
            "target_stds": [1.0] * 4,
        },
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1.0 / 9.0, "loss_weight": 1.0},
    }


def _roi_head(design: DetectorDesign, strides: list[int], roi_extractor: str) -> dict[str, Any]:
    def extractor(size: int) -> dict[str, Any]:
        layer = {"output_size": size, "sampling_ratio": design.roi_samples, "type": "RoIAlign"}
        return {
            "type": roi_extractor,
            "roi_layer": layer,
            "out_channels": design.channels,
            "featmap_strides": strides,
            "finest_scale": design.finest_scale,
        }

    return {
        "type": "StagedMaskRoIHead",
        "mask_stages": list(design.mask_stages),
        "num_stages": len(CASCADE_IOUS),
        "stage_loss_weights": list(CASCADE_WEIGHTS),
        "bbox_roi_extractor": extractor(BOX_ROI),
        "bbox_head": [_box_head(design, stds) for stds in BOX_STDS],
        "mask_roi_extractor": extractor(MASK_ROI),
        "mask_head": {
            "type": "LabelMapMaskHead",
            "num_convs": design.mask_convs,
            "in_channels": design.channels,
            "conv_out_channels": design.mask_width,
            "num_classes": 1,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
        },
    }


def _box_head(design: DetectorDesign, stds: tuple[float, ...]) -> dict[str, Any]:
    return {
        "type": "Shared2FCBBoxHead",
        "in_channels": design.channels,
        "fc_out_channels": design.head_width,
        "roi_feat_size": BOX_ROI,
        "num_classes": 1,
        "reg_class_agnostic": True,
        "bbox_coder": {
            "type": "DeltaXYWHBBoxCoder",
            "target_means": [0.0] * 4,
            "target_stds": list(stds),
        },
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0},
    }


def _train_cfg(design: DetectorDesign) -> dict[str, Any]:
    def stage(iou: float) -> dict[str, Any]:
        return {
            "assigner": _assigner(iou, iou, iou, low_quality=False),
            "sampler": _sampler(design.train_rois, design.train_positive, truth=True),
            "mask_size": MASK_SIZE,
            "pos_weight": NO_LIMIT,
            "debug": False,
        }

    return {
        "rpn": {
            "assigner": _assigner(0.7, 0.3, 0.3, low_quality=True),
            "sampler": _sampler(design.train_anchors, 0.5, truth=False),
            "allowed_border": NO_LIMIT,
            "pos_weight": NO_LIMIT,
            "debug": False,
        },
        "rpn_proposal": _proposals(design, design.train_proposals),
        "rcnn": [stage(iou) for iou in CASCADE_IOUS],
    }


def _assigner(high: float, low: float, least: float, *, low_quality: bool) -> dict[str, Any]:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": high,
        "neg_iou_thr": low,
        "min_pos_iou": least,
        "match_low_quality": low_quality,
        "ignore_iof_thr": NO_LIMIT,
    }


def _sampler(count: int, positive: float, *, truth: bool) -> dict[str, Any]:
    return {
        "type": "RandomSampler",
        "num": count,
        "pos_fraction": positive,
        "neg_pos_ub": NO_LIMIT,
        "add_gt_as_proposals": truth,
    }


def _proposals(design: DetectorDesign, count: int) -> dict[str, Any]:
    return {
        "nms_pre": design.rpn_pre,
        "max_per_img": count,
        "nms": {"type": "nms", "iou_threshold": design.rpn_iou},
        "min_bbox_size": 0,
    }


def _test_cfg(design: DetectorDesign) -> dict[str, Any]:
    return {
        "rpn": _proposals(design, design.proposals),
        "rcnn": {
            "score_thr": design.score_threshold,
            "nms": {"type": "nms", "iou_threshold": design.nms_iou},
            "max_per_img": design.detections,
            "mask_thr_binary": 0.5,
        },
    }
