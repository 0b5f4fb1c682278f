# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The detector as one static graph without plugins, on mmdetection's own weights.

Every step mirrors `CascadeRCNN.predict`, with fixed sizes: an unused slot is
carried along as invalid and ends with score 0.
"""

import copy
import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from robollm_core.beit3.adapters import attach_asked
from robollm_core.beit3.checkpoint import load_model, read_checkpoint
from robollm_core.beit3.encoder import Encoder, normalise
from robollm_core.errors import ShapeError
from robollm_core.segmentation.align import roi_align
from robollm_core.segmentation.design import (
    BOX_ROI,
    BOX_STDS,
    MASK_ROI,
    DetectorDesign,
    design_from,
)
from robollm_core.segmentation.suppress import ROUNDS, cluster_nms
from robollm_core.types import OBJECT_LABEL

MAX_SIDE_CHANGE = math.log(1000 / 16)
"""Largest change of a box side in one step, as a logarithm; mmdetection's."""


def load_graph(path: Path) -> nn.Module:
    """Build the graph of a checkpoint that `robollm train segmentation` wrote.

    Raises:
        CheckpointError: If the checkpoint is damaged or does not fit its recipe.
    """
    # mmdetection is needed to build the network once, not to run the graph
    from robollm_core.segmentation.detector import build_detector

    checkpoint = read_checkpoint(path)
    design = design_from(checkpoint.recipe)
    detector = build_detector(design)
    attach_asked(detector.get_submodule("backbone.encoder"), checkpoint.recipe.get("model"))
    load_model(detector, checkpoint)
    return DeployedDetector(detector, design).eval()


class DeployedDetector(nn.Module):
    """uint8 image in, boxes, scores, labels and masks out.

    Attributes:
        input_hw: (height, width) of the image it takes.
        labels: class names by label number.
        rounds: of each suppression, see `suppress.ROUNDS`.
    """

    def __init__(self, detector: nn.Module, design: DetectorDesign, rounds: int = ROUNDS) -> None:
        """Take over the modules of mmdetection's detector; weights are shared."""
        super().__init__()
        self.detector = detector
        self.design = design
        self.rounds = rounds
        self.input_hw = design.input_hw
        self.labels = (OBJECT_LABEL,)
        parts = cast(Any, detector)
        self._rpn, self._roi = parts.rpn_head, parts.roi_head
        self.strides = parts.neck.strides
        with torch.inference_mode(mode=False):
            anchors = self._anchors()
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)
        self.eval()

    def at(self, input_hw: tuple[int, int]) -> "DeployedDetector":
        """The same network for images of another size.

        Args:
            input_hw: (height, width), multiples of 32.

        Returns:
            A copy, or this very detector when the size is its own.

        Raises:
            ConfigError: If a side is not a multiple of 32.
        """
        if tuple(input_hw) == self.input_hw:
            return self
        design = self.design.at(input_hw)
        detector = copy.deepcopy(self.detector)
        # carried over here, the positions are plain numbers in the exported graph
        cast(Encoder, detector.get_submodule("backbone.encoder")).settle(design.input_hw)
        return DeployedDetector(detector, design, self.rounds)

    def _anchors(self) -> list[Tensor]:
        sizes = [level.shape[2:] for level in self._features(torch.zeros(1, 3, *self.input_hw))]
        anchors = self._rpn.prior_generator.grid_priors(sizes, device=torch.device("cpu"))
        return cast(list[Tensor], anchors)

    @torch.no_grad()
    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        levels: tuple[Tensor, ...] = cast(Any, self.detector).extract_feat(images)
        return levels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            images: (1, H, W, 3) uint8 RGB of `input_hw`.

        Returns:
            boxes (1, K, 4) float32 xyxy pixels, scores (1, K) float32, labels
            (1, K) int64, masks (1, K, 28, 28) float32 probability in the box;
            best first, unused slots have score 0.

        Raises:
            ShapeError: If the image has another size.
        """
        if tuple(images.shape) != (1, *self.input_hw, 3):
            raise ShapeError(
                f"the detector takes (1, {self.input_hw[0]}, {self.input_hw[1]}, 3) uint8, "
                f"got {tuple(images.shape)}."
            )
        levels = self._features(normalise(images))
        boxes, valid = self._propose(levels)
        boxes, scores = self._cascade(levels[:-1], boxes, valid)
        boxes, scores = self._select(boxes, scores)
        masks = self._masks(levels[:-1], boxes)
        labels = torch.zeros_like(scores, dtype=torch.int64)
        return boxes[None], scores[None], labels[None], masks[None]

    @torch.no_grad()
    def settled(self, images: Tensor) -> bool:
        """Whether one more round of each suppression would change nothing.

        Args:
            images: as for `forward`.
        """
        longer = DeployedDetector(self.detector, self.design, self.rounds + 1)
        return all(map(torch.equal, self(images), longer(images)))

    def _propose(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(P, 4) proposals, best first, and (P,) float 1 where there is one."""
        boxes, scores = [], []
        most = max(len(self.get_buffer(f"anchors_{index}")) for index in range(len(levels)))
        most = min(self.design.rpn_pre, most)
        for index, level in enumerate(levels):
            logits, deltas = self._rpn.forward_single(level)
            score = logits[0].permute(1, 2, 0).reshape(-1).sigmoid()
            count = min(self.design.rpn_pre, int(score.shape[0]))
            score, order = score.topk(count)
            anchors = self.get_buffer(f"anchors_{index}")[order]
            delta = deltas[0].permute(1, 2, 0).reshape(-1, 4)[order]
            box = self._decode(anchors, delta, (1.0, 1.0, 1.0, 1.0))
            # an empty box at the end is no proposal
            boxes.append(functional.pad(box, (0, 0, 0, most - count)))
            scores.append(functional.pad(score, (0, most - count)))
        box, score = torch.stack(boxes), torch.stack(scores)
        real = ((box[..., 2] > box[..., 0]) & (box[..., 3] > box[..., 1])).to(box.dtype)
        # levels leave each other alone, so each is a group, and small
        keep = cluster_nms(box, self.design.rpn_iou, real, self.rounds)
        # a sigmoid is above 0, so -1 sorts the dropped ones last
        score = (score * keep - (1.0 - keep)).flatten()
        ranked, best = score.topk(min(self.design.proposals, int(score.shape[0])))
        return box.flatten(0, 1)[best], (ranked > 0.0).to(box.dtype)

    def _decode(self, boxes: Tensor, deltas: Tensor, stds: tuple[float, ...]) -> Tensor:
        """Move (N, 4) boxes by (N, 4) deltas in units of `stds`, clipped to the image."""
        moves = deltas * torch.tensor(stds, dtype=deltas.dtype, device=deltas.device)
        centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5
        size = boxes[:, 2:] - boxes[:, :2]
        centre = centre + size * moves[:, :2]
        half = size * moves[:, 2:].clamp(-MAX_SIDE_CHANGE, MAX_SIDE_CHANGE).exp() * 0.5
        height, width = self.input_hw
        edges = torch.cat((centre - half, centre + half), dim=1)
        x, y = edges[:, 0::2].clamp(0.0, float(width)), edges[:, 1::2].clamp(0.0, float(height))
        return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)

    def _cascade(
        self, levels: tuple[Tensor, ...], boxes: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(P, 4) refined boxes and (P,) scores, 0 where there was no proposal."""
        total = torch.zeros_like(boxes[:, :2])
        for head, stds in zip(self._roi.bbox_head, BOX_STDS, strict=True):
            logits, deltas = head(self._read(levels, boxes, BOX_ROI))
            total = total + logits
            boxes = self._decode(boxes, deltas, stds)
        scores = (total / len(BOX_STDS)).softmax(dim=1)[:, 0]
        return boxes, scores * valid

    def _read(self, levels: tuple[Tensor, ...], boxes: Tensor, size: int) -> Tensor:
        """RoIAlign on every level, each box's own level kept: (R, C, size, size)."""
        sides = boxes[:, 2:] - boxes[:, :2]
        scale = (sides[:, 0] * sides[:, 1]).sqrt() / self.design.finest_scale + 1e-6
        # floor(log2(scale)), clamped, without a logarithm
        steps = [(scale >= 2.0**k).to(boxes.dtype) for k in range(1, len(levels))]
        mine = torch.stack(steps).sum(dim=0) if steps else torch.zeros_like(scale)
        out = torch.zeros(1)
        for index, (level, stride) in enumerate(zip(levels, self.strides, strict=False)):
            read = roi_align(level, boxes / stride, size, self.design.roi_samples)
            own = (mine == index).to(boxes.dtype)[:, None, None, None]
            out = read * own if index == 0 else out + read * own
        return out

    def _select(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The K detections that survive the threshold and the last NMS, best first."""
        # as many as there are: a sort, but with their number in the graph
        scores, order = scores.topk(int(scores.shape[0]))
        boxes = boxes[order]
        valid = (scores > self.design.score_threshold).to(boxes.dtype)
        keep = cluster_nms(boxes, self.design.nms_iou, valid, rounds=self.rounds)
        scores, best = (scores * keep).topk(min(self.design.detections, len(boxes)))
        return boxes[best], scores

    def _masks(self, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """(K, 28, 28) probabilities, the mean over the stages that have a mask head."""
        features = self._read(levels, boxes, MASK_ROI)
        heads = [self._roi.mask_head[stage] for stage in self.design.mask_stages]
        found = torch.stack([head(features).sigmoid() for head in heads])
        mean: Tensor = found.mean(dim=0)[:, 0]
        return mean
