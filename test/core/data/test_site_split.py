# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes are divided whole, by seed, in the shares that were asked for."""

import pytest

from robollm_core.data.site_split import divide


@pytest.mark.parametrize("seed", range(5))
def test_scenes_that_share_an_item_stay_together_when_asked(seed):
    scenes = {"a": ["1", "2"], "b": ["2", "3"], "c": ["4"], "d": ["3"], "e": ["5"], "f": ["6"]}
    shares = {"val": 0.2, "test": 0.2}
    chosen = divide(scenes, "item", shares, seed)
    assert chosen["a"] == chosen["b"] == chosen["d"]
    assert set(chosen.values()) == {"train", "val", "test"}
    items = [{i for s, own in scenes.items() if chosen[s] == part for i in own}
             for part in ("train", "val", "test")]  # fmt: skip
    assert sum(map(len, items)) == 6
    assert divide(scenes, "item", shares, seed) == chosen


def test_the_shares_are_met_where_scenes_are_many():
    scenes = {f"T-{n}": ["x"] * 4 for n in range(50)}
    chosen = list(divide(scenes, "container", {"val": 0.2, "test": 0.1}, 3).values())
    assert (chosen.count("train"), chosen.count("val"), chosen.count("test")) == (35, 10, 5)
