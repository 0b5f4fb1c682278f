# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Plots are SVG elements that draw what they are given, in the ink of the page around them."""

import math
import re
from xml.etree import ElementTree

import matplotlib
import pytest
import small_outcome

from robollm_core.evaluation.outcome import Mark, Matrix, Plot, Series
from robollm_core.evaluation.plots import COLOURS, describe, draw

BLOCKS = (*small_outcome.plots(), small_outcome.matrix())


def tree(block, key="p"):
    return ElementTree.fromstring(draw(block, key))


def texts(root):
    return ["".join(one.itertext()).strip("\u200b ") for one in root.iter("text")]


def points(root, number):
    """Where the markers of a series stand, (x, y) in the units of the picture."""
    colour = f"var(--series-{number},"
    found = [one.attrib for one in root.iter("use") if colour in one.attrib.get("style", "")]
    return [(float(one["x"]), float(one["y"])) for one in found]


def slopes(values, places):
    pairs = list(zip(values, places, strict=True))
    return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(pairs, pairs[1:], strict=False)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_ids_are_of_this_plot_alone_and_every_reference_is_answered(block):
    text = draw(block, "p7")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(one.startswith("p7-") for one in ids)
    asked = re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text)
    assert set(asked) <= set(ids)
    assert isinstance(block, Matrix) or asked  # clip paths and markers


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_ink_is_that_of_the_page_and_nothing_else_comes_with_it(block):
    text = draw(block, "p")
    assert "currentColor" in text
    named = set(re.findall(r"#[0-9a-f]{6}\b", text))
    assert named <= set(COLOURS)
    assert not {one.tag for one in ElementTree.fromstring(text).iter()} & {"style", "metadata"}
    assert not re.search(r"https?://|\d{4}-\d\d-\d\d", text)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_the_same_numbers_give_the_same_bytes_whatever_the_user_has_set(block, monkeypatch):
    first = draw(block, "p")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    assert draw(block, "p") == first
    assert matplotlib.rcParams["lines.linewidth"] == 9.0  # his settings are his


def test_points_stand_where_their_numbers_say():
    x, y = (0.0, 0.2, 0.7, 1.0), (0.1, 0.5, 0.3, 0.9)
    found = points(tree(Plot("t", "x", "y", (Series("s", x, y),))), 1)
    assert len(found) == 4
    across, up = (slopes(values, [p[axis] for p in found]) for axis, values in enumerate((x, y)))
    assert across == pytest.approx([across[0]] * 3)
    assert across[0] > 0
    assert up == pytest.approx([up[0]] * 3)
    assert up[0] < 0  # an SVG's y points down


def test_a_logarithmic_axis_is_one():
    x = (1.0, 10.0, 1000.0)
    plot = Plot("t", "x", "y", (Series("s", x, (0.1, 0.2, 0.3)),), x_log=True)
    root = tree(plot)
    across = slopes([math.log(v) for v in x], [p[0] for p in points(root, 1)])
    assert across == pytest.approx([across[0]] * 2)
    assert {"1", "10", "100", "1000"} <= set(texts(root))


@pytest.mark.parametrize("style", ["line", "step", "points", "bars"])
def test_an_interval_is_drawn_in_every_style(style):
    x, y = (0.0, 0.5, 1.0), (0.2, 0.4, 0.6)
    bare = tree(Plot("t", "x", "y", (Series("s", x, y, style=style),)))
    low, high = tuple(v - 0.1 for v in y), tuple(v + 0.1 for v in y)
    drawn = tree(Plot("t", "x", "y", (Series("s", x, y, low, high, style),)))
    assert len(list(drawn.iter())) > len(list(bare.iter()))


def test_an_estimate_outside_its_interval_is_no_fault():
    # a bootstrap interval need not hold its estimate
    series = Series("s", ("a", "b"), (0.5, 1.0), (0.6, 0.9), (0.7, 0.95), "points")
    assert tree(Plot("t", "x", "y", (series,))).tag == "svg"


def test_names_on_the_x_axis_keep_their_order_over_all_series():
    first = Series("s", ("few", "many"), (0.1, 0.2), style="bars")
    second = Series("r", ("many", "more"), (0.3, 0.4), style="points")
    found = texts(tree(Plot("t", "x", "y", (first, second))))
    assert [name for name in found if name in ("few", "many", "more")] == ["few", "many", "more"]


def test_ranks_have_ticks_at_whole_numbers_alone():
    found = texts(tree(Plot("t", "k", "y", (Series("s", (1, 2, 5), (0.1, 0.2, 0.3)),))))
    assert {"1", "2", "5"} <= set(found)
    assert not {"1.5", "3", "4"} & set(found)


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "$\\frac{1}{2", "_hidden", "a & b", "-->", 'say "so"', "ünï"],
)
def test_a_name_is_shown_as_it_is(name):
    series = (Series(name, (0.0, 1.0), (0.0, 1.0)), Series("other", (0.0,), (0.5,)))
    plot = Plot(name, name, "y", series, (Mark(0.5, 0.5, name),))
    root = tree(plot)
    assert texts(root).count(name) == 3  # legend, axis, mark
    assert root.attrib["aria-label"] == describe(plot)
    assert not list(root.iter("script"))


@pytest.mark.parametrize(
    "series",
    [
        Series("s", (), ()),
        Series("s", (0.0, 1.0), (float("nan"), 0.5)),
        Series("s", (1.0,), (1.0,)),
    ],
    ids=["empty", "with a gap", "one point"],
)
def test_little_to_draw_is_drawn(series):
    assert "svg" in draw(Plot("t", "x", "y", (series,)), "p")


def test_a_matrix_shows_its_counts_and_their_share_of_the_truth():
    matrix = Matrix("t", ("a", "b"), ("a", "b", "c"), ((1, 3, 0), (0, 0, 0)))
    found = [
        part for text in texts(tree(matrix)) for part in re.split(r"\s+|(?<=\d)(?=\d+%)", text)
    ]
    assert {"truth", "answer", "a", "b", "c"} <= set(found)
    joined = " ".join(texts(tree(matrix)))
    assert "25%" in joined
    assert "75%" in joined
    shades = re.findall(
        r"fill: var\(--series-1[^;]*; opacity: ([\d.]+)|fill-opacity: ([\d.]+)", draw(matrix, "p")
    )
    assert max(float(a or b) for a, b in shades) == pytest.approx(0.375)  # half of 75 %


def test_what_a_plot_shows_is_said_in_words():
    roc = next(block for block in BLOCKS if block.title == "ROC")
    assert describe(roc) == (
        "ROC: recall over false positive rate, of multi_pick, package_defect. "
        "Marked: wanted by ARMBench at 0.01, 0.95."
    )
    assert describe(small_outcome.matrix()).startswith("Confusion: counts of 3 truths")
