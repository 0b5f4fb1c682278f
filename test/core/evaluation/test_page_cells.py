# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Values are shown with their intervals and n, keys as words, curves thinned to a table."""

import math

import pytest

from robollm_core.evaluation.outcome import Mark, Matrix, Plot, Series, Table
from robollm_core.evaluation.page_cells import (
    NOTHING,
    facts,
    grid,
    headlines,
    is_figure,
    label,
    matrix_table,
    plot_table,
    protocol_rows,
    protocols,
    show,
)

FIGURE = {"value": 0.807151, "n": 1923, "low": 0.780446, "high": 0.831309}


def test_a_figure_is_shown_with_interval_and_n_and_sorted_by_all_its_digits():
    shown = show(FIGURE)
    assert str(shown) == "0.807 [0.780, 0.831]"
    assert (shown.n, float(shown.sort)) == ("1,923", FIGURE["value"])


@pytest.mark.parametrize(
    ("cell", "text", "sort"),
    [
        (None, NOTHING, ""),
        (math.nan, NOTHING, ""),
        (math.inf, NOTHING, ""),
        ("text", "text", ""),
        (0, "0", "0"),
        (749726, "749,726", "749726"),
        (True, "yes", ""),
        (0.5, "0.500", "0.5"),
        (-0.25, "-0.250", "-0.25"),
        (0.00012, "0.00012", "0.00012"),
        (0.0, "0.000", "0.0"),
        (73.26, "73.3", "73.26"),
        (9012.7, "9,013", "9012.7"),
        ({"value": 7.3, "n": 5, "low": 7.0, "high": 12.25}, "7.3", "7.3"),
    ],
)
def test_a_cell_has_as_many_digits_as_it_carries(cell, text, sort):
    assert (show(cell).text, show(cell).sort) == (text, sort)


@pytest.mark.parametrize("other", [{}, {**FIGURE, "extra": 1}, {"value": 1.0}, 0.5, None, "n"])
def test_only_exactly_a_figure_is_one(other):
    assert is_figure(FIGURE)
    assert not is_figure(other)


def test_a_column_is_numeric_when_all_that_it_has_is_numbers():
    table = Table("t", ("a", "b", "c", "d"), (("x", 1, FIGURE, None), ("y", None, 0.5, None)))
    made = grid(table)
    assert made.numeric == (False, True, True, False)
    assert (made.dense, made.long) == (False, False)


def test_many_rows_are_long_and_many_figures_are_dense():
    rows = tuple(("x", *[FIGURE] * 5) for _ in range(13))
    made = grid(Table("t", tuple("abcdef"), rows))
    assert (made.dense, made.long) == (True, True)


def test_a_table_without_rows_is_no_fault():
    assert grid(Table("t", ("a",), ())).numeric == (False,)


def test_the_numbers_of_a_plot_are_thinned_evenly_with_both_ends():
    x = [i / 1000 for i in range(1001)]
    curve = Series("curve", x, [v * v for v in x])
    short = Series("short", (0.0, 1.0), (0.0, 1.0))
    table = plot_table(Plot("t", "x", "y", (curve, short), (Mark(0.2, 0.3, "aim"),)))
    own = [row for row in table.rows if row[0] == "curve"]
    assert (own[0][1:], own[-1][1:]) == ((0.0, 0.0), (1.0, 1.0))
    gaps = [b[1] - a[1] for a, b in zip(own, own[1:], strict=False)]
    assert max(gaps) - min(gaps) <= 0.001 + 1e-9
    assert all(row[2] == pytest.approx(row[1] ** 2) for row in own)
    assert table.rows[-1] == ("aim", 0.2, 0.3)
    assert f"{len(own)} points each" in table.note
    assert "short" not in table.note


def test_the_numbers_of_a_plot_keep_their_intervals():
    series = (Series("a", ("p",), (0.5,), (0.4,), (0.6,)), Series("b", ("p",), (0.7,)))
    assert plot_table(Plot("t", "x", "y", series)).rows == (
        ("a", "p", 0.5, 0.4, 0.6),
        ("b", "p", 0.7, None, None),
    )


def test_a_matrix_is_a_table_with_its_truths_as_rows():
    table = matrix_table(Matrix("t", ("a", "b"), ("c", "d"), ((1, 2), (3, 4))))
    assert table.columns[1:] == ("c", "d")
    assert table.rows == (("a", 1, 2), ("b", 3, 4))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("mask_map50", "mask mAP50"),
        ("box_ap75", "box AP75"),
        ("recall_at_1_n1", "recall@1 (N=1)"),
        ("recall_at_5_n3", "recall@5 (N=3)"),
        ("recall_at_fpr_01", "recall at FPR 0.01"),
        ("recall_at_fpr_10", "recall at FPR 0.10"),
        ("at_recall_95", "at recall 0.95"),
        ("auroc", "AUROC"),
        ("accuracy", "accuracy"),
        ("n1", "N=1"),
    ],
)
def test_a_key_is_read_as_words(key, words):
    assert label(key) == words


def test_headlines_are_the_figures_at_the_top_in_their_order():
    figures = {"b": FIGURE, "count": 3, "inner": {"auroc": FIGURE}, "auroc": FIGURE}
    assert list(headlines(figures)) == ["b", "AUROC"]


def test_without_a_figure_at_the_top_those_below_are_the_headlines():
    figures = {"count": 3, "cell": {"auroc": FIGURE, "deep": {"b": FIGURE}}}
    assert list(headlines(figures)) == ["cell: AUROC"]
    assert headlines({}) == {}


def test_protocols_are_found_wherever_they_stand():
    figures = {
        "all_references": {"n1": {"protocol": "deep"}, "protocol": "one gallery"},
        "protocol": {"views": ["a", "b"], "gallery": {"n1": "own"}},
    }
    assert list(protocols(figures)) == [
        ("all figures: views", "a, b"),
        ("all figures: gallery", "N=1: own"),
        ("all references", "one gallery"),
        ("all references › N=1", "deep"),
    ]


def test_a_protocol_of_several_places_is_said_once():
    figures = {"subsets": {name: {"protocol": "masks"} for name in ("a", "b")}, "protocol": "all"}
    assert protocol_rows(figures) == [
        ("all figures", "all"),
        ("subsets › a; subsets › b", "masks"),
    ]


def test_facts_come_in_a_fixed_order_and_what_is_empty_says_so():
    provenance = {
        "extra": "kept",
        "version": "0.1.0",
        "config": {},
        "networks": {"x.onnx": "ab"},
        "artifact": {"file": "x.onnx", "sha256": "ab"},
        "data": {"split": "test", "synthetic": {}},
        "command": "robollm evaluate",
        "seed": 0,
    }
    assert facts(provenance) == [
        ("command", "robollm evaluate"),
        ("data, split", "test"),
        ("data, simulated", "not noted"),
        ("seed", "0"),
        ("config", "the defaults"),
        ("networks, x.onnx", "ab"),
        ("version", "0.1.0"),
        ("extra", "kept"),
    ]


def test_an_artifact_without_networks_is_said():
    assert ("artifact, sha256", "ab") in facts({"artifact": {"sha256": "ab"}})
