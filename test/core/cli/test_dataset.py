# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm dataset`: from a recording to data sets, from answers to labels, to a trained run."""

import json
from pathlib import Path

import colour_cell
import pytest
import torch
from small_disk import run_on_small_disk

from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.identification.model import build_identification
from robollm_core.training.checkpoint import load_checkpoint, save_checkpoint

MODELS = Path(__file__).parents[3] / "models" / "tiny"
TOPICS = (
    Topic("/container/manifest", rostypes.STRING, latched=True),
    Topic("/tote_camera/image/compressed", rostypes.COMPRESSED),
    Topic("/ground_truth", rostypes.STRING),
)


def record(path, containers=5, truth=True):
    """One frame a container, labelled unless told not to."""
    products = colour_cell.write_references(path.parent)
    with BagWriter(path, TOPICS) as bag:
        for number in range(containers):
            stamp = (number + 2) * 10**9
            manifest = colour_cell.manifest_text(products, f"T-{number}")
            bag.write(TOPICS[0].name, stamp - 5, rostypes.make(rostypes.STRING, data=manifest))
            image = colour_cell.image_message(colour_cell.draw_tote(number), stamp)
            bag.write(TOPICS[1].name, stamp, image)
            if truth:
                text = json.dumps(colour_cell.truth(stamp))
                bag.write(TOPICS[2].name, stamp, rostypes.make(rostypes.STRING, data=text))
    return path


@pytest.fixture
def answers(tmp_path, cell_settings):
    """A bag without a word of truth, and what stand-in networks answer to it."""
    bag, out = record(tmp_path / "cell.mcap", truth=False), tmp_path / "answers.mcap"
    words = [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    return bag, out


def test_a_recording_becomes_data_sets_and_says_what_it_kept(tmp_path, capsys):
    bag, out = record(tmp_path / "cell.mcap"), tmp_path / "site"
    assert main(["dataset", "from-bag", str(bag), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "labelled frames: 5 ground truth"
    assert "train: 3 scenes, 9 picks, 3 totes, 9 defects" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["kept"] == {"scenes": 5, "picks": 15, "totes": 5, "defects": 15}
    assert "warning" not in summary


def test_answers_are_no_labels_until_one_says_so(tmp_path, answers, capsys):
    bag, given = answers
    words = ["dataset", "from-bag", str(bag), "--out", str(tmp_path / "site")]
    assert main([*words, "--answers", str(given)]) == 2
    assert "are no labels" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
    assert main([*words, "--answers", str(given), "--trust-answers", "0.5"]) == 0
    assert "the network's own" in capsys.readouterr().out
    summary = json.loads((tmp_path / "site" / "summary.json").read_text())
    assert summary["labels"] == {"answers": 5}
    assert "do not say how often it is right" in summary["warning"]
    assert summary["kept"] == {"scenes": 5, "picks": 15, "totes": 0, "defects": 0}


def test_answers_below_the_score_are_not_taken(tmp_path, answers):
    bag, given = answers
    words = ["--answers", str(given), "--trust-answers", "1.1"]
    assert main(["dataset", "from-bag", str(bag), "--out", str(tmp_path / "s"), *words]) == 2


def test_a_draft_of_labels_is_a_file_of_labels(tmp_path, answers, capsys):
    bag, given = answers
    labels = tmp_path / "labels.json"
    assert main(["dataset", "draft-labels", str(given), "--out", str(labels)]) == 0
    assert "5 frames, 15 instances to check" in capsys.readouterr().out
    tree = json.loads(labels.read_text())
    tree["frames"] = [{**frame, "complete": True} for frame in tree["frames"]]  # a person looked
    labels.write_text(json.dumps(tree))
    out = tmp_path / "site"
    words = ["dataset", "from-bag", str(bag), "--labels", str(labels), "--out", str(out)]
    assert main(words) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["labels"] == {"corrected": 5}
    assert summary["kept"] == {"scenes": 5, "picks": 15, "totes": 5, "defects": 0}
    picks = read_identification(out / "picks", "train").picks
    assert {pick.item_id for pick in picks} == set(colour_cell.COLOURS)


@pytest.mark.parametrize("kind", ["from-bag", "draft-labels"])
def test_a_bag_that_is_none_is_refused(tmp_path, capsys, kind):
    (tmp_path / "a.mcap").write_bytes(b"no bag")
    out = tmp_path / "out"
    assert main(["dataset", kind, str(tmp_path / "a.mcap"), "--out", str(out)]) == 2
    assert "a.mcap" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]


def test_a_draft_takes_no_option_that_it_would_ignore(tmp_path, capsys):
    words = ["dataset", "draft-labels", "a.mcap", "--out", str(tmp_path / "l.json")]
    assert main([*words, "--seed", "0"]) == 2
    assert "expected: robollm dataset draft-labels" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    bag, disk = record(tmp_path / "cell.mcap", containers=40), tmp_path / "disk"
    code = f"""
from robollm_core.cli.main import main
print("CODE", main(["dataset", "from-bag", {str(bag)!r}, "--out", {str(disk / "site")!r}]))
"""
    out, left = run_on_small_disk(disk, 200, code)
    assert "CODE 2" in out
    assert left == "[]"


SETTINGS = {"size": "tiny", "img_size": 32, "embedding": 16, "fusion": 128}
RECIPE = """stage: identification
image_px: 32
cache_px: 40
steps: 6
validate_every: 0.5
embedding: 16
fusion: 128
batch_items: 3
group: 1
weight_decay: 0.1
rate: 0.01
"""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_site_of_one_camera_trains_and_leaves_the_fusion_as_it_was(
    tmp_path, narrow_encoder, optimizer, capsys
):
    bag, site = record(tmp_path / "cell.mcap"), tmp_path / "site"
    assert main(["dataset", "from-bag", str(bag), "--out", str(site)]) == 0
    torch.manual_seed(3)
    before = build_identification(SETTINGS).state_dict()
    content = {"stage": "identification", "recipe": {"model": SETTINGS}, "model": before}
    save_checkpoint(tmp_path / "init.pt", {**content, "step": 0})
    (tmp_path / "recipe.yaml").write_text(RECIPE + f"optimizer: {optimizer}\n")
    words = ["train", "identification", "--recipe", str(tmp_path / "recipe.yaml")]
    words += ["--data", str(site / "picks"), "--out", str(tmp_path / "run")]
    assert main([*words, "--set", f"init={tmp_path / 'init.pt'}"]) == 0
    assert f"r1_{VIEWS[0]}=" in capsys.readouterr().out
    best = load_checkpoint(tmp_path / "run" / "best.pt", "identification")
    assert set(best["metrics"]) == {f"r1_{VIEWS[0]}", "select"}
    fusion = [name for name in before if name.startswith("fusion")]
    assert fusion
    assert all(torch.equal(best["model"][name], before[name]) for name in fusion)
    moved = [name for name in before if not torch.equal(best["model"][name], before[name])]
    assert any(name.startswith("encoder.") for name in moved)


@pytest.mark.slow
def test_a_site_of_one_camera_is_measured_by_its_camera(tmp_path, capsys):
    bag, site = record(tmp_path / "cell.mcap"), tmp_path / "site"
    assert main(["dataset", "from-bag", str(bag), "--out", str(site)]) == 0
    words = ["evaluate", "identification", str(site / "picks"), "--models", str(MODELS)]
    words += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "m.json")]
    assert main(words) == 0
    section = json.loads((tmp_path / "m.json").read_text())["identification"]
    assert section["recall_at_1_n1"]["n"] == 3
    assert section["picks"]["lacks_views"] == 0
    assert not [name for name in section if name.endswith("_n3")]
