# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Cards say what sidecars and metrics say, and nothing of another network."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("onnx")

import small_models

from robollm_core.cli import main as command
from robollm_core.errors import ArtifactError
from robollm_core.export.card import CARDS, render_cards
from robollm_core.runtime.artifact import load_artifact

SHIPPED = Path(__file__).parents[3] / "models/tiny"
NEEDED = [SHIPPED / f"{name}.onnx" for names in CARDS.values() for name in names]
NEEDED.append(SHIPPED / "metrics.json")
ABSENT = [path.name for path in NEEDED if not path.is_file()]


@pytest.fixture
def models(tmp_path):
    return small_models.write_models(tmp_path / "models")


def rows(card):
    """(name, value, low, high, n) of every figure of a card."""
    found = re.findall(r"^\| (\S+) \| (\S+) \| (\S+) to (\S+) \| (\d+) \|$", card, re.MULTILINE)
    return {name: tuple(numbers) for name, *numbers in found}


def change(models, section, **values):
    tree = small_models.metrics(models)
    tree[section] = {**tree[section], **values}
    small_models.write_metrics(models, tree)


@pytest.mark.skipif(bool(ABSENT), reason=f"models/tiny has no {', '.join(ABSENT)} yet")
@pytest.mark.parametrize("name", [f"{stage}.md" for stage in CARDS])
def test_the_shipped_cards_are_what_the_command_writes(name):
    written = (SHIPPED / name).read_text(encoding="utf-8")
    assert written == render_cards(SHIPPED)[name], "run: robollm card --models models/tiny"


def test_one_card_a_stage_with_its_networks(models, capsys):
    assert command.main(["card", "--models", str(models)]) == 0
    assert {path.name for path in models.glob("*.md")} == {f"{stage}.md" for stage in CARDS}
    assert "identification.md" in capsys.readouterr().out
    for stage, names in CARDS.items():
        card = (models / f"{stage}.md").read_text()
        for name in names:
            assert load_artifact(models / f"{name}.onnx")[1].sha256 in card
        assert "Apache-2.0" in card and "## Known limits" in card


def test_every_figure_stands_with_interval_and_number(models):
    cards = render_cards(models)
    assert rows(cards["identification.md"]) == {
        "recall_at_1_n1": ("0.812", "0.688", "0.875", "1000"),
        "open_set.fused.margin.auroc": ("0.750", "0.625", "0.812", "900"),
    }
    # figures of a photo belong to the stage they tell of
    assert rows(cards["segmentation.md"]).keys() == {"mask_map50", "mask_ap50"}
    assert "not measured: the folder was not there" in cards["segmentation.md"]
    assert "### defects_hard" in cards["defects.md"]
    assert "defects_hard" not in cards["segmentation.md"]


def test_where_a_figure_comes_from(models):
    card = render_cards(models)["segmentation.md"]
    for text in (
        "robollm evaluate segmentation --artifact segmentation.onnx --data data",
        "made by the simulator from seed 5",
        "On a machine, 2 cores; robollm 0.1.0",
        "Seed 11. The weights began with those of:\n\n- `identification/best.pt` of the stage ",
        "robollm export segmentation --checkpoint best.pt --out segmentation.onnx",
        "rate: 0.001\nseed: 11",
    ):
        assert text in card
    assert "somebody" not in card  # whose machine it was


def test_a_card_names_every_run_before_and_its_teacher(models):
    teacher = "A Network on Photos (package 1.0, Apache-2.0)"
    runs = [
        {"stage": "encoder", "file": "best.pt", "sha256": "ab" * 32, "teacher": teacher},
        {"stage": "identification", "file": "identification.onnx", "sha256": "cd" * 32},
    ]
    beside = models / "defects.json"
    sidecar = json.loads(beside.read_text())
    sidecar["meta"]["origin"] = runs
    beside.write_text(json.dumps(sidecar))
    cards = render_cards(models)
    lines = cards["defects.md"].split("began with those of:\n\n")[1].splitlines()
    digests = [run["sha256"] for run in runs]
    assert (
        lines[0] == f"- `best.pt` of the stage encoder, sha256 `{digests[0]}`; taught by {teacher}"
    )
    assert lines[1].startswith("- `identification.onnx` of the stage identification, sha256 ")
    assert f"answers of {teacher}" in cards["defects.md"].split("## Recipe")[0]
    assert "answers of" not in cards["segmentation.md"]


def test_no_photos_at_all(models):
    tree = small_models.metrics(models)
    del tree["real"]
    small_models.write_metrics(models, tree)
    assert render_cards(models)["defects.md"].count("\nnot measured\n") == 2


def test_a_figure_without_samples_is_none(models):
    empty = {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}
    change(models, "segmentation", mask_map50=empty)
    assert rows(render_cards(models)["segmentation.md"])["mask_map50"][0] == "none"


@pytest.mark.parametrize("section", ["segmentation", "defects_hard", "real"])
def test_figures_of_another_network_are_refused(models, section):
    facts = small_models.metrics(models)[section]["provenance"]
    other = {"file": "defects.onnx", "sha256": "0" * 64}
    change(
        models,
        section,
        provenance={**facts, "artifact": other, "artifacts": {"segmentation": other}},
    )
    with pytest.raises(ArtifactError, match="Run again: robollm evaluate"):
        render_cards(models)


def test_nothing_is_written_when_one_card_fails(models, capsys):
    tree = small_models.metrics(models)
    del tree["defects"]
    small_models.write_metrics(models, tree)
    assert command.main(["card", "--models", str(models)]) == 2
    assert "robollm evaluate defects" in capsys.readouterr().err
    assert not list(models.glob("*.md"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"defects": 1}'])
def test_broken_metrics_are_refused(models, text):
    (models / "metrics.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"metrics\.json"):
        render_cards(models)


def test_a_section_without_provenance_is_refused(models):
    change(models, "defects", provenance={})
    with pytest.raises(ArtifactError, match="where it comes from"):
        render_cards(models)


def test_a_changed_network_is_refused(models):
    with (models / "defects.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="sha256"):
        render_cards(models)
