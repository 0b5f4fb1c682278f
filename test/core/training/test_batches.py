# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which items meet in a batch."""

import json

import numpy as np
import pytest
import small_sets

from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.training.batches import (
    SAMPLERS,
    ItemMemory,
    Sampler,
    build_table,
    draw_items,
    draw_pictures,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(scope="module")
def table(root):
    return build_table(read_identification(root, "train"))


def test_the_table_numbers_every_picture_once(table):
    assert len(table.pictures) == 16 * 3 + 8 * 2
    used = np.concatenate([*(rows.ravel() for rows in table.picks), *table.references])
    assert sorted(used.tolist()) == list(range(len(table.pictures)))
    for item, rows, references in zip(table.items, table.picks, table.references, strict=True):
        for row in rows:
            assert [table.pictures[i].path.stem for i in row] == list(VIEWS)
        assert {table.pictures[i].path.parent.name for i in references} == {item}


def test_items_without_a_reference_are_not_trained(root):
    table = build_table(read_identification(root, "test"))
    assert table.items == ("P12", "P13", "P14", "P15", "P17")
    # P17 is on no manifest; it knows who lay with it, the others do not know it
    assert [len(group) for group in table.mates] == [3, 3, 3, 3, 4]


def test_an_absent_view_is_marked(tmp_path):
    root = small_sets.write_picks(tmp_path)
    (root / "Picks" / "train-00-0" / "ToteWallRGB.jpg").unlink()
    table = build_table(read_identification(root, "train"))
    assert table.picks[0][0][2] == -1 and table.picks[0][1].min() >= 0


def test_one_item_is_too_few(tmp_path):
    root = small_sets.write_picks(tmp_path)
    for folder in (root / "Reference_Images").glob("*"):
        if folder.name != "P00":
            for file in folder.iterdir():
                file.unlink()
    with pytest.raises(DatasetError, match="two items"):
        build_table(read_identification(root, "train"))


@pytest.mark.parametrize("group", [1, 3, 6])
@pytest.mark.parametrize("count", [2, 5, 8, 50])
def test_items_of_a_batch_are_distinct(table, group, count):
    memory = ItemMemory(8, 4)
    memory.store(np.arange(8), np.eye(4, dtype=np.float32)[np.arange(8) % 4])
    for seed in range(20):
        items = draw_items(table, memory, count, group, np.random.default_rng(seed))
        assert len(items) == min(count, 8) == len(set(items.tolist()))


def test_look_alikes_meet_more_often_than_chance(tmp_path):
    root = small_sets.write_picks(tmp_path)
    for folder in (root / "Picks").glob("train-*"):
        (folder / "container.json").write_text("{}")  # no mates: memory alone decides
    table = build_table(read_identification(root, "train"))
    memory = ItemMemory(8, 8)
    vectors = np.eye(8, dtype=np.float32)
    vectors[1] = vectors[0]  # items 0 and 1 look the same
    memory.store(np.arange(8), vectors)
    assert memory.nearest(0, 1).tolist() == [1]

    def together(memory):
        pairs = (
            draw_items(table, memory, 2, 2, np.random.default_rng(seed)).tolist()
            for seed in range(400)
        )
        return sum(set(pair) == {0, 1} for pair in pairs)

    # of 400 draws chance gives 400 / 28, the memory about 400 * (1/4) / 6
    assert together(memory) > together(ItemMemory(8, 8))


def test_an_unknown_item_has_no_neighbours():
    memory = ItemMemory(3, 2)
    memory.store(np.array([1]), np.array([[1.0, 0.0]], np.float32))
    assert memory.nearest(0, 2).tolist() == [] and memory.nearest(1, 2).tolist() == []


def test_pictures_belong_to_their_items(table):
    items = np.array([5, 2])
    views, references = draw_pictures(table, items, 3, np.random.default_rng(0))
    assert views.shape == (2, 3) and references.shape == (2, 3)  # of two photos one comes twice
    for item, row, photos in zip(items, views, references, strict=True):
        assert row.tolist() in table.picks[item].tolist()
        assert set(photos.tolist()) <= set(table.references[item].tolist())


def drawn(table, name, seed=0, **values):
    settings = {"items": 5, "group": 3, "references": 2, "views": 5, **values}
    sampler = Sampler(name, **settings)
    return sampler.draw(table, ItemMemory(8, 4), np.random.default_rng(seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_is_of_its_items_and_follows_from_the_seed(table, name):
    items, views, references = drawn(table, name)
    assert len(set(items.tolist())) == 5
    assert views.shape == (5, 5 if name == "pk" else 3) and references.shape == (5, 2)
    for item, row, photos in zip(items, views, references, strict=True):
        assert set(row.tolist()) <= set(table.picks[item].ravel().tolist())
        assert set(photos.tolist()) <= set(table.references[item].tolist())
    for one, two in zip(drawn(table, name), drawn(table, name), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("views", [3, 4, 6])
def test_pk_brings_a_whole_pick_first_and_no_picture_twice(table, views):
    items, rows, _ = drawn(table, "pk", views=views)
    for item, row in zip(items, rows, strict=True):
        assert row[:3].tolist() in table.picks[item].tolist()
        assert len(set(row.tolist())) == views  # an item has six pictures


def test_pk_takes_single_views_and_repeats_where_there_are_too_few(table):
    for views in (1, 2):
        items, rows, _ = drawn(table, "pk", views=views)
        assert rows.shape == (5, views)
        assert all(set(r) <= set(table.picks[i].ravel()) for i, r in zip(items, rows, strict=True))
    _, rows, _ = drawn(table, "pk", views=10)
    assert rows.shape == (5, 10) and rows.min() >= 0


def test_pk_takes_no_absent_view_for_a_picture(tmp_path):
    root = small_sets.write_picks(tmp_path)
    for folder in (root / "Picks").glob("train-*"):
        (folder / "ToteWallRGB.jpg").unlink()
    table = build_table(read_identification(root, "train"))
    _, rows, _ = drawn(table, "pk", views=5)
    assert (rows[:, 2] == -1).all() and np.delete(rows, 2, axis=1).min() >= 0


def test_random_batches_do_not_look_at_who_lay_together(tmp_path):
    root = small_sets.write_picks(tmp_path)
    for folder in (root / "Picks").glob("train-*"):
        number = int(folder.name.split("-")[1])  # pairs (0, 1), (2, 3), ... share a container
        names = {f"P{number // 2 * 2:02d}": {}, f"P{number // 2 * 2 + 1:02d}": {}}
        (folder / "container.json").write_text(json.dumps(names))
    table = build_table(read_identification(root, "train"))

    def together(name):
        batches = [drawn(table, name, seed, items=2, group=2)[0].tolist() for seed in range(300)]
        return sum(a // 2 == b // 2 for a, b in batches)

    assert together("lookalike") == 300 and together("random") < 90  # chance gives 300 / 7


@pytest.mark.parametrize("wrong", [{"items": 0}, {"group": 0}, {"references": 0}, {"views": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ConfigError, match="start at 1"):
        Sampler("pk", **{"items": 5, "group": 3, "references": 2, "views": 5, **wrong})


def test_an_unknown_sampler_is_told_the_known_ones():
    with pytest.raises(ConfigError, match="lookalike, random, pk"):
        Sampler("hard", 5, 3, 2, 5)
