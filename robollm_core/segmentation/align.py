# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""RoIAlign in plain operators: samples at the bin centres, then an average."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def roi_align(features: Tensor, boxes: Tensor, size: int, samples: int) -> Tensor:
    """Read every box of one image on a fixed grid.

    All boxes lie along one axis of a single sampling grid, so that the graph
    has one GridSample whatever their number.

    Args:
        features: (1, C, H, W) float.
        boxes: (R, 4) xyxy in cells of the map, that is pixels / stride.
        size: bins s a side.
        samples: samples a bin side.

    Returns:
        (R, C, s, s). Samples more than one cell outside the map are 0, those
        nearer take the border's value.

    Source:
        He et al. 2017, section 3 (RoIAlign), with aligned corners as in
        detectron2 and mmcv: the cell centre i lies at i + 0.5.
    """
    height, width = int(features.shape[2]), int(features.shape[3])
    if boxes.shape[0] == 0:
        return features.new_zeros(0, features.shape[1], size, size)
    count = size * samples
    steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count
    x = boxes[:, 0:1] + (boxes[:, 2:3] - boxes[:, 0:1]) * steps
    y = boxes[:, 1:2] + (boxes[:, 3:4] - boxes[:, 1:2]) * steps
    columns = (2.0 / width * x - 1.0).unsqueeze(1).expand(-1, count, -1)
    rows = (2.0 / height * y - 1.0).unsqueeze(2).expand(-1, -1, count)
    grid = torch.stack((columns, rows), dim=-1).reshape(1, -1, count, 2)
    read = functional.grid_sample(
        features, grid.to(features.dtype), padding_mode="border", align_corners=False
    )
    inside_x = ((x >= -0.5) & (x <= width + 0.5)).to(read.dtype)
    inside_y = ((y >= -0.5) & (y <= height + 0.5)).to(read.dtype)
    inside = (inside_y.unsqueeze(2) * inside_x.unsqueeze(1)).reshape(1, 1, -1, count)
    read = read * inside
    if samples > 1:
        read = functional.avg_pool2d(read, samples)
    return read.reshape(features.shape[1], -1, size, size).transpose(0, 1)
