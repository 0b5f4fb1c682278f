# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""amzn/armbench's nearest neighbour and its print_results, against restatements of both."""

import ast
import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import random_gallery
from scipy.spatial.distance import pdist
from scipy.special import softmax

from robollm_core.data.armbench_identification import VIEWS, Pick
from robollm_core.evaluation.embedding import FUSED
from robollm_core.evaluation.identification_peers import (
    COLUMNS,
    Verdict,
    confidence_of,
    nearest,
    output_csv,
    retrieval,
    verdict_of,
)
from robollm_core.evaluation.identification_protocols import answers


def printed_rate(data):
    """What print_results.py of amzn/armbench prints: rows whose two ids agree, in percent."""
    rows = correct = 0.0
    for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
        rows += 1.0
        if row["predicted-fnsku"] == row["gt-fnsku"]:
            correct += 1.0
    return correct / rows * 100


def nearest_as_amzn(views, pick, gallery):
    """test.py of amzn/armbench, restated: items by their first place among all distances."""
    images = [(name, row) for name in pick.manifest if name in gallery for row in gallery[name]]
    if not images:
        return "", [], [], 0.0
    distances, owners = [], []
    for view in views:
        rows = np.asarray([view, *(row for _, row in images)])
        distances += pdist(rows, "cosine")[: len(images)].tolist()
        owners += [name for name, _ in images]
    items, scores = [], []
    for place in np.argsort(distances):
        if owners[place] not in items:
            items.append(owners[place])
            scores.append(distances[place])
    shares = softmax(-np.array(scores))
    confidence = 1 - shares[1] / shares[0] if len(items) > 1 else 1.0
    return items[0], items, scores, confidence


@pytest.fixture
def asked():
    """Picks with one to four views, some items without references, some of no manifest."""
    picks, embedded = random_gallery.make(21)
    rng = np.random.default_rng(21)
    gallery = {
        name: rows * np.float32(rng.uniform(0.5, 3))  # a peer's vectors have any length
        for name, rows in embedded.gallery.items()
        if name[-1] != "7"
    }
    picks = [replace(p, item_id="nobody") if i % 9 == 0 else p for i, p in enumerate(picks)]
    picks += [Pick("lone", "I001", ("I001",), {}), Pick("none", "I007", ("I007", "I017"), {})]
    ways = [*VIEWS, FUSED]
    views = {
        pick.pick_id: [
            embedded.queries[way].get(pick.pick_id, np.ones(random_gallery.WIDTH, np.float32))
            for way in ways[: 1 + i % 4]
        ]
        for i, pick in enumerate(picks)
    }
    return picks, views, gallery


def test_nearest_is_amzns(asked):
    picks, views, gallery = asked
    for pick in picks:
        found = nearest(pick, views[pick.pick_id], gallery)
        chosen, items, scores, confidence = nearest_as_amzn(views[pick.pick_id], pick, gallery)
        assert found.chosen == chosen and list(found.items) == items
        np.testing.assert_allclose(found.distances, scores, atol=1e-12)
        assert found.confidence == pytest.approx(confidence, abs=1e-12)
    by_id = {pick.pick_id: nearest(pick, views[pick.pick_id], gallery) for pick in picks}
    assert by_id["lone"].confidence == 1.0 and by_id["lone"].rank == 1
    assert by_id["none"] == Verdict(picks[-1]) or not by_id["none"].items
    assert not by_id["none"].right and by_id["none"].rank == 0


def test_a_view_that_sees_the_item_decides_alone():
    gallery = {"a": np.array([[0.0, 1.0]], np.float32), "b": np.array([[1.0, 0.2]], np.float32)}
    views = [np.array(v, np.float32) for v in ([1.0, 0.1], [0.0, 2.0])]
    found = nearest(Pick("p", "a", ("b", "a"), {}), views, gallery)
    assert found.items == ("a", "b") and found.right
    assert found.distances[0] == pytest.approx(0.0, abs=1e-12)


def test_a_tie_counts_against_the_true_item():
    same = np.ones((1, 3), np.float32)
    found = nearest(Pick("p", "a", ("a", "b"), {}), [same[0]], {"a": same, "b": same})
    assert found.items == ("b", "a") and found.rank == 2 and found.confidence == 0.0


def test_the_rate_of_the_file_is_ours_to_the_last_digit(asked):
    picks, views, gallery = asked
    verdicts = [nearest(pick, views[pick.pick_id], gallery) for pick in picks]
    found = retrieval(verdicts)
    assert found["id_retrieval_rate"] == printed_rate(output_csv(verdicts))
    assert found["share"]["n"] == len(picks)
    assert found["share"]["value"] == round(np.mean([one.right for one in verdicts]), 6)
    assert 0.1 < found["share"]["value"] < 0.9


def test_answers_of_our_own_make_the_same_file():
    picks, embedded = random_gallery.make(5)
    verdicts = [verdict_of(one) for one in answers(picks, embedded, FUSED, 10.0)]
    data = output_csv(verdicts)
    assert retrieval(verdicts)["id_retrieval_rate"] == printed_rate(data)
    for row, one in zip(csv.DictReader(io.StringIO(data.decode())), verdicts, strict=True):
        assert ast.literal_eval(row["all-predictions"]) == list(one.items)
        scores = ast.literal_eval(row["all-scores"])
        assert scores == sorted(scores) == list(one.distances)
        assert float(row["predicted-score"]) == scores[0]
        assert float(row["confidence"]) == one.confidence


def test_the_file_has_the_columns_of_the_official_script(asked):
    picks, views, gallery = asked
    verdicts = [nearest(pick, views[pick.pick_id], gallery) for pick in picks[-2:]]
    lone, none = csv.DictReader(io.StringIO(output_csv(verdicts).decode()))
    assert tuple(lone) == COLUMNS
    assert lone["gt-ref"] == "True" and lone["effective-manifest"] == lone["manifest-size"] == "1"
    wanted = {"predicted-fnsku": "", "predicted-score": "0", "gt-fnsku": "I007", "gt-ref": "False",
              "manifest-size": "2", "effective-manifest": "0", "all-predictions": "[]",
              "all-scores": "[]", "confidence": "0.0"}  # fmt: skip
    assert {name: none[name] for name in wanted} == wanted


def test_ids_with_commas_and_quotes_survive():
    pick = Pick('p,"1"', "a,b", ("a,b",), {})
    data = output_csv([Verdict(pick, ("a,b",), (0.25,), 1.0)])
    (row,) = csv.DictReader(io.StringIO(data.decode()))
    assert (row["testcase"], row["predicted-fnsku"]) == ('p,"1"', "a,b")
    assert printed_rate(data) == 100.0


def test_a_lead_of_nothing_is_no_confidence():
    assert confidence_of(np.array([0.3, 0.3, 0.9])) == 0.0
    assert confidence_of(np.array([0.3])) == 1.0
    assert confidence_of(np.array([0.0, 1.0])) == pytest.approx(1 - np.exp(-1.0))


def test_no_rows_are_no_rate():
    found = retrieval([])
    assert found["id_retrieval_rate"] == 0.0 and found["share"]["n"] == 0
