# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""log.csv and TensorBoard's event files say the same, after a resume too."""

import importlib.util

import pytest

from robollm_core.errors import DependencyError, OutputError
from robollm_core.training.journal import Journal


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def write(journal, steps, offset=0.0):
    for step in steps:
        journal.add(step, float(step), {"loss": step + offset, "val_select": 0.5})
        journal.flush()


def test_tensorboard_shows_each_figure_once(tmp_path):
    journal = Journal(tmp_path / "log.csv", tmp_path / "board")
    write(journal, range(1, 5))
    journal.close()
    assert scalars(tmp_path / "board", "loss") == [(step, float(step)) for step in range(1, 5)]
    assert len(scalars(tmp_path / "board", "val/select")) == 4


def test_what_a_lost_run_had_shown_later_is_purged(tmp_path):
    first = Journal(tmp_path / "log.csv", tmp_path / "board")
    write(first, range(1, 7))
    first.close()
    again = Journal(tmp_path / "log.csv", tmp_path / "board")
    again.resume(3)  # the checkpoint that is left is of step 3
    write(again, range(4, 6), offset=0.5)
    again.close()
    shown = scalars(tmp_path / "board", "loss")
    assert shown == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5), (5, 5.5)]
    assert [row[0] for row in again.rows if row[2] == "loss"] == [1, 2, 3, 4, 5]


def test_absent_tensorboard_is_an_error_before_the_run(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    Journal(tmp_path / "log.csv")
    with pytest.raises(DependencyError, match="tensorboard=false"):
        Journal(tmp_path / "log.csv", tmp_path / "board")


def test_a_board_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "board").write_text("a file")
    journal = Journal(tmp_path / "log.csv", tmp_path / "board")
    journal.add(1, 1.0, {"loss": 1.0})
    with pytest.raises(OutputError, match="tensorboard=false"):
        journal.flush()
