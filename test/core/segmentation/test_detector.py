# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdetection; install extra [train]")

from mmengine.config import Config

from robollm_core.errors import ConfigError, OutputError
from robollm_core.segmentation.design import DetectorDesign, design_from
from robollm_core.segmentation.detector import (
    PlainRoIAlign,
    build_detector,
    detector_config,
    dump_config,
    mask_targets,
)

SMALL = DetectorDesign(
    input_height=64, input_width=96, channels=16, head_width=32, mask_width=8, mask_convs=1
)


def test_the_dumped_config_is_what_is_built(tmp_path):
    path = tmp_path / "cascade.py"
    dump_config(SMALL, path)
    read = Config.fromfile(path)
    assert read.model.to_dict() == detector_config(SMALL).model.to_dict()
    assert read.model.type == "CascadeRCNN"
    assert [p.name for p in tmp_path.iterdir()] == ["cascade.py"]


def test_a_config_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        dump_config(SMALL, tmp_path / "file" / "cascade.py")


def test_the_cascade_has_the_published_thresholds():
    config = detector_config(SMALL)
    assert [s.assigner.pos_iou_thr for s in config.model.train_cfg.rcnn] == [0.5, 0.6, 0.7]


@pytest.mark.parametrize(("every", "heads"), [(True, {0, 1, 2}), (False, {2})])
def test_mask_heads_stand_at_the_chosen_stages(every, heads):
    detector = build_detector(dataclasses.replace(SMALL, mask_all_stages=every))
    names = [name for name in detector.state_dict() if name.startswith("roi_head.mask_head.")]
    assert {int(name.split(".")[2]) for name in names} == heads


def test_the_two_roi_layers_read_the_same_with_the_same_weights():
    from mmcv.ops import RoIAlign

    features = torch.randn(3, 4, 12, 16, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (20, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, 60, (20, 2))], 1)
    rois = torch.tensor(np.concatenate([rng.integers(0, 3, (20, 1)), boxes], 1)).float()
    ours = PlainRoIAlign(7, 1 / 8, 2)(features, rois)
    assert (ours - RoIAlign(7, 1 / 8, 2)(features, rois)).abs().max() < 1e-4


def test_mask_targets_are_the_instance_seen_through_the_box():
    labels = torch.zeros(60, 80, dtype=torch.uint8)
    labels[10:40, 20:50] = 3
    labels[10:40, 35:50] = 7  # covers the right half
    boxes = torch.tensor([[20.0, 10.0, 50.0, 40.0], [20.0, 10.0, 50.0, 40.0], [5.0, 10, 35, 40]])
    targets = mask_targets(labels, boxes, torch.tensor([3, 7, 3]))
    assert targets.shape == (3, 28, 28)
    assert targets[0, :, :14].all()
    assert not targets[0, :, 14:].any()
    assert torch.equal(targets[1], 1 - targets[0])
    assert torch.equal(targets[2], targets[0].flip(1))


def test_mask_targets_beyond_the_image_and_of_empty_boxes():
    labels = torch.full((20, 20), 2, dtype=torch.uint8)
    boxes = torch.tensor([[-10.0, -10.0, 30.0, 30.0], [5.0, 5.0, 5.0, 5.0]])
    assert mask_targets(labels, boxes, torch.tensor([2, 2])).all()
    assert mask_targets(labels, boxes[:0], torch.zeros(0)).shape == (0, 28, 28)


def test_a_design_is_picked_out_of_a_recipe():
    recipe = {"channels": 32, "rate": 1e-3, "input_height": 96}
    assert design_from(recipe) == DetectorDesign(channels=32, input_height=96)


def test_an_input_the_strides_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match="multiples of 32"):
        design_from({"input_height": 100})
