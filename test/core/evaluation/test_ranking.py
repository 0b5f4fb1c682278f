# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The blocked ranking against one dense matrix in double precision, worked out item by item."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.errors import ShapeError
from robollm_core.evaluation.ranking import Blocks, rank_all, stack


def dense_scores(queries, references, starts, scale):
    """(n, items) float64, every cell by the definition of the soft maximum."""
    ends = [*starts[1:], len(references)]
    similarity = queries.astype(np.float64) @ references.astype(np.float64).T
    columns = []
    for start, end in zip(starts, ends, strict=True):
        own = similarity[:, start:end]
        if math.isinf(scale):
            columns.append(own.max(axis=1))
        else:
            columns.append(np.log(np.exp(scale * own).mean(axis=1)) / scale)
    return np.stack(columns, axis=1)


def unit(rng, shape):
    rows = rng.normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "counts": st.lists(st.integers(1, 9), min_size=1, max_size=30),
        "queries": st.integers(1, 12),
        "width": st.integers(1, 8),
        "scale": st.sampled_from([math.inf, 1.0, 17.8, 100.0]),
        "rows": st.integers(1, 40),
        "cells": st.integers(1, 200),
        "half": st.booleans(),
    }
)


@settings(deadline=None, max_examples=150)
@given(CASES)
def test_any_blocks_give_the_places_of_the_dense_matrix(case):
    rng = np.random.default_rng(case["seed"])
    starts = np.cumsum([0, *case["counts"][:-1]])
    references = unit(rng, (sum(case["counts"]), case["width"]))
    references = references.astype(np.float16) if case["half"] else references
    queries = unit(rng, (case["queries"], case["width"]))
    truths = rng.integers(-1, len(starts), case["queries"])
    blocks = Blocks(case["rows"], case["cells"])
    found = rank_all(queries, truths, references, starts, case["scale"], blocks)
    dense = dense_scores(queries, references, starts, case["scale"])
    np.testing.assert_allclose(found.best_scores, dense.max(axis=1), atol=2e-6)
    for i, truth in enumerate(truths):
        assert dense[i, found.best[i]] >= dense[i].max() - 2e-6
        if truth < 0:
            assert found.ranks[i] == 0 and found.true_scores[i] == -math.inf
            continue
        assert found.true_scores[i] == pytest.approx(dense[i, truth], abs=2e-6)
        others = np.delete(dense[i], truth)
        # what lies within rounding of a tie may fall either way, all else may not
        low = 1 + np.count_nonzero(others >= dense[i, truth] + 8e-6)
        high = 1 + np.count_nonzero(others >= dense[i, truth] - 8e-6)
        assert low <= found.ranks[i] <= high


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 300))
def test_the_blocks_do_not_change_the_answer(seed, rows, cells):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, 20)
    starts = np.cumsum(counts) - counts
    references, queries = unit(rng, (counts.sum(), 16)), unit(rng, (9, 16))
    truths = rng.integers(0, 20, 9)
    whole = rank_all(queries, truths, references, starts, 20.0, Blocks(10**6, 10**6))
    parts = rank_all(queries, truths, references, starts, 20.0, Blocks(rows, cells))
    assert (whole.ranks == parts.ranks).all() and (whole.best == parts.best).all()
    np.testing.assert_allclose(whole.best_scores, parts.best_scores, atol=1e-6)


@pytest.mark.parametrize("scale", [math.inf, 17.8])
@pytest.mark.parametrize("length", [1.0, 60.0])
def test_equal_items_tie_against_the_truth_wherever_they_stand(scale, length):
    rng = np.random.default_rng(3)
    twins = length * unit(rng, (2, 384))
    others = -twins.mean(axis=0) + 0.1 * rng.normal(size=(60, 384)).astype(np.float32)
    # copies of the same two references at places where BLAS sums in another order
    gallery = {str(i): others[2 * i : 2 * i + 2] for i in range(30)}
    for name in ("3", "11", "29"):
        gallery[name] = twins
    references, starts = stack(gallery, sorted(gallery, key=int))
    queries = np.repeat(length * unit(rng, (1, 384)) + twins[:1], 7, axis=0)
    for truth in (3, 11, 29):
        truths = np.full(7, truth)
        for blocks in (Blocks(), Blocks(7, 50), Blocks(1, 1)):
            found = rank_all(queries, truths, references, starts, scale, blocks)
            assert found.ranks.tolist() == [3] * 7
            assert set(found.best.tolist()) <= {3, 11, 29}


def test_a_gallery_of_one_item_places_it_first():
    found = rank_all(np.eye(2, dtype=np.float32), np.zeros(2, np.int64),
                     np.zeros((3, 2), np.float32), np.zeros(1, np.int64), 5.0)  # fmt: skip
    assert found.ranks.tolist() == [1, 1] and found.best.tolist() == [0, 0]


def test_references_come_from_a_mapped_file(tmp_path):
    rng = np.random.default_rng(0)
    rows = unit(rng, (50, 8)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    queries, starts, truths = unit(rng, (4, 8)), np.arange(0, 50, 5), np.arange(4)
    here = rank_all(queries, truths, rows, starts, 9.0, Blocks(12, 20))
    there = rank_all(queries, truths, mapped, starts, 9.0, Blocks(12, 20))
    assert (here.ranks == there.ranks).all() and (here.best_scores == there.best_scores).all()


def test_what_does_not_fit_is_refused():
    rows, starts = np.zeros((4, 3), np.float32), np.array([0, 2])
    asked, truths = np.zeros((2, 3), np.float32), np.array([0, 1])
    rank_all(asked, truths, rows, starts, 1.0)
    for changed in (
        {"queries": np.zeros((2, 4), np.float32)},
        {"truths": np.array([0])},
        {"truths": np.array([0, 2])},
        {"truths": np.array([0, -2])},
        {"starts": np.array([0, 4])},
        {"starts": np.array([1, 2])},
        {"starts": np.array([0, 2, 2])},
        {"starts": np.array([], np.int64)},
    ):
        fitting = {"queries": asked, "truths": truths, "references": rows, "starts": starts}
        with pytest.raises(ShapeError):
            rank_all(**{**fitting, **changed}, scale=1.0)
