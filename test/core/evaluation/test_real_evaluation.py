# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Figures on photos equal counts made by hand."""

import numpy as np
import pytest
import small_real

from robollm_core.cell import build_stages, retune
from robollm_core.config import Config, update
from robollm_core.data.real import read_catalogue, read_totes
from robollm_core.errors import DatasetError
from robollm_core.evaluation.precision import IOUS, Record, average_precision
from robollm_core.evaluation.real import look, own_items, precision_of, split_record, summarise


@pytest.fixture
def folder(tmp_path):
    return small_real.write_arc2017(tmp_path)


@pytest.fixture
def show(cell_settings, folder):
    """Shows a cell both photos, with or without names; settings change the cell."""

    def run(named=True, **settings):
        given = {**cell_settings, "identification.reference_root": str(folder / "items")}
        given["runtime.threads"] = 1
        config = update(Config(), {**given, **settings})
        stages = build_stages(config)
        unsure = retune(stages, update(config, {"segmentation.score_threshold": 0.0}))
        catalogue = read_catalogue(folder) if named else None
        return [look(stages, unsure.segmentation, t, catalogue) for t in read_totes(folder)]

    return run


def counts(figure):
    return round(figure["value"] * figure["n"]), figure["n"]


def test_figures_count_what_lies_there(show):
    # the network answers three boxes a photo, two of which hold an item
    figures = summarise(show())
    assert counts(figures["found"]) == (4, 4)
    assert counts(figures["precision"]) == (4, 6)
    for way in ("recall_at_1", "end_to_end"):
        assert counts(figures[f"{way}_in_tote"]) == counts(figures[f"{way}_all"]) == (4, 4)
    assert counts(figures["recall_at_1_all_true_masks"]) == (4, 4)
    # by score: apple, stray, lime, lime, stray, plum; so 1 up to recall 1/4, 3/4 up to 3/4, 2/3
    assert figures["mask_ap50"]["n"] == 4
    assert figures["mask_ap50"]["value"] == pytest.approx((26 + 50 * 3 / 4 + 25 * 2 / 3) / 101)
    assert figures["mask_ap50"]["low"] <= figures["mask_ap50"]["value"]
    assert figures["instances"] == {"truth": 4, "answered": 6}
    assert all(one.jpeg.startswith(b"\xff\xd8") for one in show())


def test_thresholds_cut_what_the_cell_says_and_leave_the_precision(show):
    sure, all_of_it = summarise(show(**{"segmentation.score_threshold": 0.85})), summarise(show())
    # only the apple is above the threshold: right in the first photo, a stray in the second
    assert counts(sure["found"]) == (1, 4)
    assert counts(sure["precision"]) == (1, 2)
    assert counts(sure["recall_at_1_all"]) == (1, 1)
    assert counts(sure["end_to_end_all"]) == (1, 4)
    assert counts(sure["recall_at_1_all_true_masks"]) == (4, 4)
    assert sure["mask_ap50"] == all_of_it["mask_ap50"]


def test_an_honest_none_still_has_a_best_candidate(show):
    figures = summarise(show(**{"identification.min_margin": 1.99}))
    assert counts(figures["recall_at_1_all"]) == (4, 4)


def test_a_wrong_reference_misleads(show, folder):
    swap = [folder / "items" / name / "top.jpg" for name in ("apple", "plum")]
    first, second = (path.read_bytes() for path in swap)
    swap[0].write_bytes(second)
    swap[1].write_bytes(first)
    figures = summarise(show())
    # limes stay right; the apple looks like the plum, which only the whole catalogue offers
    assert counts(figures["recall_at_1_all"]) == (2, 4)
    assert counts(figures["recall_at_1_all_true_masks"]) == (2, 4)
    assert counts(figures["found"]) == (4, 4)


def test_without_a_catalogue_nothing_is_named(show):
    figures = summarise(show(named=False))
    assert not [name for name in figures if "recall" in name or "end_to_end" in name]
    assert counts(figures["found"]) == (4, 4)


def test_defect_verdicts_are_counted(show):
    # the network calls red multi_pick and blue package_defect; dark grey is shared by all three
    reports = [report for one in show() for report in one.result.items]
    flagged = sum(report.defect.label != "nominal" for report in reports)
    assert counts(summarise(show())["flagged"]) == (flagged, 6)
    assert flagged >= 2


def test_an_item_outside_the_catalogue_is_refused(folder):
    catalogue = read_catalogue(folder)
    small = type(catalogue)("c", 0, catalogue.items[:1])
    with pytest.raises(DatasetError, match="lime"):
        own_items(read_totes(folder)[0], small)


def random_record(rng, answers, items):
    hits = np.zeros((len(IOUS), answers), bool)
    hits[:, rng.permutation(answers)[: min(items, answers) // 2]] = True
    hits[5:] &= rng.random(answers) < 0.5
    scores = np.sort(rng.random(answers))[::-1].copy()
    return Record(scores, hits, np.zeros_like(hits), items)


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_a_photo_taken_apart_has_the_same_precision(iou):
    rng = np.random.default_rng(0)
    for _ in range(20):
        record = random_record(rng, int(rng.integers(0, 30)), int(rng.integers(1, 20)))
        parts = split_record(record, iou)
        assert sum(part.positives for part in parts) == record.positives
        whole, apart = average_precision([record], [iou]), average_precision(parts, [iou])
        assert apart == pytest.approx(whole, abs=1e-12)


def test_one_photo_has_an_interval_of_some_width():
    record = random_record(np.random.default_rng(1), 20, 12)
    figure = precision_of([record], 0.5)
    assert figure["n"] == 12
    assert figure["low"] < figure["value"] < figure["high"]
    assert precision_of([], 0.5) == {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}
