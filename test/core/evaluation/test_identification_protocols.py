# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Places by item, by image, and as the released code counts, each against its restatement."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import random_gallery
import torch
from sklearn.metrics import roc_auc_score

from robollm_core.data.armbench_identification import VIEWS, IdentificationSplit, Pick
from robollm_core.data.samples import Picture
from robollm_core.evaluation import identification_figures as figures
from robollm_core.evaluation.embedding import FUSED, Embedded
from robollm_core.evaluation.identification_protocols import (
    RANKS,
    answer,
    answers,
    image_rank,
    score,
    softmax_of_best,
    sort_picks,
)


def released(picks, embedded, way, lists):
    """The evaluation of the released code, restated: columns, then torch's topk.

    Its reference set gives every item in any of the lists a run of columns, one an
    image on disk. A pick's own columns are those runs, joined once for every entry
    of its list, which has one entry an image. A hit at k is the item of the pick
    among the items of the k columns that score highest.
    """
    column_of, owner, rows = {}, [], []
    for item in {name for own in lists.values() for name in own}:
        images = embedded.gallery[item]
        column_of[item] = list(range(len(owner), len(owner) + len(images)))
        owner += [item] * len(images)
        rows.append(images)
    queries = np.stack([embedded.queries[way][pick.pick_id] for pick in picks])
    scores = torch.from_numpy(queries) @ torch.from_numpy(np.concatenate(rows)).T
    hits = dict.fromkeys(RANKS, 0.0)
    for row, pick in zip(scores, picks, strict=True):
        columns = [column for name in lists[pick.pick_id] for column in column_of[name]]
        own = row[columns]
        for k in RANKS:
            best = own.topk(min(k, len(columns)), dim=0).indices.tolist()
            hits[k] += float(pick.item_id in [owner[columns[place]] for place in best])
    return {k: found / len(picks) for k, found in hits.items()}


def lists_of(picks, embedded):
    """One entry an image, as the builder of the index files writes them."""
    return {
        pick.pick_id: [name for name in pick.manifest for _ in embedded.gallery[name]]
        for pick in picks
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_released_count_is_equal_to_the_last_digit(seed):
    picks, embedded = random_gallery.make(seed)
    lists = lists_of(picks, embedded)
    wanted = released(picks, embedded, FUSED, lists)
    by_manifest = answers(picks, embedded, FUSED, 1.0)
    by_list = answers(picks, embedded, FUSED, 1.0, lists)
    for own in (by_manifest, by_list):
        found = np.array([one.released_rank for one in own])
        assert {k: float(np.mean(found <= k)) for k in RANKS} == wanted
    level = figures.image_level({"n3": {"closed": by_manifest}}, "Lists.")
    for k in RANKS:
        assert level[f"recall_at_{k}_n3"]["value"] == round(wanted[k], 6)


def test_lists_with_other_repeats_count_as_the_released_code_counts_them():
    picks, embedded = random_gallery.make(7)
    rng = np.random.default_rng(7)
    lists = {
        pick.pick_id: [name for name in pick.manifest for _ in range(int(rng.integers(1, 4)))]
        for pick in picks
    }
    found = np.array([one.released_rank for one in answers(picks, embedded, FUSED, 1.0, lists)])
    wanted = released(picks, embedded, FUSED, lists)
    assert {k: float(np.mean(found <= k)) for k in RANKS} == wanted


def test_a_list_without_the_item_is_a_miss_and_a_pick_without_a_list_is_left_out():
    picks, embedded = random_gallery.make(1, picks=2)
    lists = {picks[0].pick_id: [n for n in picks[0].manifest if n != picks[0].item_id]}
    first, second = answers(picks, embedded, FUSED, 1.0, lists)
    columns = sum(len(embedded.gallery[name]) for name in lists[picks[0].pick_id])
    assert first.released_rank == columns + 1 and second.released_rank == 0
    level = figures.image_level({"n3": {"closed": [first, second]}}, "Lists.")
    assert level["recall_at_1_n3"]["n"] == 1


def test_duplicated_columns_leave_recall_at_1_and_press_recall_at_2_and_3():
    """The signature of the published rows: R@2 and R@3 hardly above R@1."""
    picks, embedded = random_gallery.make(11, picks=600, images=(3, 6))
    own = answers(picks, embedded, FUSED, 1.0)
    share = {
        name: {k: np.mean([getattr(one, name) <= k for one in own]) for k in RANKS}
        for name in ("rank", "image_rank", "released_rank")
    }
    assert share["rank"][1] == share["image_rank"][1] == share["released_rank"][1] < 0.95
    # with three images and more, the best item alone fills the first three columns
    assert share["released_rank"][1] == share["released_rank"][2] == share["released_rank"][3]
    for k in (2, 3):
        assert share["released_rank"][k] < share["image_rank"][k] < share["rank"][k]
        assert share["rank"][k] - share["released_rank"][k] > 0.03


def test_with_one_image_an_item_all_counts_agree():
    picks, embedded = random_gallery.make(2, images=(1, 1))
    for one in answers(picks, embedded, VIEWS[0], 1.0):
        assert one.rank == one.image_rank == one.released_rank


def test_the_rank_by_image_is_that_of_sorted_images():
    picks, embedded = random_gallery.make(5)
    for pick, one in zip(picks, answers(picks, embedded, FUSED, 1.0), strict=True):
        query = embedded.queries[FUSED][pick.pick_id]
        pairs = [(float(row @ query), n) for n in pick.manifest for row in embedded.gallery[n]]
        order = [name for _, name in sorted(pairs, reverse=True)]
        assert one.image_rank == order.index(pick.item_id) + 1


def test_a_tie_of_images_counts_against_the_item():
    gallery = {name: np.ones((count, 2), np.float32) for name, count in (("a", 2), ("b", 3))}
    found = score(np.ones(2, np.float32), ["a", "b"], Embedded({}, gallery))
    assert image_rank(found, "a") == 4 and image_rank(found, "b") == 3
    assert image_rank(found, "a", Counter({"a": 2, "b": 3})) == 10
    assert image_rank(found, "gone") == 6


def test_in_a_tie_the_chosen_item_is_another_than_the_true_one():
    flat = {name: np.ones((1, 2), np.float32) for name in "abc"}
    embedded = Embedded({}, flat)
    pick = Pick("p", "a", ("a", "b", "c"), {})
    one = answer(pick, np.ones(2, np.float32), embedded, 4.0)
    assert (one.rank, one.chosen, one.right) == (3, "b", False)
    assert one.items[-1] == "a" and one.confidence == pytest.approx(1 / 3)
    assert one.margin == 0.0


def test_an_answer_of_one_item_leads_by_all_there_is():
    pick = Pick("p", "a", ("a", "gone"), {})
    embedded = Embedded({}, {"a": np.ones((2, 2), np.float32)}, unit=2.0)
    one = answer(pick, np.ones(2, np.float32), embedded, 1.0)
    assert (one.rank, one.margin, one.confidence, one.references) == (1, 2.0, 1.0, 2)
    assert one.similarity == 1.0
    assert answer(Pick("p", "a", ("gone",), {}), np.ones(2, np.float32), embedded, 1.0) is None


def test_an_absent_item_has_no_rank():
    picks, embedded = random_gallery.make(0, picks=1)
    stranger = replace(picks[0], item_id="nobody")
    one = answer(stranger, embedded.queries[FUSED][picks[0].pick_id], embedded, 1.0)
    assert (one.rank, one.image_rank, one.released_rank, one.right) == (0, 0, 0, False)


def test_confidence_is_the_softmax_of_the_best_at_the_scale():
    scores = np.array([0.1, 0.9, 0.4], np.float32)
    shares = torch.softmax(torch.tensor(scores, dtype=torch.float64) * 6.5, 0)
    assert softmax_of_best(scores, 6.5) == pytest.approx(float(shares.max()))
    assert softmax_of_best(np.array([5e4, 1.0], np.float32), 100.0) == 1.0


def brute_places(picks, embedded, items):
    """Places by item and by image in one gallery, one query at a time."""
    by_item, by_image = [], []
    for pick in picks:
        query = embedded.queries[FUSED][pick.pick_id]
        images = [(name, float(row @ query)) for name in items for row in embedded.gallery[name]]
        own = max(value for name, value in images if name == pick.item_id)
        best = {name: max(v for n, v in images if n == name) for name in items}
        by_item.append(sum(value >= own for value in best.values()))
        by_image.append(1 + sum(v >= own for n, v in images if n != pick.item_id))
    return by_item, by_image


def test_places_in_a_gallery_for_all_equal_a_ranking_by_hand():
    picks, embedded = random_gallery.make(9, picks=40)
    for items in (list(embedded.gallery), [*dict.fromkeys(pick.item_id for pick in picks)]):
        whole = figures.rank_in(picks, embedded, items, {"n3": FUSED})
        by_item, by_image = brute_places(picks, embedded, items)
        assert whole.places["n3"].tolist() == by_item
        assert whole.image_places["n3"].tolist() == by_image
        assert whole.items == len(items)
        assert whole.images == sum(len(embedded.gallery[name]) for name in items)


def test_equal_images_of_one_item_do_not_push_it_back():
    picks, embedded = random_gallery.make(3, picks=10, images=(2, 2))
    twice = {name: np.repeat(rows[:1], 2, axis=0) for name, rows in embedded.gallery.items()}
    doubled = replace(embedded, gallery=twice)
    whole = figures.rank_in(picks, doubled, list(twice), {"n3": FUSED})
    by_item, by_image = brute_places(picks, doubled, list(twice))
    assert whole.places["n3"].tolist() == by_item
    assert whole.image_places["n3"].tolist() == by_image


def test_a_gallery_that_lies_in_one_array_is_not_copied():
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    embedded = Embedded({}, {"a": rows[:2], "b": rows[2:]})
    found, starts = figures._stacked(embedded, ["a", "b"])
    assert found is rows and starts.tolist() == [0, 2]
    part, first = figures._stacked(embedded, ["b"])
    np.testing.assert_array_equal(part, rows[2:])
    assert first.tolist() == [0]
    turned, _ = figures._stacked(embedded, ["b", "a"])
    np.testing.assert_array_equal(turned, np.concatenate((rows[2:], rows[:2])))


def test_reciprocal_ranks_and_bins_are_those_of_the_picks():
    picks, embedded = random_gallery.make(6)
    asked = {"n1": {"closed": answers(picks, embedded, VIEWS[0], 1.0)}}
    places = np.array([one.rank for one in asked["n1"]["closed"]])
    head = figures.headline(asked, seed=1)
    assert head["mrr_n1"]["value"] == pytest.approx(np.mean(1 / places), abs=1e-6)
    assert head["mrr_n1"]["low"] < head["mrr_n1"]["value"] < head["mrr_n1"]["high"]
    assert head["mrr_n1"] != figures.headline(asked, seed=2)["mrr_n1"]
    bins = figures.binned(asked, figures.SIZES, "manifest", seed=0)["n1"]
    assert list(bins) == ["2-5", "6-10", "11-15"]
    small = [one.rank for one in asked["n1"]["closed"] if len(one.pick.manifest) <= 5]
    assert bins["2-5"]["recall_at_1"]["n"] == len(small)
    assert bins["2-5"]["recall_at_1"]["value"] == round(float(np.mean(np.array(small) <= 1)), 6)
    by_count = figures.binned(asked, figures.REFERENCES, "references", seed=0)["n1"]
    counts = Counter(len(embedded.gallery[pick.item_id]) for pick in picks)
    assert {name: own["mrr"]["n"] for name, own in by_count.items()} == {
        str(number): counts[number] for number in sorted(counts)
    }


def test_absent_items_are_told_apart_as_scikit_learn_says():
    picks, embedded = random_gallery.make(8)
    strangers = [replace(pick, item_id="nobody") for pick in picks[:60]]
    known = answers(picks[60:], embedded, FUSED, 1.0)
    absent = answers(strangers, embedded, FUSED, 1.0)
    asked = {"n3": {"closed": known, "not_on_manifest": absent}}
    found = figures.open_set(asked, {"n3": FUSED}, "not_on_manifest", seed=0)[FUSED]
    truth = [1] * len(known) + [0] * len(absent)
    for name in ("similarity", "margin"):
        scores = [getattr(one, name) for one in (*known, *absent)]
        wanted = roc_auc_score(truth, np.float32(scores))
        assert found[name]["auroc"]["value"] == pytest.approx(wanted, abs=1e-6)
        assert found[name]["fpr_at_95"]["n"] == 60
        kept = np.mean([getattr(one, name) >= found[name]["threshold_at_95"] for one in known])
        assert 0.94 <= kept <= 0.97


def test_a_pick_that_could_not_be_read_is_set_apart_and_so_is_one_whose_references_could_not():
    pictures = {view: Picture("x.jpg") for view in VIEWS}
    picks = [replace(pick, views=pictures) for pick in random_gallery.make(4, picks=3)[0]]
    embedded = random_gallery.make(4, picks=3)[1]
    split = IdentificationSplit(tuple(picks), dict.fromkeys(embedded.gallery, (Picture("r"),)))
    gone, blind = picks[0], picks[1]
    queries = {
        way: {name: row for name, row in own.items() if name != blind.pick_id}
        for way, own in embedded.queries.items()
    }
    gallery = {name: rows for name, rows in embedded.gallery.items() if name != gone.item_id}
    groups = sort_picks(split, replace(embedded, queries=queries, gallery=gallery))
    assert groups["broken"] == [blind]
    assert gone in groups["no_reference"]
    assert len(sort_picks(split)["closed"]) == 3
