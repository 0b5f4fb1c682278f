# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Run lengths are those that pycocotools reads."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from robollm_core.data import rle
from robollm_core.errors import DatasetError
from robollm_core.types import Instance


@given(st.integers(0, 2**32 - 1))
def test_an_instance_survives(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2).tolist()
    x0, y0 = int(rng.integers(0, width)), int(rng.integers(0, height))
    x1, y1 = int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1))
    mask = rng.random((y1 - y0, x1 - x0)) < rng.random()
    whole = np.zeros((height, width), bool)
    whole[y0:y1, x0:x1] = mask
    tree = json.loads(
        json.dumps(rle.encode_instance(Instance((x0, y0, x1, y1), mask, 1.0), (height, width)))
    )
    assert tree["size"] == [height, width]
    np.testing.assert_array_equal(coco.decode(tree), whole)
    np.testing.assert_array_equal(rle.decode(tree), whole)
    assert coco.area(tree) == np.count_nonzero(whole)
    # what pycocotools itself makes of the whole mask, character by character
    assert (
        tree["counts"] == coco.encode(np.asfortranarray(whole.astype(np.uint8)))["counts"].decode()
    )


def test_runs_go_down_the_columns():
    # uncompressed run lengths by hand: 3 off, 2 on, 4 off in column order
    instance = Instance((1, 0, 2, 2), np.ones((2, 1), bool), 1.0)
    expected = coco.frPyObjects({"size": [3, 3], "counts": [3, 2, 4]}, 3, 3)
    assert rle.encode_instance(instance, (3, 3))["counts"] == expected["counts"].decode()


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"size": [3, 3]},
        {"size": 3, "counts": "a"},
        {"size": ["a", 1], "counts": ""},
        {"size": [4, 4], "counts": ""},  # covers nothing: pycocotools would leave garbage
        {"size": [4, 4], "counts": "00"},
        {"size": [-1, 4], "counts": "1"},
        {"size": [10_000_000, 10_000_000], "counts": "0"},
    ],
)
def test_wrong_trees_are_refused(tree):
    with pytest.raises(DatasetError, match="RLE"):
        rle.decode(tree)
