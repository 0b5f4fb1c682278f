# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm study` from its words to the page."""

import json

import pytest
import small_sets
import small_study

from robollm_core.cli.main import main
from robollm_core.study import runner

SMALL = {
    "image_px": 32,
    "cache_px": 40,
    "steps": 3,
    "embedding": 16,
    "fusion": 128,
    "batch_items": 4,
    "group": 2,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch, narrow_encoder):
    """No pool, and a narrow encoder in the place of "tiny"."""
    small_study.run_here(monkeypatch)


def words(name, picks, out, *more):
    changes = [word for k, v in SMALL.items() for word in ("--set", f"{k}={v}")]
    given = ["--data", str(picks), "--out", str(out), "--quick", *changes]
    return ["study", name, *given, *more]


@pytest.fixture
def untrained(monkeypatch):
    """Runs without training, for what is said of their figures."""
    monkeypatch.setattr(runner, "train_run", small_study.work)
    monkeypatch.setattr(runner, "cut_crops", small_study.cut)


def test_results_page_and_plot_are_written_where_wanted(picks, tmp_path, untrained, capsys):
    page, figures = tmp_path / "docs" / "share.md", tmp_path / "figures.json"
    more = ("--page", str(page), "--json", str(figures))
    assert main(words("share", picks, tmp_path / "out", *more)) == 0
    results = json.loads(figures.read_text())
    assert json.loads((tmp_path / "out" / "share.json").read_text()) == results
    assert len(results["runs"]) == 8
    assert results["provenance"]["machine"].endswith("cores")
    assert results["recipe"]["steps"] == 3
    assert "objective" not in results["recipe"]
    assert "12 picks" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "100% items: infonce: recall@1, one view 0." in said


def test_a_second_start_runs_nothing(picks, tmp_path, untrained):
    assert main(words("share", picks, tmp_path)) == 0
    before = (tmp_path / "said.txt").read_text()
    assert main(words("share", picks, tmp_path)) == 0
    assert (tmp_path / "said.txt").read_text() == before


def test_a_failed_run_is_told_of_by_the_exit_code(picks, tmp_path, monkeypatch, capsys):
    def work(job):
        if (job.run.arm, job.run.seed) == ("head", 1):
            raise RuntimeError("no memory")
        return small_study.work(job)

    monkeypatch.setattr(runner, "train_run", lambda job: {**work(job), **COST})
    monkeypatch.setattr(runner, "cut_crops", small_study.cut)
    assert main(words("adapters", picks, tmp_path)) == 1
    assert "failed: head, clean, seed 1: RuntimeError: no memory" in capsys.readouterr().out
    assert "too few runs" in (tmp_path / "adapters.md").read_text()


COST = {"trainable": 2e6, "total": 6e6, "step_ms": 120.0, "peak_rss_mib": 800.0}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--set", "stepz=3"), "unknown recipe key 'stepz'"),
        (("--set", "objective"), "--set takes key=value"),
        (("--init", "nowhere.pt"), "cannot read the weights to start from"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(picks, tmp_path, capsys, more, reason):
    assert main(words("share", picks, tmp_path, *more)) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/result.json"))


def test_time_beside_others_is_refused(picks, tmp_path, capsys):
    assert main(words("adapters", picks, tmp_path, "--jobs", "2")) == 2
    assert "give --jobs 1, got 2" in capsys.readouterr().err


def test_a_folder_that_is_no_data_is_refused(tmp_path, capsys):
    assert main(words("share", tmp_path, tmp_path / "out")) == 2
    assert "is no identification data" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["objectives", "share", "adapters", "pretraining", "maps"])
def test_a_study_trains_from_pictures_to_the_page(picks, tmp_path, name):
    page = tmp_path / "docs" / f"{name}.md"
    assert main(words(name, picks, tmp_path / "out", "--page", str(page))) == 0
    results = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert not results["failed"]
    assert results["judged"] == {
        "val_picks": 8.0,
        "gallery_mean": 4.0,
        "gallery_min": 4.0,
        "gallery_max": 4.0,
    }
    for run in results["runs"]:
        assert 0.0 <= run["figures"]["r1_fused"] <= 1.0
        assert run["figures"]["step_ms"] > 0
    assert page.with_suffix(".png").stat().st_size < 60_000
    stages = 1 + (name == "pretraining")
    assert len(list(tmp_path.glob("out/cache/*/train.npy"))) == stages
    kept = list(tmp_path.glob("out/runs/*/best.pt"))
    assert bool(kept) == (name in ("objectives", "maps"))


@pytest.mark.slow
def test_frozen_encoders_train_less(picks, tmp_path):
    assert main(words("adapters", picks, tmp_path)) == 0
    means = json.loads((tmp_path / "adapters.json").read_text())["means"]["clean"]
    assert means["head"]["trainable"]["mean"] < 0.5 * means["full"]["trainable"]["mean"]
