# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Published rows stand as they were published, with their caveats, beside ours."""

import pytest

from robollm_core.evaluation.published import (
    OTHER,
    PUBLISHED,
    SIMULATED,
    is_simulated,
    published_tables,
)

REAL = {"data": {"split": "test", "synthetic": {}}}
SIM = {"data": {"split": "test", "synthetic": {"seed": 200}}}
ALL = [one for tables in PUBLISHED.values() for one in tables]


def figure(value):
    return {"value": value, "n": 10, "low": value, "high": value}


def rows(table):
    """First word of a method's name, without its marks, to its values."""
    return {row[0].split(" (")[0]: row[1:-1] for row in table.rows}


@pytest.mark.parametrize("published", ALL, ids=lambda one: one.title)
def test_every_row_has_a_value_a_column_and_a_source(published):
    for row in published.rows:
        assert len(row.values) == len(published.columns)
        assert all(value is None or 0.0 <= value <= 1.0 for value in row.values)
        assert row.source.startswith("arXiv ")
    assert all(len(paths) == len(published.columns) for paths in published.ours.values())


def test_the_rows_are_those_of_the_papers():
    # typed from the papers a second time, in their own units
    masks, crowding = published_tables("segmentation", {}, REAL)
    assert rows(masks)["RoboLLM, BEiT-3 Base"] == (0.82, 0.67, 0.57, 0.45, 0.15, 0.13)
    assert rows(masks)["Mask R-CNN, ResNet-50"] == (0.72, 0.61, 0.25, 0.19, 0.11, 0.10)
    assert rows(crowding)["RoboLLM, BEiT-3 Base"][1] == 0.75
    (recalls,) = published_tables("identification", {}, REAL)
    percent = {"RoboLLM, container": "97.8 97.9 98.0 98.0 98.1 98.2",
               "RoboLLM, all references": "74.6 82.6 85.3 78.2 85.7 89.1",
               "ResNet50-RMAC, container": "71.7 81.9 87.2 72.2 82.9 88.2",
               "DINO ViT-S, container": "77.2 87.3 91.6 79.5 89.4 93.5"}  # fmt: skip
    for name, text in percent.items():
        assert rows(recalls)[name] == pytest.approx([float(v) / 100 for v in text.split()])
    (defects,) = published_tables("defects", {}, REAL)
    # precision, recall, FPR of multi-pick, of package and combined
    assert rows(defects)["RoboLLM Base"] == (0.84, 0.98, 0.04, 0.94, 0.91, 0.04, 0.90, 0.94, 0.03)
    assert rows(defects)["RoboLLM Large"] == (0.82, 1.00, 0.04, 0.89, 0.95, 0.03, 0.86, 0.97, 0.03)


@pytest.mark.parametrize("stage", list(PUBLISHED))
def test_simulated_data_is_never_called_comparable(stage):
    for table in published_tables(stage, {}, SIM):
        assert table.note.split("\n")[0] == SIMULATED
    for table in published_tables(stage, {}, REAL):
        assert table.note.split("\n")[0] == OTHER


@pytest.mark.parametrize(
    ("provenance", "simulated"),
    [(SIM, True), (REAL, False), ({}, False), ({"data": None}, False), ({"data": {}}, False)],
)
def test_the_note_of_the_simulator_decides(provenance, simulated):
    assert is_simulated(provenance) is simulated


def test_our_figures_stand_above_in_the_column_they_belong_to():
    figures = {
        "recall_at_1_n1": figure(0.81),
        "recall_at_2_n3": figure(0.95),
        "picked_references": {"recall_at_1_n3": figure(0.7)},
    }
    (table,) = published_tables("identification", figures, SIM)
    assert [row[0] for row in table.rows[:3]] == [
        "ours, container", "ours, references of the picked items", "ResNet50-RMAC, container",
    ]  # fmt: skip
    own = dict(zip(table.columns, table.rows[0], strict=True))
    assert own["R@1, N=1"]["value"] == 0.81
    assert own["R@2, N=3"]["value"] == 0.95
    assert own["R@3, N=3"] is None
    assert dict(zip(table.columns, table.rows[1], strict=True))["R@1, N=3"]["value"] == 0.7


def test_a_row_of_ours_without_any_figure_is_left_out():
    for stage in PUBLISHED:
        for table in published_tables(stage, {"unrelated": 1, "subsets": None}, REAL):
            assert not [row for row in table.rows if row[0].startswith("ours")]


def test_figures_of_segmentation_and_defects_are_found():
    masks = {"ap50": 0.6, "ap75": 0.4}
    crowding = {"1-5": {"ap50": 0.7}, "26+": {"ap50": 0.3}}
    figures = {"subsets": {"mix-object-tote": {"mask": masks, "crowding": crowding}}}
    first, second = published_tables("segmentation", figures, SIM)
    assert first.rows[0][:3] == ("ours, object", 0.6, 0.4)
    assert second.rows[0][:3] == ("ours", 0.7, 0.3)
    half = {"recall": figure(0.8), "fpr": figure(0.3)}
    figures = {"at_threshold_0.5": half, "classes": {"multi_pick": {"at_threshold_0.5": half}}}
    (table,) = published_tables("defects", figures, SIM)
    own = dict(zip(table.columns, table.rows[0], strict=True))
    assert own["combined FPR"] == own["multi-pick FPR"] == figure(0.3)
    assert own["combined precision"] is None


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("identification", ["repeats the columns", "different picks", "nobody has verified",
                            "best on the test set", "another checkpoint"]),
        ("defects", ["nominal images flagged over nominal images", "never computes",
                     "do not fit one test set", "best on the test set"]),
        ("segmentation", ["read from a plot", "no weights"]),
    ],
)  # fmt: skip
def test_the_caveats_stand_beside_the_rows(stage, words):
    notes = "\n".join(table.note for table in published_tables(stage, {}, REAL)).lower()
    assert [word for word in words if word not in notes] == []


def test_every_mark_behind_a_name_has_its_line():
    for stage in PUBLISHED:
        for table in published_tables(stage, {}, REAL):
            marks = {row[0].rpartition(" (")[2] for row in table.rows if row[0].endswith(")")}
            lines = {
                line[1:].partition(" ")[0] for line in table.note.split("\n") if line[0] == "("
            }
            assert marks == lines


def test_the_cell_has_no_published_row():
    assert published_tables("cell", {}, REAL) == ()
    assert published_tables("compare", {}, REAL) == ()
