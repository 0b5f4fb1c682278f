# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong labels and fewer items: seeded, of training picks alone, and counted."""

import numpy as np
import pytest
import small_sets

from robollm_core.data.armbench_identification import read_identification
from robollm_core.errors import ConfigError
from robollm_core.training.labels import (
    catalogue_looks,
    keep_items,
    look,
    most_alike,
    noisy_labels,
    training_labels,
)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    root = small_sets.write_picks(tmp_path_factory.mktemp("picks"))
    return read_identification(root, "train")


def changed(split, **values):
    settings = {"share": 1.0, "noise": 0.0, "kind": "uniform", "seed": 3, **values}
    return training_labels(split, **settings)


def test_without_noise_and_share_nothing_changes(split):
    made = changed(split)
    assert made.split is split and made.changed == 0 and made.items == 8


def test_noise_hits_the_share_it_says():
    labels = np.arange(20000) % 7
    wrong = noisy_labels(labels, 7, 0.2, seed=1)
    assert np.mean(wrong != labels) == pytest.approx(0.2, abs=0.01)
    shifts = np.bincount((wrong - labels)[wrong != labels] % 7, minlength=7)
    assert shifts[0] == 0 and shifts[1:].min() > 0.85 * shifts[1:].mean()
    assert np.array_equal(wrong, noisy_labels(labels, 7, 0.2, seed=1))
    assert not np.array_equal(wrong, noisy_labels(labels, 7, 0.2, seed=2))


def test_more_noise_only_adds():
    labels = np.arange(500) % 7
    less, more = (noisy_labels(labels, 7, chance, seed=1) for chance in (0.05, 0.2))
    hit = less != labels
    assert hit.any() and np.array_equal(less[hit], more[hit])


def test_who_is_mistaken_for_nobody_keeps_the_label():
    labels, rivals = np.array([0, 1, 2]), np.array([2, -1, 0])
    assert noisy_labels(labels, 3, 1.0, 0, rivals).tolist() == [2, 1, 0]


@pytest.mark.parametrize("kind", ["uniform", "lookalike"])
def test_labels_change_and_pictures_do_not(split, kind):
    made = changed(split, noise=0.5, kind=kind)
    different = [a.item_id != b.item_id for a, b in zip(split.picks, made.split.picks, strict=True)]
    assert made.changed == sum(different) > 0
    for before, after in zip(split.picks, made.split.picks, strict=True):
        assert (before.pick_id, before.views, before.manifest) == (
            after.pick_id,
            after.views,
            after.manifest,
        )
    assert made.split.references is split.references
    assert made == changed(split, noise=0.5, kind=kind)


def test_a_person_errs_by_the_most_alike_of_the_container(split):
    items = [f"P{number:02d}" for number in range(8)]
    numbers = {name: index for index, name in enumerate(items)}
    looks = catalogue_looks(split, items)
    made = changed(split, noise=0.9, kind="lookalike")
    for before, after in zip(split.picks, made.split.picks, strict=True):
        if before.item_id != after.item_id:
            similarity = {
                name: float(looks[numbers[name]] @ looks[numbers[before.item_id]])
                for name in before.manifest
                if name != before.item_id
            }
            assert after.item_id == max(similarity, key=similarity.get)
            assert after.item_id in before.manifest
    lonely = type(split.picks[0])("x", "P00", ("P00", "unknown"), {})
    assert most_alike(lonely, numbers, looks) == -1


def test_looks_tell_colour_and_pattern():
    red, blue = np.zeros((2, 32, 32, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    striped = red.copy()
    striped[::2] = 0
    almost = red.copy()
    almost[..., 0] = 210
    left = red.copy()
    left[:, 16:] = 0
    right = left[:, ::-1].copy()
    table = look(np.stack([red, almost, blue, striped, left, right]))
    assert np.linalg.norm(table, axis=1) == pytest.approx(1.0, abs=1e-5)
    near = table @ table[0]
    assert near[1] > near[3] > near[2]
    assert float(table[4] @ table[5]) < 0.1  # same colours, opposite pictures


@pytest.mark.parametrize(("share", "count"), [(0.2, 2), (0.5, 4), (0.8, 6), (0.01, 2), (1.0, 8)])
def test_a_share_keeps_items_whole(split, share, count):
    made = changed(split, share=share)
    names = [pick.item_id for pick in made.split.picks]
    assert made.items == len(set(names)) == count and len(names) == 2 * count
    assert made.split == changed(split, share=share).split


def test_a_larger_share_only_adds(split):
    smaller, larger = (
        {pick.item_id for pick in keep_items(split, share, 5).picks} for share in (0.3, 0.6)
    )
    assert smaller < larger
    other = {pick.item_id for pick in keep_items(split, 0.6, 6).picks}
    assert other != larger


@pytest.mark.parametrize(
    "wrong",
    [{"share": 0.0}, {"share": 1.1}, {"noise": -0.1}, {"noise": 1.0}, {"kind": "typo"}],
)
def test_values_out_of_range_are_refused(split, wrong):
    with pytest.raises(ConfigError):
        changed(split, **wrong)
