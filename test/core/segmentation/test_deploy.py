# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The plugin-free graph against mmdetection's own predict, on the same weights."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="mmdetection is the oracle; install extra [train]")

from mmdet.structures import DetDataSample

from robollm_core.config import RuntimeConfig
from robollm_core.errors import CheckpointError, ShapeError
from robollm_core.export.onnx import GraphPlan, build_graph, round_weights
from robollm_core.export.parity import check_parity
from robollm_core.export.stages import PLANS
from robollm_core.geometry import box_iou, paste_mask
from robollm_core.runtime.onnx import OnnxEngine, graph_spec
from robollm_core.runtime.torch import TorchEngine
from robollm_core.segmentation.deploy import DeployedDetector, load_graph
from robollm_core.segmentation.design import DetectorDesign
from robollm_core.segmentation.detector import build_detector

TINY = DetectorDesign(
    input_height=192,
    input_width=256,
    channels=32,
    finest_stride=8,
    anchor_scale=4.0,
    rpn_pre=100,
    proposals=60,
    roi_samples=1,
    head_width=64,
    mask_width=16,
    mask_convs=2,
    mask_all_stages=False,
    score_threshold=0.05,
    detections=30,
)
FULL = dataclasses.replace(
    TINY,
    finest_stride=4,
    anchor_scale=8.0,
    finest_scale=16,
    roi_samples=2,
    mask_all_stages=True,
)


def lively(design, seed):
    """A detector whose random heads disagree from place to place, as trained ones do."""
    torch.manual_seed(seed)
    detector = build_detector(design, roi_layer="mmcv").eval()
    with torch.no_grad():
        for conv in (detector.rpn_head.rpn_cls, detector.rpn_head.rpn_reg):
            conv.weight.normal_(std=0.25)
        for head in detector.roi_head.bbox_head:
            head.fc_cls.weight.normal_(std=2.0)
            head.fc_reg.weight.normal_(std=0.4)
        for head in detector.roi_head.mask_head:
            if hasattr(head, "conv_logits"):
                head.conv_logits.weight.normal_(std=3.0)
    return detector


def picture(design, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*design.input_hw, 3), dtype=np.uint8)
    for _ in range(20):
        y, x = rng.integers(0, design.input_hw[0] - 30), rng.integers(0, design.input_hw[1] - 30)
        image[y : y + rng.integers(10, 60), x : x + rng.integers(10, 60)] = rng.integers(0, 256, 3)
    return image


def oracle(detector, image):
    """mmdetection's own road: data preprocessor, then predict."""
    size = image.shape[:2]
    meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample = DetDataSample(metainfo={**meta, "scale_factor": (1.0, 1.0)})
    batch = {"inputs": [torch.from_numpy(image).permute(2, 0, 1)], "data_samples": [sample]}
    data = detector.data_preprocessor(batch, training=False)
    with torch.inference_mode():
        (answer,) = detector.predict(data["inputs"], data["data_samples"])
    return answer.pred_instances


@pytest.mark.parametrize("design", [TINY, FULL], ids=["tiny", "full"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_mmdetections_predict(design, seed):
    detector = lively(design, seed)
    graph = DeployedDetector(detector, design)
    image = picture(design, seed)
    expected = oracle(detector, image)
    with torch.inference_mode():
        boxes, scores, labels, masks = (out[0] for out in graph(torch.from_numpy(image)[None]))
    count = len(expected.scores)
    assert count >= 5  # else the test says nothing
    assert int((scores > 0).sum()) == count
    assert (scores[:count] - expected.scores).abs().max() < 1e-3
    assert labels.dtype == torch.int64
    assert not labels.any()
    used = set()
    for index in range(count):
        # equal scores may change places: the partner is the nearest unused box
        apart = (boxes[:count] - expected.bboxes[index]).abs().amax(1)
        apart[list(used)] = torch.inf
        partner = int(apart.argmin())
        used.add(partner)
        assert apart[partner] < 0.5
        assert abs(float(scores[partner] - expected.scores[index])) < 1e-3
        assert same_mask(expected.masks[index].numpy(), boxes[partner], masks[partner])


def same_mask(expected, box, prob):
    """IoU above 0.99, or one pixel apart: of a mask under 100 pixels that is more than 1 %."""
    pasted = paste_mask(prob.numpy(), box.numpy(), expected.shape, 0.5)
    whole = np.zeros_like(expected)
    if pasted is not None:
        (x0, y0, x1, y1), inside = pasted
        whole[y0:y1, x0:x1] = inside
    return (whole != expected).sum() <= max(1, 0.01 * (whole | expected).sum())


def test_unused_slots_have_score_zero_and_stay_finite():
    detector = lively(TINY, 0)
    with torch.no_grad():
        for head in detector.roi_head.bbox_head:  # nothing is an instance
            head.fc_cls.bias.copy_(torch.tensor([-50.0, 50.0]))
    graph = DeployedDetector(detector, TINY)
    with torch.inference_mode():
        out = graph(torch.from_numpy(picture(TINY, 0))[None])
    assert out[0].shape == (1, 30, 4)
    assert out[3].shape == (1, 30, 28, 28)
    assert not out[1].any()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in out)


def test_boxes_lie_in_the_image_and_do_not_overlap_too_much():
    graph = DeployedDetector(lively(TINY, 4), TINY)
    with torch.inference_mode():
        boxes, scores, _, _ = graph(torch.from_numpy(picture(TINY, 4))[None])
    kept = boxes[0][scores[0] > 0].numpy()
    assert kept.min() >= 0.0
    assert kept[:, 2].max() <= 256.0
    assert kept[:, 3].max() <= 192.0
    overlaps = box_iou(kept, kept)[~np.eye(len(kept), dtype=bool)]
    assert overlaps.max() <= 0.5 + 1e-6


def test_one_more_round_of_suppression_changes_nothing_unless_there_are_too_few():
    detector, image = lively(TINY, 2), torch.from_numpy(picture(TINY, 2))[None]
    assert DeployedDetector(detector, TINY).settled(image)
    assert not DeployedDetector(detector, TINY, rounds=1).settled(image)


def test_another_image_size_is_refused():
    graph = DeployedDetector(lively(TINY, 0), TINY)
    with pytest.raises(ShapeError, match="192"):
        graph(torch.zeros(1, 200, 256, 3, dtype=torch.uint8))


def test_onnx_runtime_equals_torch():
    # lively heads amplify the rounding of weights, so the graph alone is compared
    rounded = round_weights(DeployedDetector(lively(TINY, 0), TINY))
    samples = [{"images": picture(TINY, seed)[None]} for seed in range(2)]
    plan, example = PLANS["segmentation"], torch.from_numpy(samples[0]["images"])
    network = build_graph(rounded, GraphPlan({"images": example}, plan.outputs, plan.free_batch))
    config, spec = RuntimeConfig(), graph_spec(network)
    candidate, origin = OnnxEngine(network, spec, config), TorchEngine(rounded, spec, config)
    found = check_parity(origin, candidate, samples, plan.graph)
    assert found["scores"] < 1e-3
    assert not {"RoiAlign", "NonMaxSuppression", "Loop", "If", "NonZero"} & operators(network)


def operators(network):
    import onnx

    return {node.op_type for node in onnx.load_from_string(network).graph.node}


def test_a_checkpoint_becomes_the_graph(tmp_path):
    detector = lively(TINY, 0)
    path = tmp_path / "best.pt"
    content = {"format": 1, "stage": "segmentation", "recipe": dataclasses.asdict(TINY), "step": 1}
    torch.save({**content, "model": detector.state_dict()}, path)
    graph = load_graph(path)
    assert graph.input_hw == (192, 256)
    image = torch.from_numpy(picture(TINY, 0))[None]
    with torch.inference_mode():
        ours, theirs = graph(image), DeployedDetector(detector, TINY)(image)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path):
    path = tmp_path / "best.pt"
    recipe = {**dataclasses.asdict(TINY), "channels": 48}
    content = {"format": 1, "stage": "segmentation", "recipe": recipe}
    torch.save({**content, "model": lively(TINY, 0).state_dict()}, path)
    with pytest.raises(CheckpointError):
        load_graph(path)
