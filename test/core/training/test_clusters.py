# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels and the margin softmax over their centres."""

import math

import numpy as np
import pytest
import torch

from robollm_core.errors import DatasetError, ShapeError
from robollm_core.training.clusters import (
    Clusters,
    margin_softmax_loss,
    pseudo_labels,
    sample_centres,
)


def unit_rows(count, width=4, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def three_heaps(count=30):
    rows = np.repeat(np.eye(3), count // 3, axis=0)
    rows = rows + 0.05 * np.random.default_rng(1).normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_heaps_become_clusters_with_unit_centres():
    labels, centres = pseudo_labels(three_heaps(), 3, seed=4)
    assert [len(set(labels[i : i + 10].tolist())) for i in (0, 10, 20)] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3
    assert np.linalg.norm(centres, axis=1) == pytest.approx(1.0)
    assert (three_heaps() @ centres.T).argmax(axis=1).tolist() == labels.tolist()


def test_clusters_follow_from_the_seed():
    rows = unit_rows(60)
    first, again = pseudo_labels(rows, 9, seed=1), pseudo_labels(rows, 9, seed=1)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], pseudo_labels(rows, 9, seed=2)[1])


def test_pictures_that_cannot_be_clustered_are_refused():
    with pytest.raises(DatasetError, match="two pictures"):
        pseudo_labels(unit_rows(1), 3, seed=0)
    with pytest.raises(DatasetError, match="finite"):
        pseudo_labels(np.full((4, 2), np.nan), 2, seed=0)
    assert len(pseudo_labels(unit_rows(4), 9, seed=0)[1]) == 4


def test_a_step_looks_at_every_centre_that_occurs():
    labels = torch.tensor([7, 3, 3])
    torch.manual_seed(0)
    assert sample_centres(labels, 9, 0.0).tolist() == [3, 7]
    assert sample_centres(labels, 9, 1.0).tolist() == list(range(9))
    counts = [len(sample_centres(labels, 100, 0.5)) for _ in range(50)]
    assert 45 < np.mean(counts) < 57 and len(set(counts)) > 1


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_margin_softmax_equals_its_equation(margin, seed):
    z, labels = unit_rows(6, seed=seed), np.array([0, 1, 2, 2, 4, 0])
    centres = np.random.default_rng(seed + 9).normal(size=(5, 4))  # of any length
    cosine = z @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T
    terms = []
    for row, label in zip(cosine, labels, strict=True):
        right = math.exp(16 * (row[label] - margin))
        wrong = sum(math.exp(16 * c) for j, c in enumerate(row) if j != label)
        terms.append(-math.log(right / (right + wrong)))
    got = margin_softmax_loss(
        torch.tensor(z), torch.tensor(labels), torch.tensor(centres), margin=margin
    )
    assert float(got) == pytest.approx(np.mean(terms), rel=1e-8)


def test_gradients_are_those_of_finite_differences():
    z = torch.tensor(unit_rows(6, seed=5)).requires_grad_()
    centres = torch.tensor(unit_rows(3, seed=6)).requires_grad_()
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda a, b: margin_softmax_loss(a, labels, b), (z, centres))


@pytest.mark.parametrize("scale", [1e-3, 16.0, 1e4])
@pytest.mark.parametrize("count", [1, 4])
def test_hard_batches_have_finite_values_and_gradients(scale, count):
    for rows in (unit_rows(4, seed=7), np.tile(unit_rows(1, seed=8), (4, 1))):
        z = torch.tensor(rows, dtype=torch.float32).requires_grad_()
        centres = torch.cat((torch.zeros(1, 4), -z.detach()))[:count]
        loss = margin_softmax_loss(z, torch.zeros(4, dtype=torch.int64), centres, scale=scale)
        loss.backward()
        assert bool(loss.isfinite()) and bool(z.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_the_loss_of_float32(dtype):
    full = torch.tensor(unit_rows(6, seed=9)).to(dtype).float()
    centres, labels = torch.tensor(unit_rows(3, seed=6)).float(), torch.tensor([0, 1, 2, 2, 1, 0])
    half = full.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = margin_softmax_loss(half, labels, centres)
    assert got.dtype == torch.float32
    assert float(got.detach()) == pytest.approx(
        float(margin_softmax_loss(full, labels, centres)), rel=1e-5
    )
    got.backward()
    assert bool(half.grad.isfinite().all())


def test_labels_without_a_centre_are_refused():
    z, centres = torch.tensor(unit_rows(2)), torch.tensor(unit_rows(3))
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ShapeError, match="labels below"):
            margin_softmax_loss(z, torch.tensor(labels), centres)
    with pytest.raises(ShapeError, match="centres"):
        margin_softmax_loss(z, torch.tensor([0, 1]), centres[:, :2])
    with pytest.raises(ShapeError, match="labels"):
        margin_softmax_loss(z[:0], torch.zeros(0, dtype=torch.int64), centres)


def test_clusters_are_made_on_time_and_come_back():
    clusters = Clusters(30, 3, 3)
    steps = [step / 12 for step in range(13)]
    made = []
    for done in steps:
        if clusters.due(done, 4):
            clusters.make(three_heaps(), seed=1)
            made.append(done)
    assert made == [0.0, 3 / 12, 6 / 12, 9 / 12]
    again = Clusters(30, 3, 3)
    again.restore(clusters.state())
    assert again.labels.tolist() == clusters.labels.tolist() and again.made == 4
    assert np.array_equal(again.centres, clusters.centres)
    with pytest.raises(ValueError, match="other pictures"):
        Clusters(31, 3, 3).restore(clusters.state())
