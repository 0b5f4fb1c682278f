# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The colours of the pages can be read and told apart, in light and in dark."""

import itertools
import re
from importlib import resources

import numpy as np
import pytest
from contrast import contrast, mixed, parse
from skimage.color import deltaE_ciede2000, rgb2lab

from robollm_core.evaluation.plots import COLOURS

STYLE = resources.files("robollm_core.evaluation").joinpath("evaluation.css").read_text("utf-8")
BLOCKS = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
SCHEMES = dict(
    zip(("light", "dark"), (dict(re.findall(r"--([\w-]+): (#\w{6})", b)) for b in BLOCKS),
        strict=True)
)  # fmt: skip
HEAT = 0.5  # the most that a cell of a matrix covers its background


@pytest.fixture(params=list(SCHEMES))
def colours(request):
    return {name: parse(text) for name, text in SCHEMES[request.param].items()}


# linear RGB as seen without one kind of cones; Source: Vienot, Brettel and Mollon 1999
LACKING = {
    "no red": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "no green": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
    "all": np.eye(3),
}


def seen_by(colour, kind):
    """A colour in CIELAB as people with a kind of vision see it."""
    light = np.asarray(colour)
    linear = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    linear = (np.asarray(LACKING[kind]) @ linear).clip(0, 1)
    light = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(light)


def test_both_schemes_set_every_colour():
    assert SCHEMES["light"].keys() == SCHEMES["dark"].keys()
    assert len(SCHEMES["light"]) == 10 + len(COLOURS)


@pytest.mark.parametrize("ink", ["ink", "muted", "accent", "right", "wrong", "none"])
@pytest.mark.parametrize("behind", ["paper", "faint"])
def test_text_is_readable(colours, ink, behind):
    assert contrast(colours[ink], colours[behind]) >= 4.5


def test_borders_of_inputs_and_series_stand_out(colours):
    names = ["line", *(f"series-{i}" for i in range(1, len(COLOURS) + 1))]
    assert [name for name in names if contrast(colours[name], colours["paper"]) < 3.0] == []


def test_counts_are_readable_on_the_fullest_cell_of_a_matrix(colours):
    cell = mixed(colours["series-1"], colours["paper"], HEAT)
    assert contrast(colours["ink"], cell) >= 4.5


def test_a_plot_alone_has_the_colours_of_the_light_page():
    assert list(COLOURS) == [SCHEMES["light"][f"series-{i}"] for i in range(1, len(COLOURS) + 1)]


@pytest.mark.parametrize("kind", list(LACKING))
def test_series_are_told_apart_with_any_cones(colours, kind):
    series = {i: seen_by(colours[f"series-{i}"], kind) for i in range(1, len(COLOURS) + 1)}
    near = {
        pair: deltaE_ciede2000(series[pair[0]], series[pair[1]])
        for pair in itertools.combinations(series, 2)
    }
    assert {pair: far for pair, far in near.items() if far < 15} == {}
