# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of a study: each once, failures noted, nothing taken for what it is not."""

import json
import os
import time

import pytest
import small_sets
import small_study

from robollm_core.errors import ConfigError, DatasetError, OutputError
from robollm_core.study import runner
from robollm_core.study.plan import Run, Study
from robollm_core.study.runner import fingerprint_of_data, run_study


def planned(*arms, seeds=2, **others):
    runs = [
        Run(arm, "clean", seed, {"arm": arm, "seed": seed, "init": ""})
        for seed in range(seeds)
        for arm in arms
    ]
    return Study("trial", "Does it run?", tuple(arms), ("clean",), tuple(runs), **others)


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


def carry_out(study, data, out, jobs=1, work=small_study.work):
    return run_study(study, data, out, jobs=jobs, prepare=small_study.cut, work=work)


def said(out):
    return [line.rsplit(" ", 1)[0] for line in (out / "said.txt").read_text().splitlines()]


def test_finished_runs_are_not_run_again(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    first = carry_out(planned("one", "two"), picks, tmp_path)
    assert said(tmp_path) == [
        "cut one clean 0",
        "ran one clean 0",
        "ran two clean 0",
        "ran one clean 1",
        "ran two clean 1",
    ]
    second = carry_out(planned("one", "two"), picks, tmp_path)
    assert len(said(tmp_path)) == 5
    assert second == first
    assert [(o.run.arm, o.run.seed) for o in second] == [
        ("one", 0),
        ("two", 0),
        ("one", 1),
        ("two", 1),
    ]
    assert all(outcome.figures["seconds"] >= 0 for outcome in second)


def test_a_study_that_broke_off_goes_on_where_it_was(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    count = []

    def interrupted(job):
        count.append(job)
        if len(count) == 3:
            raise KeyboardInterrupt
        return small_study.work(job)

    with pytest.raises(KeyboardInterrupt):
        carry_out(planned("one", "two"), picks, tmp_path, work=interrupted)
    assert len(said(tmp_path)) == 3
    carry_out(planned("one", "two"), picks, tmp_path)
    assert said(tmp_path)[3:] == ["cut one clean 1", "ran one clean 1", "ran two clean 1"]


def test_a_failed_run_is_noted_and_tried_again_and_the_others_go_on(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    outcomes = carry_out(planned("spoilt", "one"), picks, tmp_path)
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, True, False]
    spoilt = outcomes[0]
    assert spoilt.error == "TrainingError: the loss of step 3 is not finite"
    assert spoilt.figures == {}
    note = json.loads((spoilt.folder / "result.json").read_text())
    assert note["error"] == spoilt.error
    carry_out(planned("spoilt", "one"), picks, tmp_path)
    assert said(tmp_path).count("ran spoilt clean 0") == 2
    assert said(tmp_path).count("ran one clean 0") == 1


def test_changed_data_are_run_again(tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    data = small_sets.write_picks(tmp_path / "picks")
    carry_out(planned("one"), data, tmp_path / "out")
    before = fingerprint_of_data(data)
    picture = next((data / "Picks").rglob("*.jpg"))
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert fingerprint_of_data(data) != before
    carry_out(planned("one"), data, tmp_path / "out")
    assert said(tmp_path / "out").count("ran one clean 0") == 2


def test_another_version_or_other_weights_are_run_again(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    carry_out(planned("one"), picks, tmp_path)
    with monkeypatch.context() as later:
        later.setattr(runner, "__version__", "99.0")
        carry_out(planned("one"), picks, tmp_path)
    assert said(tmp_path).count("ran one clean 0") == 2
    weights = tmp_path / "taught.pt"
    for content in ("first", "second"):
        weights.write_text(content)
        runs = [Run("one", "clean", 0, {"init": str(weights)})]
        carry_out(Study("trial", "?", ("one",), ("clean",), tuple(runs)), picks, tmp_path)
    assert said(tmp_path).count("ran one clean 0") == 4


def test_networks_are_kept_where_they_are_looked_at_and_no_where_else(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    (bare, _) = carry_out(planned("one"), picks, tmp_path)
    assert sorted(p.name for p in bare.folder.iterdir()) == ["output.txt", "result.json"]
    # the same runs, now with their networks: those must be made once more
    (kept, _) = carry_out(planned("one", keeps=True), picks, tmp_path)
    assert kept.folder == bare.folder
    assert sorted(p.name for p in kept.folder.iterdir()) == ["best.pt", "output.txt", "result.json"]


def test_what_a_run_says_goes_into_its_folder(picks, tmp_path, monkeypatch, capsys):
    small_study.run_here(monkeypatch)

    def loud(job):
        print("step 1: loss 3")
        return small_study.work(job)

    (outcome, _) = carry_out(planned("one"), picks, tmp_path, work=loud)
    assert (outcome.folder / "output.txt").read_text() == "step 1: loss 3\n"
    assert "loss 3" not in capsys.readouterr().out


def test_a_damaged_result_is_refused(picks, tmp_path, monkeypatch):
    small_study.run_here(monkeypatch)
    (outcome, _) = carry_out(planned("one"), picks, tmp_path)
    (outcome.folder / "result.json").write_text('{"figures": ')
    with pytest.raises(OutputError, match="cannot read the result"):
        carry_out(planned("one"), picks, tmp_path)


def test_time_is_not_measured_beside_others(picks, tmp_path):
    with pytest.raises(ConfigError, match="--jobs 1, got 2"):
        carry_out(planned("one", timed=True), picks, tmp_path, jobs=2)


def test_missing_data_and_missing_weights_are_refused(picks, tmp_path):
    with pytest.raises(DatasetError, match="no identification data"):
        carry_out(planned("one"), tmp_path / "nowhere", tmp_path)
    runs = (Run("one", "clean", 0, {"init": str(tmp_path / "none.pt")}),)
    with pytest.raises(ConfigError, match="weights to start from"):
        carry_out(Study("trial", "?", ("one",), ("clean",), runs), picks, tmp_path)


@pytest.mark.slow
def test_runs_are_spread_over_processes_and_a_foreign_fault_ends_its_run_alone(picks, tmp_path):
    outcomes = carry_out(planned("one", "odd", "two", seeds=2), picks, tmp_path, jobs=2)
    failed = {o.run.arm: o.error for o in outcomes if o.error}
    assert failed == {"odd": "KeyError: 'nobody foresaw this'"}
    pids = {line.rsplit(" ", 1)[1] for line in (tmp_path / "said.txt").read_text().splitlines()}
    assert str(os.getpid()) not in pids


@pytest.mark.slow
def test_where_memory_is_compared_every_run_has_a_process_of_its_own(picks, tmp_path):
    carry_out(planned("one", "two", seeds=2, timed=True), picks, tmp_path)
    pids = [line.rsplit(" ", 1)[1] for line in (tmp_path / "said.txt").read_text().splitlines()]
    assert len(set(pids)) == 5


@pytest.mark.slow
def test_a_killed_process_is_told_of(picks, tmp_path):
    with pytest.raises(OutputError, match="killed"):
        carry_out(planned("one"), picks, tmp_path, work=small_study.dies)


@pytest.mark.slow
def test_an_interrupt_ends_the_runs_under_way(picks, tmp_path, monkeypatch):
    class HaltError(Exception):
        pass

    def interrupt(futures):
        while not (tmp_path / "pid").exists():
            time.sleep(0.05)
        raise HaltError

    monkeypatch.setattr(runner, "as_completed", interrupt)
    with pytest.raises(HaltError):
        carry_out(planned("one"), picks, tmp_path, work=small_study.slow)
    pid, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the run is still under way")
