# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How a network lays items out, against definitions written out as loops."""

import io
import itertools
import math

import numpy as np
import pytest
import small_sets
from PIL import Image

from robollm_core.data.armbench_identification import read_identification
from robollm_core.errors import DatasetError
from robollm_core.study import plots
from robollm_core.study.maps import (
    Layout,
    choose_pictures,
    cosines,
    describe,
    draw_map,
    purity,
)


def scattered(items, pictures, spread, seed=0):
    """Unit vectors around random directions, and their items."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(items), pictures)
    vectors = rng.normal(size=(items, 8))[labels] + spread * rng.normal(size=(len(labels), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def test_alignment_and_uniformity_are_those_of_the_paper():
    vectors, labels = scattered(4, 5, 0.3)
    apart, close = [], []
    for i, j in itertools.combinations(range(len(labels)), 2):
        distance = math.dist(vectors[i].astype(float), vectors[j].astype(float)) ** 2
        apart.append(math.exp(-2.0 * distance))
        if labels[i] == labels[j]:
            close.append(distance)
    figures = describe(vectors, labels)
    assert figures["alignment"] == pytest.approx(sum(close) / len(close), abs=1e-5)
    assert figures["uniformity"] == pytest.approx(math.log(sum(apart) / len(apart)), abs=1e-5)


def test_cosines_are_of_every_pair_once():
    vectors, labels = scattered(3, 4, 0.5)
    positive, negative = cosines(vectors, labels)
    assert (len(positive), len(negative)) == (3 * 6, 66 - 18)
    wanted = [
        float(vectors[i] @ vectors[j])
        for i, j in itertools.combinations(range(12), 2)
        if labels[i] != labels[j]
    ]
    assert sorted(negative) == pytest.approx(sorted(wanted), abs=1e-6)


@pytest.mark.parametrize(
    ("clusters", "labels", "wanted"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 0, 0], [0, 0, 1, 2], 0.5),
        ([0, 1, 2, 0], [0, 0, 0, 1], 0.75),
    ],
)
def test_purity_is_the_share_of_the_commonest_item(clusters, labels, wanted):
    assert purity(clusters, np.asarray(labels)) == wanted


def test_a_better_layout_is_purer_and_better_aligned():
    tight, loose = (describe(*scattered(6, 6, spread)) for spread in (0.05, 1.5))
    assert tight["purity"] == 1.0 > loose["purity"]
    assert tight["alignment"] < loose["alignment"]
    assert tight["positive_cosine"] > loose["positive_cosine"]


def test_pictures_are_of_the_val_split_item_by_item(tmp_path):
    split = read_identification(small_sets.write_picks(tmp_path), "val")
    pictures, labels = choose_pictures(split)
    # two picks of three views, and two references, of each of four items
    assert np.bincount(labels).tolist() == [8, 8, 8, 8]
    assert len(set(pictures)) == len(pictures) == 32
    for number in range(4):
        own = {str(p.path) for p, item in zip(pictures, labels, strict=True) if item == number}
        items = {f"{item:02d}" for item in range(8, 12) if any(f"-{item:02d}-" in p for p in own)}
        (item,) = items
        assert sum(f"/P{item}/" in path for path in own) == 2


def test_a_split_of_one_item_is_refused(tmp_path):
    split = read_identification(small_sets.write_picks(tmp_path), "val")
    one = type(split)(
        picks=[pick for pick in split.picks if pick.item_id == "P08"], references=split.references
    )
    with pytest.raises(DatasetError, match="two items"):
        choose_pictures(one)


def test_a_map_keeps_neighbours_together_and_is_the_same_again():
    vectors, labels = scattered(4, 8, 0.05)
    layout = Layout(vectors, labels, {})
    places, items = draw_map(layout)
    assert places.shape == (32, 2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert np.mean(items[distance.argmin(1)] == items) == 1.0
    assert np.array_equal(draw_map(layout)[0], places)


@pytest.mark.slow
def test_the_picture_of_seven_maps_is_small():
    layouts = {f"arm{n}": Layout(*scattered(60, 14, 0.4, n), {}) for n in range(7)}
    data = plots.maps(layouts)
    assert len(data) < 60_000
    assert np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).std() > 1
