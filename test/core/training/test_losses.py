# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Losses against sums written out by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from robollm_core.errors import ShapeError
from robollm_core.training.losses import (
    LOG_SCALE_LIMITS,
    centroid_triplet_loss,
    class_weights,
    contrastive_loss,
    focal_loss,
    label_contrastive_loss,
    lifted,
    row_contrastive_loss,
    smoothed_cross_entropy,
)


def unit(rows: int, width: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, width, generator=generator), dim=1)


def oracle(query, reference, query_items, reference_items, scale):
    """Both directions with plain Python sums."""

    def direction(rows, columns, row_items, column_items):
        losses = []
        for i, row in enumerate(rows):
            weights = [math.exp(scale * float(np.dot(row, column))) for column in columns]
            own = [w for w, item in zip(weights, column_items, strict=True) if item == row_items[i]]
            if own:
                losses.append(-math.log(sum(own) / sum(weights)))
        return sum(losses) / len(losses)

    q, r = query.numpy().astype(float), reference.numpy().astype(float)
    return (
        direction(q, r, query_items, reference_items)
        + direction(r, q, reference_items, query_items)
    ) / 2


@pytest.mark.parametrize(
    ("query_items", "reference_items"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1]),
        ([0, 0, 1, 5], [0, 1, 1, 7, 7]),  # 5 and 7 serve as negatives only
    ],
)
def test_contrast_equals_the_written_out_sum(query_items, reference_items):
    query, reference = unit(len(query_items), seed=1), unit(len(reference_items), seed=2)
    got = contrastive_loss(
        query,
        reference,
        torch.tensor(query_items),
        torch.tensor(reference_items),
        torch.tensor(math.log(9.0)),
    )
    wanted = oracle(query, reference, query_items, reference_items, 9.0)
    assert float(got) == pytest.approx(wanted, rel=1e-5)


def test_one_row_an_item_is_the_cross_entropy_of_clip():
    query, reference, labels = unit(5, seed=3), unit(5, seed=4), torch.arange(5)
    logits = 4.0 * query @ reference.T
    wanted = (
        functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
    ) / 2
    got = contrastive_loss(query, reference, labels, labels, torch.tensor(math.log(4.0)))
    assert float(got) == pytest.approx(float(wanted), rel=1e-6)


def test_rows_of_one_item_are_not_each_others_negatives():
    # two picks of one item, embedded alike: by row this would cost log 2, by item nothing
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    items = torch.zeros(2, dtype=torch.int64)
    assert float(contrastive_loss(same, same, items, items, torch.tensor(3.0))) < 1e-6


@pytest.mark.parametrize(("log_scale", "limit"), [(50.0, 100.0), (-9.0, 1.0)])
def test_the_temperature_is_clamped_and_its_gradient_stops(log_scale, limit):
    query, reference, items = unit(4, seed=5), unit(4, seed=6), torch.arange(4)
    learned = torch.tensor(log_scale, requires_grad=True)
    loss = contrastive_loss(query, reference, items, items, learned)
    wanted = oracle(query, reference, [0, 1, 2, 3], [0, 1, 2, 3], limit)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-4)
    loss.backward()
    assert learned.grad is not None and float(learned.grad) == 0.0
    assert math.exp(LOG_SCALE_LIMITS[1]) == pytest.approx(100.0)


def test_half_precision_neither_overflows_nor_ruins_the_loss():
    query, reference, items = unit(6, seed=7), unit(6, seed=8), torch.arange(6)
    scale = torch.tensor(math.log(100.0))
    full = contrastive_loss(query, reference, items, items, scale)
    half = contrastive_loss(query.half(), reference.half(), items, items, scale)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(full), abs=0.05)


def test_no_common_item_is_refused():
    with pytest.raises(ShapeError, match="shares its item"):
        contrastive_loss(
            unit(2), unit(2), torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor(1.0)
        )


def test_items_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="items"):
        contrastive_loss(unit(3), unit(2), torch.arange(2), torch.arange(2), torch.tensor(1.0))


def test_label_contrast_equals_equation_5_1():
    items = [0, 0, 1, 1, 1, 2]  # the last row has no positive and no term
    z = unit(6, seed=9)
    wanted = []
    for i, item in enumerate(items):
        positives = [p for p in range(6) if p != i and items[p] == item]
        total = sum(math.exp(5.0 * float(z[i] @ z[a])) for a in range(6) if a != i)
        terms = [math.log(math.exp(5.0 * float(z[i] @ z[p])) / total) for p in positives]
        wanted += [-sum(terms) / len(terms)] if terms else []
    got = label_contrastive_loss(z, torch.tensor(items), torch.tensor(math.log(5.0)))
    assert float(got) == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)


def test_label_contrast_has_a_finite_gradient():
    z = unit(6, seed=10).requires_grad_()
    label_contrastive_loss(z, torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor(2.0)).backward()
    assert z.grad is not None and bool(torch.isfinite(z.grad).all())


def test_label_contrast_without_a_pair_is_refused():
    with pytest.raises(ShapeError, match="two images"):
        label_contrastive_loss(unit(3), torch.arange(3), torch.tensor(1.0))


def test_class_weights_raise_the_rare_and_keep_the_mean():
    counts = torch.tensor([10, 80, 10])
    assert class_weights(counts, 0.0).tolist() == pytest.approx([1.0, 1.0, 1.0])
    full = class_weights(counts, 1.0)
    assert full.tolist() == pytest.approx([10 / 3, 10 / 24, 10 / 3])
    assert float((full * counts).sum() / counts.sum()) == pytest.approx(1.0)


def test_a_class_without_images_gets_no_weight():
    assert class_weights(torch.tensor([4, 0, 4]), 1.0).tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ShapeError):
        class_weights(torch.tensor([0, 0]), 1.0)


def softmax(row):
    row = np.exp(row - row.max())
    return row / row.sum()


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def unit_rows(count, width, seed):
    rows = numbers(count, width, seed=seed)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_row_contrast_takes_the_diagonal_alone(seed):
    q, r = unit_rows(6, 4, seed), unit_rows(6, 4, seed + 50)
    s = 7.0 * q @ r.T
    wanted = np.mean([-np.log(softmax(s[i])[i]) - np.log(softmax(s[:, i])[i]) for i in range(6)])
    got = row_contrastive_loss(torch.tensor(q), torch.tensor(r), torch.tensor(math.log(7.0)))
    assert float(got) == pytest.approx(wanted / 2, rel=1e-6)


def test_row_contrast_makes_one_item_its_own_negative():
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = row_contrastive_loss(same, same, torch.tensor(3.0))
    assert float(loss) == pytest.approx(math.log(2.0))


@pytest.mark.parametrize("seed", range(5))
def test_triplet_compares_with_the_nearest_wrong_centroid(seed):
    rng = np.random.default_rng(seed)
    q, r = unit_rows(7, 3, seed), unit_rows(9, 3, seed + 50)
    query_items, reference_items = rng.integers(0, 4, 7), rng.integers(0, 3, 9)
    wanted = []
    for row, item in zip(q, query_items, strict=True):
        gaps = {
            k: float(((row - r[reference_items == k].mean(axis=0)) ** 2).sum())
            for k in set(reference_items.tolist())
        }
        if item in gaps:
            others = min(gap for k, gap in gaps.items() if k != item)
            wanted.append(max(0.0, gaps[item] - others + 0.3))
    got = centroid_triplet_loss(
        torch.tensor(q), torch.tensor(r), torch.tensor(query_items), torch.tensor(reference_items)
    )
    assert float(got) == pytest.approx(np.mean(wanted), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_smoothing_spreads_a_share_of_the_label(smoothing, weighted):
    logits, labels = numbers(6, 4, seed=1), np.array([0, 1, 2, 3, 1, 1])
    weights = np.array([1.0, 2.0, 0.5, 3.0]) if weighted else np.ones(4)
    soft = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    terms = [
        -float((weights * y * np.log(softmax(row))).sum())
        for y, row in zip(soft, logits, strict=True)
    ]
    wanted = sum(terms) / weights[labels].sum()
    given = torch.tensor(weights) if weighted else None
    got = smoothed_cross_entropy(torch.tensor(logits), torch.tensor(labels), smoothing, given)
    assert float(got) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_turns_from_what_is_right(gamma):
    logits, labels = numbers(6, 4, seed=2), np.array([0, 1, 2, 3, 1, 1])
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    own = np.array([softmax(row)[label] for row, label in zip(logits, labels, strict=True)])
    w = weights[labels]
    wanted = float((w * -((1 - own) ** gamma) * np.log(own)).sum() / w.sum())
    got = focal_loss(torch.tensor(logits), torch.tensor(labels), gamma, torch.tensor(weights))
    assert float(got) == pytest.approx(wanted, rel=1e-9)


ITEMS = torch.tensor([0, 0, 1, 1, 2, 3])
SCALE = torch.tensor(math.log(5.0), dtype=torch.float64)
OF_PAIRS = {
    "contrast": lambda a, b: contrastive_loss(a, b, ITEMS, ITEMS.flip(0), SCALE),
    "rows": lambda a, b: row_contrastive_loss(a, b, SCALE),
    "label": lambda a, b: label_contrastive_loss(
        torch.cat((lifted(a), lifted(b))), ITEMS.repeat(2), SCALE
    ),
    "triplet": lambda a, b: centroid_triplet_loss(a, b, ITEMS, ITEMS.flip(0)),
    "smoothed": lambda a, b: smoothed_cross_entropy(a, ITEMS, 0.1) + lifted(b).sum(),
    "focal": lambda a, b: focal_loss(a, ITEMS, 1.5) + lifted(b).sum(),
}


@pytest.mark.parametrize("name", OF_PAIRS)
def test_gradients_are_those_of_finite_differences(name):
    rows = [torch.tensor(unit_rows(6, 5, seed)).requires_grad_() for seed in (3, 4)]
    assert torch.autograd.gradcheck(OF_PAIRS[name], tuple(rows))


@pytest.mark.parametrize("name", OF_PAIRS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_the_loss_of_float32(name, dtype):
    full = [torch.tensor(unit_rows(6, 5, seed)).to(dtype).float() for seed in (3, 4)]
    half = [rows.to(dtype).requires_grad_() for rows in full]
    with torch.autocast("cpu", torch.bfloat16):
        got = OF_PAIRS[name](*half)
    assert got.dtype == torch.float32
    assert float(got.detach()) == pytest.approx(float(OF_PAIRS[name](*full)), rel=5e-3)
    got.backward()
    assert all(bool(rows.grad.isfinite().all()) for rows in half)


@pytest.mark.parametrize("scale", [-50.0, 0.0, 4.6, 50.0])
@pytest.mark.parametrize("items", [[0, 0, 0, 0], [0, 0, 1, 2]])
def test_hard_batches_have_finite_values_and_gradients(scale, items):
    t, labels = torch.tensor(scale), torch.tensor(items)
    for rows in (unit(4, seed=11), unit(1, seed=12).repeat(4, 1), -unit(1, seed=13).repeat(4, 1)):
        rows = rows.clone().requires_grad_()
        opposite = -rows.detach()
        loss = contrastive_loss(rows, opposite, labels, labels, t)
        loss = loss + label_contrastive_loss(rows, labels, t)
        loss = loss + row_contrastive_loss(rows, opposite, t)
        if len(set(items)) > 1:
            loss = loss + centroid_triplet_loss(rows, opposite, labels, labels)
        loss.backward()
        assert bool(loss.isfinite()) and bool(rows.grad.isfinite().all())


@pytest.mark.parametrize("size", [0.0, 1e4, -1e4])
def test_sure_classifiers_have_finite_losses(size):
    logits = torch.zeros(4, 3)
    logits[:, 0] = size
    logits.requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    loss = focal_loss(logits, labels, 0.5) + smoothed_cross_entropy(logits, labels, 0.1)
    loss.backward()
    assert bool(loss.isfinite()) and bool(logits.grad.isfinite().all())


def test_rows_and_triplets_with_nothing_to_compare_are_refused():
    with pytest.raises(ShapeError, match="pair every query"):
        row_contrastive_loss(unit(2), unit(3), torch.tensor(1.0))
    with pytest.raises(ShapeError, match="triplet"):
        centroid_triplet_loss(unit(2), unit(2), torch.tensor([0, 0]), torch.tensor([0, 0]))
    with pytest.raises(ShapeError, match="triplet"):
        centroid_triplet_loss(unit(2), unit(2), torch.tensor([0, 0]), torch.tensor([1, 2]))
