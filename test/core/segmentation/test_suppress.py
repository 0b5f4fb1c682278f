# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from robollm_core.export.onnx import GraphPlan, build_graph
from robollm_core.segmentation.suppress import ROUNDS, box_overlaps, cluster_nms

mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv is the oracle; install extra [train]")


def greedy(boxes, iou):
    """mmcv's greedy NMS over boxes that are sorted already: indices kept."""
    # strictly falling scores, so that mmcv's own sorting cannot reorder equal ones
    scores = torch.linspace(1.0, 0.5, len(boxes))
    return sorted(mmcv_ops.nms(boxes, scores, iou)[1].tolist())


def kept(boxes, iou, **options):
    keep = cluster_nms(boxes, iou, torch.ones(len(boxes)), **options)
    return torch.nonzero(keep)[:, 0].tolist()


def random_boxes(count, seed, spread=200.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, spread, (count, 2))
    size = rng.uniform(1, 120, (count, 2))
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
def test_equals_mmcv_on_random_boxes(seed, iou):
    boxes = random_boxes(300, seed, spread=60.0 + 20 * seed)
    assert kept(boxes, iou) == greedy(boxes, iou)


def test_equals_mmcv_on_integer_boxes_whose_overlap_ties_with_the_threshold():
    rng = np.random.default_rng(3)
    corner = rng.integers(0, 12, (400, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.integers(1, 9, (400, 2))], 1)).float()
    for iou in (0.25, 0.5, 0.75):
        assert kept(boxes, iou) == greedy(boxes, iou)


def test_identical_boxes_keep_the_first_alone():
    boxes = torch.tensor([[5.0, 5.0, 40.0, 30.0]]).repeat(50, 1)
    assert kept(boxes, 0.5) == greedy(boxes, 0.5) == [0]


def test_zero_area_boxes_neither_drop_nor_are_dropped():
    point = torch.tensor([[10.0, 10.0, 10.0, 10.0], [10.0, 10.0, 10.0, 10.0]])
    line = torch.tensor([[10.0, 10.0, 30.0, 10.0]])
    whole = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    boxes = torch.cat([point, whole, line, point, whole])
    assert kept(boxes, 0.5) == greedy(boxes, 0.5) == [0, 1, 2, 3, 4, 5]


def chain(count):
    """Boxes that overlap their neighbours alone: greedy keeps every other one."""
    starts = torch.arange(float(count)) * 3.0
    end = torch.full((count,), 10.0)
    return torch.stack([starts, torch.zeros(count), starts + 10.0, end], 1)


def test_a_chain_of_as_many_links_as_there_are_rounds_is_exact():
    boxes = chain(ROUNDS + 1)
    assert kept(boxes, 0.5) == greedy(boxes, 0.5) == list(range(0, ROUNDS + 1, 2))
    assert kept(boxes, 0.5, rounds=ROUNDS - 1) != greedy(boxes, 0.5)


@pytest.mark.parametrize("count", [ROUNDS + 2, 60, 200])
def test_a_longer_chain_keeps_too_many_and_drops_nothing_that_greedy_keeps(count):
    boxes = chain(count)
    right, found = set(greedy(boxes, 0.5)), set(kept(boxes, 0.5))
    assert right < found
    assert min(found - right) > ROUNDS
    assert kept(boxes, 0.5, rounds=count) == sorted(right)


@pytest.mark.parametrize("seed", range(4))
def test_a_ramp_of_scores_over_crowded_boxes(seed):
    # the longest chains that proposals of one size could make: a box every 4 px, best in a corner
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:128:4, 0:96:4].reshape(2, -1)
    order = np.argsort(x + y - rng.uniform(0, 6, x.size))
    corner = np.stack([x, y], 1)[order] + rng.normal(0, 1.5, (x.size, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + 32], 1), dtype=torch.float32)
    assert kept(boxes, 0.7) == greedy(boxes, 0.7)
    # at this overlap they are longer than the rounds: 42 to 49 links
    assert set(kept(boxes, 0.5)) > set(greedy(boxes, 0.5))


def test_groups_are_mmcvs_batched_nms():
    boxes, groups = random_boxes(300, 5, 80.0), torch.arange(300) % 4
    scores = torch.linspace(1.0, 0.5, 300)
    expected = mmcv_ops.batched_nms(boxes, scores, groups, {"type": "nms", "iou_threshold": 0.5})
    apart = torch.stack([boxes[groups == group] for group in range(4)])
    keep = cluster_nms(apart, 0.5, torch.ones(apart.shape[:2]))
    found = [group + 4 * place for group, place in torch.nonzero(keep).tolist()]
    assert sorted(found) == sorted(expected[1].tolist())


def test_invalid_boxes_drop_none_and_are_not_kept():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 0.0, 60.0, 10.0]])
    keep = cluster_nms(boxes, 0.5, torch.tensor([0.0, 1.0, 1.0]))
    assert keep.tolist() == [0.0, 1.0, 1.0]


def test_overlaps_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [4.0, 4.0, 4.0, 4.0]])
    found = box_overlaps(boxes)
    assert found[0, 1] == pytest.approx(1 / 3)
    assert found[0, 2] == 0.0
    assert torch.isnan(found[2, 2])


def test_the_exported_graph_stores_no_matrix_of_pairs():
    class Keep(torch.nn.Module):
        def forward(self, boxes, valid):
            return cluster_nms(boxes, 0.5, valid)

    boxes = random_boxes(256, 1)
    plan = GraphPlan({"boxes": boxes, "valid": torch.ones(256)}, ("keep",), free_batch=False)
    assert len(build_graph(Keep(), plan)) < 256 * 256 // 2
