# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The progress bar: what it says of speed and of the time left."""

from robollm_core.training.bar import Bar, seconds_left
from robollm_core.training.distributed import Ranks


def test_time_left_ends_with_what_ends_first():
    assert seconds_left(10, 110, 2.0, 20.0, None) == 200.0
    assert seconds_left(10, 110, 2.0, 20.0, 1.0) == 40.0
    assert seconds_left(10, 20, 2.0, 20.0, 60.0) == 20.0
    assert seconds_left(10, 20, 2.0, 90.0, 1.0) == 0.0


def test_the_bar_counts_pictures_from_where_a_run_goes_on(capsys):
    with Bar(20, 10, 100.0, None, Ranks()) as bar:  # 100 s were before
        bar.show(11, 102.0, 64, {"loss": 1.5})
        bar.show(12, 104.0, 64, {"loss": 1.25})
    said = capsys.readouterr().err
    assert "12/20" in said and "images/s=32.0" in said and "left=00:16" in said
    assert "loss=1.250" in said


def test_other_ranks_have_no_bar(capsys):
    with Bar(2, 0, 0.0, None, Ranks(1, 2)) as bar:
        bar.show(1, 1.0, 4, {})
    assert capsys.readouterr().err == ""
