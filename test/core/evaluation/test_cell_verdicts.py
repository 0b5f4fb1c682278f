# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts on single things, made up, and their figures against plain counting."""

import itertools

import numpy as np
import pytest

from robollm_core.data.samples import Region
from robollm_core.data.site_labels import FrameLabels, LabelledInstance
from robollm_core.evaluation.cell_figures import RATES, figures_of
from robollm_core.evaluation.cell_verdicts import FrameVerdicts, Verdict, judge, overlaps_of
from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    Manifest,
    ManifestItem,
    PerceptionResult,
)

HW = (20, 40)
SECS = dict.fromkeys(("segment", "identify", "inspect", "total"), 0.1)


def answer(x0, x1, item="a", defect="nominal"):
    return ItemReport(
        Instance((x0, 0, x1, HW[0]), np.ones((HW[0], x1 - x0), bool), 0.9),
        Identification(((item or "a", 0.5),), item),
        DefectReport((0.0, 1.0, 0.0), defect, 0.2),
    )


def thing(x0, x1, item="a", defect="nominal", outline=True):
    if outline:
        region = Region(polygons=((x0, 0, x1 - 1, 0, x1 - 1, HW[0] - 1, x0, HW[0] - 1),))
    else:
        region = Region(box_xyxy_px=(x0, 0, x1, HW[0]))
    return LabelledInstance(item, region, defect)


def judged(things, answers, complete=True, items=("a", "b"), gone=()):
    result = PerceptionResult(7, "cam", HW, tuple(answers), stage_secs=SECS)
    listed = [ManifestItem(i) for i in items] + [ManifestItem(i, quantity=0) for i in gone]
    manifest = Manifest("t", 1, tuple(listed)) if items else None
    return judge(0, result, FrameLabels("x", tuple(things), complete), manifest)


@pytest.mark.parametrize(
    ("item", "said", "known", "right"),
    [
        ("a", "a", True, True),
        ("a", "b", True, False),
        ("a", "", True, False),
        ("z", "", False, True),
        ("z", "a", False, False),
        ("gone", "", False, True),
        ("", "a", None, None),
    ],
)
def test_the_right_item_by_the_manifest(item, said, known, right):
    (verdict,) = judged([thing(0, 10, item)], [answer(0, 10, said)], gone=("gone",)).verdicts
    assert (verdict.on_manifest, verdict.item_right) == (known, right)
    assert verdict.all_right is right


def test_without_a_manifest_nothing_is_said_of_the_item():
    (verdict,) = judged([thing(0, 10)], [answer(0, 10, "")], items=()).verdicts
    assert (verdict.on_manifest, verdict.item_right, verdict.all_right) == (None, None, None)
    assert verdict.found


def test_all_right_wants_the_very_defect():
    for truth, said in itertools.product(("nominal", "multi_pick", "package_defect"), repeat=2):
        (verdict,) = judged([thing(0, 9, "a", truth)], [answer(0, 9, "a", said)]).verdicts
        assert verdict.all_right is (truth == said)
    (unknown,) = judged([thing(0, 9, "a", "")], [answer(0, 9)]).verdicts
    assert unknown.all_right is None and unknown.item_right


def test_what_nobody_found_is_never_right():
    (verdict,) = judged([thing(0, 10, "z")], [answer(6, 16)]).verdicts
    assert (verdict.found, verdict.named, verdict.item_right) == (False, None, False)
    assert verdict.iou == pytest.approx(4 / 16)


def test_false_instances_are_counted_where_everything_is_labelled():
    answers = [answer(0, 10), answer(10, 20), answer(20, 30)]
    assert judged([thing(10, 20)], answers).false == 2
    assert judged([thing(10, 20)], answers).pairs == (1,)
    assert judged([thing(10, 20)], answers, complete=False).false is None


@pytest.mark.parametrize("outline", [True, False])
def test_overlaps_of_masks_and_of_boxes(outline):
    spans, said = [(0, 10), (5, 25), (30, 40)], [(0, 8), (12, 40)]
    result = PerceptionResult(7, "cam", HW, tuple(answer(*span) for span in said))
    labels = FrameLabels("x", tuple(thing(*span, outline=outline) for span in spans))
    wanted = [
        [
            max(0, min(a[1], b[1]) - max(a[0], b[0]))
            / ((a[1] - a[0]) + (b[1] - b[0]) - max(0, min(a[1], b[1]) - max(a[0], b[0])))
            for b in said
        ]
        for a in spans
    ]
    assert overlaps_of(result, labels) == pytest.approx(np.array(wanted))


def made_up(count=200, frames=40):
    rng = np.random.default_rng(0)
    verdicts = []
    for k in range(count):
        found = bool(rng.random() < 0.8)
        listed = bool(rng.random() < 0.7)
        verdicts.append(
            Verdict(
                f"c/{k}/0",
                int(rng.integers(frames)),
                "a",
                listed,
                str(rng.choice(["nominal", "multi_pick", "package_defect", ""])),
                found,
                str(rng.choice(["a", "b", ""])) if found else None,
                str(rng.choice(["nominal", "multi_pick"])) if found else None,
                0.5,
            )  # fmt: skip
        )
    return verdicts


def test_figures_by_counting():
    verdicts = made_up()
    frames = [
        FrameVerdicts(tuple(v for v in verdicts if v.frame == f), (), 3, f % 4, 9, SECS)
        for f in range(40)
    ]
    figures = figures_of(frames, seed=0)
    found = [v for v in verdicts if v.found]
    on = [v for v in found if v.on_manifest]
    off = [v for v in found if not v.on_manifest]
    looked = [v for v in found if v.defect_truth]
    ill = [v for v in looked if v.defect_truth != "nominal"]
    sound = [v for v in looked if v.defect_truth == "nominal"]
    known = [v for v in verdicts if v.defect_truth]

    def item(v):
        return v.found and v.named == ("a" if v.on_manifest else "")

    wanted = {
        "found": (len(found), len(verdicts)),
        "found_and_named": (sum(map(item, verdicts)), len(verdicts)),
        "named_right": (sum(v.named == "a" for v in on), len(on)),
        "named_wrong": (sum(v.named == "b" for v in on), len(on)),
        "named_none": (sum(v.named == "" for v in on), len(on)),
        "none_of_these": (sum(v.named == "" for v in off), len(off)),
        "defect_right": (sum(v.defect == v.defect_truth for v in looked), len(looked)),
        "defect_recall": (sum(v.defect == "multi_pick" for v in ill), len(ill)),
        "defect_fpr": (sum(v.defect == "multi_pick" for v in sound), len(sound)),
        "all_right": (sum(item(v) and v.defect == v.defect_truth for v in known), len(known)),
    }
    assert set(wanted) == set(RATES)
    for name, (hits, trials) in wanted.items():
        for figure in (figures[name], figures["over_instances"][name]):
            assert (figure["value"], figure["n"]) == (
                pytest.approx(hits / trials, abs=1e-6),
                trials,
            )
    assert figures["false_instances_per_frame"]["value"] == 1.5
    fate = figures["counts"]["on_manifest"]
    assert fate["instances"] == sum(fate.values()) - fate["instances"]
    assert fate["named_right"] == wanted["named_right"][0]
    assert sum(sum(row.values()) for row in figures["confusion"].values()) == len(looked)
    assert figures["latency_ms"]["total"] == {"p50": 100.0, "p90": 100.0, "p99": 100.0}
    assert set(figures["counts"]) >= {"frames", "answers"}
    assert figures_of(frames, seed=1)["found"] != figures["found"]
