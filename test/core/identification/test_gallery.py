# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How the references of an item become one score; embedding is tested with the stage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robollm_core.errors import ArtifactError
from robollm_core.identification.gallery import item_scores
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.furniture import reference_scale
from robollm_core.types import EngineSpec

cosines = arrays.arrays(np.float32, (3, 7), elements=st.floats(-1, 1, width=32))
scales = st.floats(0.01, 1e4)


@given(cosines, scales)
def test_a_score_is_the_soft_maximum_of_its_references(similarity, scale):
    groups = ((0, 2), (2, 3), (3, 7))
    scores = item_scores(similarity, np.array([start for start, _ in groups]), scale)
    assert scores.dtype == np.float32 and scores.shape == (3, 3)
    for row, got in zip(similarity.astype(np.float64), scores, strict=True):
        for (start, end), score in zip(groups, got, strict=True):
            own = row[start:end]
            top = own.max()
            wanted = (
                top + math.log(sum(math.exp(scale * (s - top)) for s in own) / len(own)) / scale
            )
            assert score == pytest.approx(wanted, abs=1e-4)
            assert own.mean() - 1e-4 <= score <= top + 1e-6


@given(cosines)
def test_without_a_scale_the_best_reference_decides(similarity):
    scores = item_scores(similarity, np.array([0, 4]), math.inf)
    np.testing.assert_array_equal(scores[:, 0], similarity[:, :4].max(axis=1))
    np.testing.assert_array_equal(scores[:, 1], similarity[:, 4:].max(axis=1))


@given(cosines, scales)
def test_with_one_reference_each_a_score_is_its_cosine(similarity, scale):
    np.testing.assert_array_equal(item_scores(similarity, np.arange(7), scale), similarity)


def test_references_that_agree_outweigh_a_single_odd_one():
    similarity = np.array([[0.90, 0.10, 0.10, 0.86, 0.85, 0.84]], np.float32)
    starts = np.array([0, 3])
    assert item_scores(similarity, starts, math.inf).argmax() == 0
    assert item_scores(similarity, starts, 16.0).argmax() == 1


def sidecar(meta):
    return Sidecar(stage="identification", spec=EngineSpec((), ()), meta=meta)


def test_a_sidecar_says_at_which_scale_references_are_put_together():
    assert reference_scale(sidecar({"scale": 16.5})) == 16.5
    assert reference_scale(sidecar({})) == math.inf


@pytest.mark.parametrize("value", [0, -1.0, True, "16", None, math.nan, [1]])
def test_a_wrong_scale_is_refused(value):
    with pytest.raises(ArtifactError, match=r"meta\.scale"):
        reference_scale(sidecar({"scale": value}))
