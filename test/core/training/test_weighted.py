# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""LACLN, CLCE and SCL-RHE against their equations in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.errors import ConfigError, ShapeError
from robollm_core.training.weighted import Robustness, clce_loss, lacln_loss, scl_rhe_loss

ITEMS = [0, 0, 1, 1, 1, 2]


def unit_rows(count, width=4, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sets(i, items):
    positives = [p for p in range(len(items)) if p != i and items[p] == items[i]]
    return positives, [n for n in range(len(items)) if items[n] != items[i]]


def lacln(z, items, tau):
    terms = []
    for i in range(len(items)):
        positives, negatives = sets(i, items)
        if not positives:
            continue
        e = np.exp(z @ z[i] / tau)
        a, b = e[positives].sum(), 0.0
        if negatives:
            b = len(negatives) * (e[negatives] ** 2).sum() / e[negatives].sum()
        terms.append(-math.log(a / (a + b) / len(positives)))
    return np.mean(terms)


def scl_rhe(z, items, tau, told):
    def tilted(s, beta):
        return (np.exp((beta + 1) * s).mean() / np.exp(beta * s).mean()) if len(s) else 0.0

    least, minus, terms = math.exp(-1 / tau), 1 - told.tau_plus, []
    easy = told.beta if told.reading == "printed" else -told.beta
    for i in range(len(items)):
        positives, negatives = sets(i, items)
        if not positives:
            continue
        p, n = z[positives] @ z[i] / tau, z[negatives] @ z[i] / tau
        pos = (tilted(p, easy) - minus * tilted(n, easy)) / told.tau_plus
        neg = (tilted(n, told.beta) - told.tau_plus * tilted(p, told.beta)) / minus
        pos = told.positive_weight * max(pos, least)
        neg = told.negative_weight * max(neg, least)
        terms.append(-math.log(pos / (pos + neg) / len(positives)))
    return np.mean(terms)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    items=st.lists(st.integers(0, 3), min_size=5, max_size=9),  # 5 of 4 items: one pair at least
    tau=st.sampled_from([0.1, 0.5, 2.0]),
)
def test_lacln_equals_its_equation(seed, items, tau):
    z = unit_rows(len(items), seed=seed)
    got = lacln_loss(torch.tensor(z), torch.tensor(items), tau)
    assert float(got) == pytest.approx(lacln(z, items, tau), rel=1e-8, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    items=st.lists(st.integers(0, 3), min_size=5, max_size=9),
    told=st.builds(
        Robustness,
        beta=st.sampled_from([0.0, 0.7, 2.0]),
        tau_plus=st.sampled_from([0.05, 0.3, 0.9]),
        positive_weight=st.sampled_from([1.0, 2.0]),
        negative_weight=st.sampled_from([1.0, 5.0]),
        reading=st.sampled_from(["intent", "printed"]),
    ),
)
def test_scl_rhe_equals_its_equation_in_both_readings(seed, items, told):
    z = unit_rows(len(items), seed=seed)
    got = scl_rhe_loss(torch.tensor(z), torch.tensor(items), 0.5, told)
    assert float(got) == pytest.approx(scl_rhe(z, items, 0.5, told), rel=1e-7, abs=1e-9)


def test_clce_is_the_blend_of_both():
    z, logits = unit_rows(6, seed=1), np.random.default_rng(2).normal(size=(6, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    entropy = -np.log(p[np.arange(6), ITEMS]).mean()
    got = clce_loss(torch.tensor(z), torch.tensor(ITEMS), torch.tensor(logits))
    assert float(got) == pytest.approx(0.1 * entropy + 0.9 * lacln(z, ITEMS, 0.5), rel=1e-9)


def test_lacln_pushes_the_hard_negative_hardest():
    z = torch.tensor(unit_rows(1, seed=3)).repeat(4, 1)
    z[2], z[3] = torch.tensor(unit_rows(1, seed=4)), -z[0]
    logits = (z @ z.T).requires_grad_()
    a = (logits[0, 1] / 0.5).exp()
    n = (logits[0, 2:] / 0.5).exp()
    (-(a / (a + 2 * (n**2).sum() / n.sum())).log()).backward()
    weighted = logits.grad[0, 2:] / (logits[0, 2:] / 0.5).exp().detach()
    harder = int(logits[0, 2:].argmax())
    assert weighted[harder] > weighted[1 - harder]


def gradient_share_of_easy(reading):
    """Share of the pull on the easier of two positives in the gradient of row 0."""
    angles = torch.tensor([0.0, 0.2, 1.2, 3.0], dtype=torch.float64)
    z = torch.stack((angles.cos(), angles.sin()), dim=1).requires_grad_()
    told = Robustness(beta=2.0, tau_plus=0.5, reading=reading)
    items = torch.tensor([0, 0, 0, 1])
    scl_rhe_loss(z, items, 0.5, told).backward()
    tangent = torch.stack((-angles.sin(), angles.cos()), dim=1)
    turn = (z.grad * tangent).sum(1).abs()
    return float(turn[1] / (turn[1] + turn[2]))


def test_as_intended_easy_positives_count_less_than_as_printed():
    assert gradient_share_of_easy("intent") < gradient_share_of_easy("printed")


LOSSES = {
    "lacln": lambda z, items, tau: lacln_loss(z, items, tau),
    "clce": lambda z, items, tau: clce_loss(z, items, 3.0 * z, tau=tau),
    "intent": lambda z, items, tau: scl_rhe_loss(z, items, tau),
    "printed": lambda z, items, tau: scl_rhe_loss(
        z, items, tau, Robustness(tau_plus=0.4, reading="printed")
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    z = torch.tensor(unit_rows(6, seed=5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, torch.tensor(ITEMS), 0.5), (z,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("tau", [1e-3, 0.01, 0.5, 1e3])
@pytest.mark.parametrize("items", [[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 1, 1]])
def test_hard_batches_have_finite_values_and_gradients(name, tau, items):
    same = np.tile(unit_rows(1, seed=6), (4, 1))
    opposed = same * np.array([[1], [-1], [1], [-1]])
    for rows in (unit_rows(4, seed=7), same, opposed):
        z = torch.tensor(rows, dtype=torch.float32).requires_grad_()
        loss = LOSSES[name](z, torch.tensor(items), tau)
        loss.backward()
        assert bool(loss.isfinite()) and bool(z.grad.isfinite().all())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_the_loss_of_float32(name, dtype):
    full = torch.tensor(unit_rows(6, seed=8)).to(dtype).float()
    half = full.to(dtype).requires_grad_()
    items = torch.tensor(ITEMS)
    with torch.autocast("cpu", torch.bfloat16):
        got = LOSSES[name](half, items, 0.1)
    assert got.dtype == torch.float32
    assert float(got.detach()) == pytest.approx(float(LOSSES[name](full, items, 0.1)), rel=5e-3)
    got.backward()
    assert bool(half.grad.isfinite().all())


def test_one_class_alone_has_nothing_to_learn_from():
    z = torch.tensor(unit_rows(4, seed=9)).requires_grad_()
    loss = lacln_loss(z, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(3)) and not z.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_positive_is_refused(name):
    z = torch.tensor(unit_rows(3, seed=10))
    with pytest.raises(ShapeError, match="two images"):
        LOSSES[name](z, torch.arange(3), 0.5)
    with pytest.raises(ShapeError, match="temperature"):
        LOSSES[name](z, torch.zeros(3, dtype=torch.int64), 0.0)


@pytest.mark.parametrize(
    "wrong",
    [{"beta": -1.0}, {"tau_plus": 0.0}, {"tau_plus": 1.0}, {"reading": "third"}]
    + [{"positive_weight": 0.0}, {"negative_weight": -1.0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        Robustness(**wrong)
