# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Views of a pick become one answer, and unknown stays possible."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.picks import fuse
from robollm_core.picks.fuse import (
    PickIdentity,
    defect_hypotheses,
    fuse_defects,
    fuse_identity,
)
from robollm_core.picks.look import Scoring, ViewAnswer
from robollm_core.settings import IdentificationConfig
from robollm_core.types import DEFECT_LABELS, DefectReport

RULES = IdentificationConfig()


def view(**scores):
    ranked = tuple(sorted(scores.items(), key=lambda pair: -pair[1]))
    return ViewAnswer("c", "f", 1, "pick", candidates=ranked)


def judged(*probabilities, threshold=0.8):
    score = 1 - probabilities[1]
    label = "nominal"
    if score >= threshold:
        label = "multi_pick" if probabilities[0] >= probabilities[2] else "package_defect"
    return ViewAnswer("c", "f", 1, "post", defect=DefectReport(probabilities, label, score))


def test_one_view_says_what_it_said():
    got = fuse_identity([view(tea=0.5, mug=0.3)], [], RULES, Scoring(10.0))
    assert got.item_id == "tea"
    assert [(name, score) for name, score, _ in got.candidates] == [("tea", 0.5), ("mug", 0.3)]
    share = math.exp(5) / (math.exp(5) + math.exp(3))
    assert got.hypotheses() == (("tea", pytest.approx(share)), ("mug", pytest.approx(1 - share)))


def test_the_mean_over_views_decides_and_not_the_best_view():
    got = fuse_identity([view(tea=0.9, mug=0.8), view(tea=0.1, mug=0.4)], [], RULES, Scoring())
    assert got.item_id == "mug"
    assert got.candidates[0][1] == pytest.approx(0.6)


def test_views_before_the_grasp_join_those_after_it():
    held, before = view(tea=0.5, mug=0.45), view(tea=0.2, mug=0.6)
    assert fuse_identity([held], [], RULES, Scoring()).item_id == "tea"
    assert fuse_identity([held], [before], RULES, Scoring()).item_id == "mug"


def test_a_view_before_the_grasp_alone_says_nothing():
    # the gripper may have dropped it
    assert fuse_identity([], [view(tea=0.9)], RULES, Scoring()) == PickIdentity()


def test_an_item_that_only_the_earlier_manifest_listed_is_no_candidate():
    got = fuse_identity([view(tea=0.5)], [view(tea=0.1, mug=0.9)], RULES, Scoring())
    assert [name for name, _, _ in got.candidates] == ["tea"]
    got = fuse_identity([view(tea=0.5, mug=0.4)], [view(tea=0.1)], RULES, Scoring())
    assert got.item_id == "mug"


def test_what_a_cut_list_leaves_out_counts_as_its_last(monkeypatch):
    monkeypatch.setattr(fuse, "WIDE", 2)
    got = fuse_identity([view(tea=0.9, mug=0.4), view(jar=0.5, mug=0.3)], [], RULES, Scoring())
    assert [(name, round(score, 3)) for name, score, _ in got.candidates] == [
        ("tea", 0.6),  # (0.9 + 0.3) / 2
        ("jar", 0.45),
        ("mug", 0.35),
    ]


@pytest.mark.parametrize(
    "rules, unit, item_id",
    [
        (IdentificationConfig(min_similarity=0.5), 1.0, "tea"),
        (IdentificationConfig(min_similarity=0.51), 1.0, ""),
        (IdentificationConfig(min_margin=0.25), 1.0, "tea"),
        (IdentificationConfig(min_margin=0.26), 1.0, ""),
        (IdentificationConfig(min_similarity=0.26), 2.0, ""),
        (IdentificationConfig(min_margin=0.13), 2.0, ""),
    ],
)
def test_thresholds_judge_the_fused_score(rules, unit, item_id):
    views = [view(tea=0.75, mug=0.25), view(tea=0.25, mug=0.25)]
    assert fuse_identity(views, [], rules, Scoring(1.0, unit)).item_id == item_id


def test_unknown_scores_what_the_best_candidate_leaves():
    rules = IdentificationConfig(min_similarity=0.9)
    got = fuse_identity([view(tea=0.5, mug=0.3)], [], rules, Scoring(10.0)).hypotheses()
    assert [name for name, _ in got] == ["unknown", "tea", "mug"]
    assert got[0][1] == pytest.approx(1 - got[1][1])
    assert PickIdentity().hypotheses() == (("unknown", 0.0),)


def test_so_many_candidates_are_reported_but_all_of_them_share():
    rules = IdentificationConfig(top_k=1)
    got = fuse_identity([view(tea=0.0, mug=0.0, jar=0.0)], [], rules, Scoring())
    assert got.candidates == (("tea", 0.0, pytest.approx(1 / 3)),)


def test_a_network_without_a_temperature_or_unit_gets_those_of_cosines():
    class Stage:
        scale = math.inf

    assert Scoring.of(Stage()) == Scoring(1.0, 1.0)
    assert Scoring.of(object()) == Scoring(1.0, 1.0)


SCORES = st.lists(
    st.fixed_dictionaries({name: st.floats(-1, 1) for name in ("tea", "mug", "jar")}),
    min_size=1,
    max_size=4,
)


@given(SCORES, st.floats(0.1, 100))
def test_scores_of_hypotheses_are_a_distribution(rows, scale):
    any_score = IdentificationConfig(min_similarity=-1.0)
    got = fuse_identity([view(**row) for row in rows], [], any_score, Scoring(scale))
    scores = [score for _, score in got.hypotheses()]
    assert sum(scores) == pytest.approx(1)
    assert scores == sorted(scores, reverse=True)
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    assert means[got.item_id] == pytest.approx(max(means.values()))


@given(SCORES)
def test_the_order_of_the_views_does_not_matter(rows):
    views = [view(**row) for row in rows]
    there = fuse_identity(views, [], RULES, Scoring()).candidates
    back = fuse_identity(views[::-1], [], RULES, Scoring()).candidates
    assert {name: score for name, score, _ in there} == pytest.approx(
        {name: score for name, score, _ in back}
    )


def test_sound_views_are_averaged():
    got = fuse_defects([judged(0.1, 0.8, 0.1), judged(0.3, 0.6, 0.1)])
    assert got.label == "nominal"
    assert got.probabilities == pytest.approx((0.2, 0.7, 0.1))
    assert got.score == pytest.approx(0.3)


def test_one_view_that_sees_a_defect_is_believed():
    # the flap is open on the side that one camera looks at
    got = fuse_defects([judged(0.0, 1.0, 0.0), judged(0.05, 0.05, 0.9), judged(0.0, 1.0, 0.0)])
    assert got.label == "package_defect"
    assert got.probabilities == pytest.approx((0.05, 0.05, 0.9))


def test_views_that_see_different_defects_are_weighed():
    got = fuse_defects([judged(0.9, 0.1, 0.0), judged(0.4, 0.0, 0.6), judged(0.0, 1.0, 0.0)])
    assert got.label == "multi_pick"
    assert got.probabilities == pytest.approx((0.65, 0.05, 0.3))


def test_without_a_view_that_shows_it_the_defects_are_unknown():
    assert fuse_defects([view(tea=1.0)]) is None
    assert defect_hypotheses(None) == (("unknown", 0.0),)


def test_defects_come_verdict_first():
    got = defect_hypotheses(DefectReport((0.5, 0.4, 0.1), "nominal", 0.6))
    assert got == (("nominal", 0.4), ("multi_pick", 0.5), ("package_defect", 0.1))
    assert {name for name, _ in got} == set(DEFECT_LABELS)
