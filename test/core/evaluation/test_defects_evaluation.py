# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect figures through a real artifact, and against counts by hand."""

import json

import cv2
import numpy as np
import pytest
import small_sets
import torch

pytest.importorskip("onnx")

from robollm_core.cli import main as command
from robollm_core.config import Config, update
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import cut
from robollm_core.defects.model import build_defects
from robollm_core.errors import ArtifactError, ConfigError, DatasetError
from robollm_core.evaluation import intervals
from robollm_core.evaluation.defects import evaluate, summarise
from robollm_core.evaluation.outcome import Request
from robollm_core.images import CropSpec
from robollm_core.runtime.artifact import load_artifact, write_artifact
from robollm_core.training.checkpoint import save_checkpoint
from robollm_core.types import DEFECT_LABELS

SPEC = CropSpec(32, "pad", True, 0.05)
MULTI, NOMINAL, PACKAGE = range(3)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 20)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    settings = {"size": "tiny", "img_size": 32}
    torch.manual_seed(0)
    network = build_defects(settings).eval()
    recipe = {"model": settings, "crop": SPEC.to_json()}
    content = {"stage": "defects", "recipe": recipe, "model": network.state_dict(), "step": 1}
    save_checkpoint(folder / "best.pt", content)
    path = folder / "defects.onnx"
    words = ["export", "defects", "--checkpoint", str(folder / "best.pt"), "--out", str(path)]
    assert command.main(words) == 0
    return path, network


def ask(root, models, **changes):
    config = update(Config(), {"runtime.threads": 1, "defects.threshold": 0.6})
    return evaluate(Request(root, models, config=config, **changes))


def test_predictions_are_the_networks_own(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    path, network = exported
    outcome = ask(root, path.parent)
    samples = read_defects(root, "test")
    crops = torch.from_numpy(np.stack([cut(sample.picture, SPEC) for sample in samples]))
    with torch.inference_mode():
        wanted = network(crops).softmax(1).numpy()
    told = np.array([record["probabilities"] for record in outcome.records])
    assert told == pytest.approx(wanted, abs=2e-3)  # weights are stored in half precision
    assert [record["label"] for record in outcome.records] == [s.label for s in samples]
    names = [f"data/{s.induct_id}/{s.induct_id}.jpg" for s in samples]
    assert [record["id"] for record in outcome.records] == names
    assert [r["flagged"] for r in outcome.records] == [bool(1 - row[1] >= 0.6) for row in told]
    assert outcome.figures["images"] == {"multi_pick": 3, "nominal": 6, "package_defect": 3}
    assert (outcome.samples, len(outcome.records)) == (12, 12)
    assert outcome.networks == {"defects.onnx": load_artifact(path)[1].sha256}
    json.dumps(outcome.figures, allow_nan=False)
    json.dumps(list(outcome.records), allow_nan=False)


def test_the_network_may_be_named_itself_and_the_seed_moves_intervals_only(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    first = ask(root, exported[0])
    again, other = ask(root, exported[0]), ask(root, exported[0], seed=1)
    assert first.figures == again.figures and first.records == other.records
    assert first.figures["auroc"] != other.figures["auroc"]
    assert first.figures["auroc"]["value"] == other.figures["auroc"]["value"]
    assert other.figures["protocol"]["seed"] == 1


def test_what_cannot_be_read_is_listed_and_left_out(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    images = sorted((root / "data").rglob("*.jpg"))[-12:]
    images[1].write_bytes(images[1].read_bytes()[:500])
    broken = BrokenFiles(limit=0.2)
    outcome = ask(root, exported[0], broken=broken)
    assert [entry.path for entry in broken.entries] == [str(images[1])]
    assert "truncated" in broken.entries[0].reason
    assert (outcome.samples, len(outcome.records)) == (12, 11)
    assert outcome.figures["images"]["multi_pick"] == 2
    with pytest.raises(DatasetError, match="more than 5%"):
        ask(root, exported[0])


def test_a_folder_a_class_is_read_with_images_taken_whole(tmp_path, exported):
    root = small_sets.write_defects(tmp_path / "armbench")
    for sample in read_defects(root, "test"):
        target = tmp_path / "other" / "imagenet" / "test" / sample.label / f"{sample.induct_id}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sample.picture.path.read_bytes())
    outcome = ask(tmp_path / "other", exported[0])
    names = [record["id"] for record in outcome.records]
    assert names == sorted(names) and names[0].startswith("imagenet/test/multi_pick/")
    assert [record["label"] for record in outcome.records] == [name.split("/")[2] for name in names]
    assert "taken whole" in outcome.figures["protocol"]["layout"]
    assert "outline" in ask(root, exported[0]).figures["protocol"]["layout"]


def test_an_image_that_is_listed_twice_counts_once(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    folder = sorted((root / "data").iterdir())[-1]
    note = next(folder.glob("*.json"))
    (folder / "again.json").write_bytes(note.read_bytes())
    broken = BrokenFiles(limit=0.2)
    outcome = ask(root, exported[0], broken=broken)
    assert "more than once" in broken.entries[0].reason
    assert len({record["id"] for record in outcome.records}) == len(outcome.records) == 12


def test_pictures_are_of_wrong_verdicts_and_small(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    outcome = ask(root, exported[0])
    wrong = {r["id"] for r in outcome.records if r["verdict"] != r["label"]}
    assert wrong and {exhibit.title for exhibit in outcome.exhibits} == wrong
    groups = [exhibit.group for exhibit in outcome.exhibits]
    assert groups == sorted(
        groups, key=("missed defect", "false alarm", "wrong defect class").index
    )
    for exhibit in outcome.exhibits:
        for _, data in exhibit.pictures:
            shape = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape
            assert max(shape) <= 320
    misses = [e for e in outcome.exhibits if e.group == "missed defect"]
    scores = {r["id"]: 1 - r["probabilities"][NOMINAL] for r in outcome.records}
    assert [scores[e.title] for e in misses] == sorted(scores[e.title] for e in misses)


def test_every_table_and_plot_is_whole(tmp_path, exported):
    outcome = ask(small_sets.write_defects(tmp_path), exported[0])
    kinds = [type(block).__name__ for block in outcome.blocks]
    assert kinds.count("Table") == 6 and kinds.count("Plot") == 4 and kinds.count("Matrix") == 2
    for block in outcome.blocks:
        if hasattr(block, "series"):
            assert all(len(line.x) == len(line.y) > 0 for line in block.series)
            assert not block.x_log or min(x for line in block.series for x in line.x) > 0
        elif hasattr(block, "counts"):
            assert sum(map(sum, block.counts)) == 12
        else:
            assert {len(row) for row in block.rows} == {len(block.columns)}
    roc = next(block for block in outcome.blocks if block.title == "ROC")
    assert [(mark.x, mark.y) for mark in roc.marks] == [(0.01, 0.95)]


def test_what_the_stage_cannot_use_is_refused(tmp_path, exported):
    root = small_sets.write_defects(tmp_path / "data")
    with pytest.raises(ConfigError, match="takes no options"):
        ask(root, exported[0], options={"encoder": "x"})
    path, sidecar = load_artifact(exported[0])
    from dataclasses import replace

    meta = {**sidecar.meta, "labels": list(reversed(DEFECT_LABELS))}
    write_artifact(tmp_path / "defects.onnx", path.read_bytes(), replace(sidecar, meta=meta))
    with pytest.raises(ArtifactError, match="in this order"):
        ask(root, tmp_path)


def rows(nominal_probability, defect=MULTI):
    row = np.zeros(3)
    row[NOMINAL], row[defect] = nominal_probability, 1 - nominal_probability
    return row


def test_the_figures_by_hand():
    # nominal scores 0.05, 0.10, ..., 1.00: at FPR 0.10 two of twenty may lie above 0.90
    good = [rows(1 - step / 20) for step in range(1, 21)]
    multi = [rows(1 - score, MULTI) for score in (0.91, 0.95, 0.90, 0.2)]
    package = [rows(1 - score, PACKAGE) for score in (0.99, 1.0)]
    labels = np.array([NOMINAL] * 20 + [MULTI] * 4 + [PACKAGE] * 2)
    section = summarise(np.array(good + multi + package, np.float32), labels)
    assert section["thresholds"]["fpr_10"] == pytest.approx(0.90, abs=1e-6)
    assert section["recall_at_fpr_10"]["n"] == 6
    assert section["recall_at_fpr_10"]["value"] == pytest.approx(4 / 6)
    # at FPR 0.01 not one of twenty may lie above; the highest is 1.00
    assert section["recall_at_fpr_01"]["value"] == 0.0
    assert section["at_fpr_01"]["recall"] == section["recall_at_fpr_01"]
    assert section["at_fpr_01"]["precision"]["value"] == 0.0
    assert section["at_fpr_01"]["fpr_on_split"] == 0.0
    classes = section["classes"]
    assert classes["multi_pick"]["recall_at_fpr_10"]["value"] == pytest.approx(0.5)
    assert classes["package_defect"]["recall_at_fpr_10"]["value"] == 1.0
    assert classes["package_defect"]["recall_at_fpr_10"]["n"] == 2
    assert section["at_threshold_0.5"]["recall"]["value"] == pytest.approx(5 / 6, abs=1e-6)
    assert section["at_threshold_0.5"]["fpr"]["value"] == pytest.approx(11 / 20)
    assert section["confusion"]["package_defect"] == {
        "multi_pick": 0,
        "nominal": 0,
        "package_defect": 2,
    }
    # recall 0.95 of six needs all six: the lowest of them, 0.2, lets in 17 of 20
    assert section["at_recall_95"]["threshold"] == pytest.approx(0.2)
    assert section["at_recall_95"]["fpr"]["value"] == pytest.approx(17 / 20)
    assert section["at_recall_95"]["precision"]["value"] == pytest.approx(6 / 23, abs=1e-6)
    own = classes["package_defect"]["at_recall_95"]
    assert own["fpr"]["value"] == pytest.approx(1 / 20)


def test_a_split_of_one_kind_is_refused():
    with pytest.raises(DatasetError, match="nominal and defective"):
        summarise(np.full((4, 3), 1 / 3, np.float32), np.full(4, NOMINAL))
    with pytest.raises(DatasetError, match="nominal and defective"):
        summarise(np.full((4, 3), 1 / 3, np.float32), np.full(4, MULTI))
