# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts against the stage itself; curves and abstaining against counts in NumPy."""

import colour_cell
import numpy as np
import pytest

from robollm_core.config import DefectsConfig, RuntimeConfig
from robollm_core.defects.stage import Inspector
from robollm_core.evaluation import intervals
from robollm_core.evaluation.defects_curves import POINTS, abstain, certainty, curves
from robollm_core.evaluation.defects_figures import figures_of
from robollm_core.evaluation.defects_judged import Judged, rates_at, verdicts
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.types import DEFECT_LABELS, Frame, Instance

NOMINAL = 1


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 50)


def judged(count, seed=0, threshold=0.6, grid=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3)) + 1.2 * np.eye(3)[labels]
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if grid:  # many equal scores
        rows[:, NOMINAL] = np.round(rows[:, NOMINAL] * grid) / grid
    return Judged(rows.astype(np.float32), labels, threshold)


def test_verdicts_are_those_of_the_stage(tmp_path):
    path, sidecar = load_artifact(colour_cell.defects(tmp_path / "defects.onnx"))
    engine = load_engine(path, RuntimeConfig(threads=1))
    image = np.random.default_rng(0).integers(0, 255, (16, 16 * 40, 3), np.uint8)
    boxes = [(16 * i, 0, 16 * i + 16, 16) for i in range(40)]
    for i, (x0, _, x1, _) in enumerate(boxes):
        image[:, x0:x1] = np.random.default_rng(i).integers(0, 255, 3)
    things = [Instance(box, np.ones((16, 16), bool), 0.9) for box in boxes]
    reports = Inspector(engine, sidecar, DefectsConfig()).inspect(Frame(image), things)
    rows = np.array([report.probabilities for report in reports], np.float32)
    for threshold in (0.0, 0.3, reports[3].score, 0.8, 1.0):
        stage = Inspector(engine, sidecar, DefectsConfig(threshold=threshold))
        said = [report.label for report in stage.inspect(Frame(image), things)]
        assert [DEFECT_LABELS[i] for i in verdicts(rows, threshold)] == said
    assert len(set(said)) > 1 or threshold == 1.0


def test_rates_count_nominal_images_only():
    one = judged(300)
    point = rates_at(one, 0.6)
    flagged = (1 - one.probabilities[:, 1].astype(float)) >= 0.6
    nominal = one.labels == NOMINAL
    assert point["fpr"]["value"] == pytest.approx(flagged[nominal].mean(), abs=1e-6)
    assert point["fpr"]["n"] == nominal.sum()
    assert point["recall"]["value"] == pytest.approx(flagged[~nominal].mean(), abs=1e-6)
    assert point["precision"]["value"] == pytest.approx((~nominal)[flagged].mean(), abs=1e-6)
    named = np.where(one.probabilities[:, 0] >= one.probabilities[:, 2], 0, 2)
    for index, name in ((0, "multi_pick"), (2, "package_defect")):
        own, said = one.labels == index, flagged & (named == index)
        figures = point["classes"][name]
        assert figures["recall"]["value"] == pytest.approx(flagged[own].mean(), abs=1e-6)
        assert figures["recall_named"]["value"] == pytest.approx(said[own].mean(), abs=1e-6)
        assert figures["fpr"]["value"] == pytest.approx(said[nominal].mean(), abs=1e-6)
        assert figures["precision"]["value"] == pytest.approx(own[said].mean(), abs=1e-6)
    assert sum(sum(row.values()) for row in point["confusion"].values()) == 300


@pytest.mark.parametrize(("count", "grid"), [(40, 0), (3000, 0), (3000, 50)])
def test_every_point_of_a_thinned_curve_is_a_threshold_of_the_whole(count, grid):
    one = judged(count, grid=grid)
    for kind, names in (("roc", ("fpr", "recall")), ("pr", ("recall", "precision"))):
        for name, curve in curves(one)[kind].items():
            bad = one.bad if name == "combined" else one.own(name)
            wanted = whole_curve(bad, one.good)[kind]
            got = list(zip(*(curve[key] for key in names), strict=True))
            assert 2 < len(got) <= POINTS
            assert {tuple(np.round(point, 6)) for point in got} <= wanted
    roc = curves(one)["roc"]["combined"]
    assert (roc["fpr"][0], roc["fpr"][-1], roc["recall"][-1]) == (0.0, 1.0, 1.0)
    assert roc["fpr"] == sorted(roc["fpr"]) and roc["recall"] == sorted(roc["recall"])


def whole_curve(bad, good):
    points = {"roc": {(0.0, 0.0)}, "pr": {(0.0, 1.0)}}
    for threshold in np.unique(np.concatenate((bad, good))):
        hits, alarms = (bad >= threshold).sum(), (good >= threshold).sum()
        recall = round(hits / len(bad), 6)
        points["roc"].add((round(alarms / len(good), 6), recall))
        points["pr"].add((recall, round(hits / (hits + alarms), 6)))
    return points


def test_a_thinned_roc_keeps_the_best_recall_at_low_fpr():
    one = judged(6000)
    roc = curves(one)["roc"]["combined"]
    below = [r for f, r in zip(roc["fpr"], roc["recall"], strict=True) if f <= 0.01]
    whole = max(
        (one.bad >= t).mean() for t in np.unique(one.scores) if (one.good >= t).mean() <= 0.01
    )
    assert whole - max(below) < 0.02
    assert len(below) >= 20


def test_abstaining_leaves_out_those_next_to_the_threshold():
    rows = np.zeros((6, 3), np.float32)
    rows[:, NOMINAL] = [0.99, 0.45, 0.35, 0.01, 0.41, 0.9]
    rows[:, 0] = 1 - rows[:, NOMINAL]
    labels = np.array([1, 1, 0, 0, 0, 1])
    one = Judged(rows, labels, threshold=0.6)  # flagged: P(nominal) <= 0.4
    assert np.argsort(certainty(one)).tolist()[0] == 4
    table = {row["coverage"]: row for row in abstain(one)["table"]}
    # of all: scores 0.65 and 0.99 are flagged, the defect at 0.59 is missed
    assert table[1.0]["recall"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (table[1.0]["error"]["value"], table[1.0]["answered"]) == (
        pytest.approx(1 / 6, abs=1e-6),
        6,
    )
    # five of six: the missed one is nearest to the threshold and goes to a person
    assert (table[0.8]["answered"], table[0.8]["error"]["value"]) == (5, 0.0)
    assert table[0.8]["recall"]["value"] == 1.0


def test_the_abstain_curve_ends_where_a_kind_is_missing():
    curve = abstain(judged(200))["curve"]
    assert curve["coverage"][0] == 1.0
    assert curve["coverage"] == sorted(curve["coverage"], reverse=True)
    assert {len(values) for values in curve.values()} == {len(curve["coverage"])}
    rows = np.zeros((50, 3), np.float32)
    rows[:, NOMINAL] = 0.999
    rows[:, 0] = 0.001
    rows[0] = (0.41, 0.59, 0)  # the only defect is the least certain
    one = Judged(rows, np.array([0] + [1] * 49), threshold=0.5)
    assert abstain(one)["curve"]["coverage"] == [1.0]


def test_average_precision_is_the_sum_of_steps():
    one = judged(400, grid=30)
    total, before = 0.0, 0.0
    for threshold in np.unique(one.scores)[::-1]:
        hits, alarms = (one.bad >= threshold).sum(), (one.good >= threshold).sum()
        recall = hits / len(one.bad)
        total += (recall - before) * hits / (hits + alarms)
        before = recall
    figure = figures_of(one)["average_precision"]
    assert figure["value"] == pytest.approx(total, abs=1e-6)
    assert figure["low"] < figure["value"] < figure["high"]


def test_a_class_without_images_is_left_out():
    one = judged(120)
    kept = one.labels != 2
    figures = figures_of(Judged(one.probabilities[kept], one.labels[kept], 0.5))
    assert set(figures["classes"]) == {"multi_pick"}
    assert set(figures["curves"]["roc"]) == {"combined", "multi_pick"}
    assert figures["images"]["package_defect"] == 0
