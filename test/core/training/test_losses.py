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
    class_weights,
    contrastive_loss,
    label_contrastive_loss,
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
