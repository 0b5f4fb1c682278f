# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect figures through a real artifact, and against counts by hand."""

import json

import numpy as np
import pytest
import small_sets
import torch

pytest.importorskip("onnx")

from robollm_core.cli import main as command
from robollm_core.config import Config
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.samples import cut
from robollm_core.defects.model import build_defects
from robollm_core.errors import DatasetError
from robollm_core.evaluation.defects import evaluate, predict, summarise
from robollm_core.images import CropSpec
from robollm_core.training.checkpoint import save_checkpoint
from robollm_core.types import DEFECT_LABELS

SPEC = CropSpec(32, "pad", True, 0.05)
MULTI, NOMINAL, PACKAGE = range(3)


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


def test_predictions_are_the_networks_own(tmp_path, exported):
    root = small_sets.write_defects(tmp_path)
    path, network = exported
    probabilities, labels = predict(path, root, "test", Config().runtime)
    samples = read_defects(root, "test")
    crops = torch.from_numpy(np.stack([cut(sample.picture, SPEC) for sample in samples]))
    with torch.inference_mode():
        wanted = network(crops).softmax(1).numpy()
    assert probabilities == pytest.approx(wanted, abs=2e-3)  # weights are stored in half precision
    assert [DEFECT_LABELS[index] for index in labels] == [sample.label for sample in samples]
    section = evaluate(path, root, "test")
    assert section["images"] == {"multi_pick": 3, "nominal": 6, "package_defect": 3}
    json.dumps(section, allow_nan=False)


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
    classes = section["classes"]
    assert classes["multi_pick"]["recall_at_fpr_10"]["value"] == pytest.approx(0.5)
    assert classes["package_defect"]["recall_at_fpr_10"]["value"] == 1.0
    assert classes["package_defect"]["recall_at_fpr_10"]["n"] == 2
    assert section["at_threshold_0.5"]["recall"]["value"] == pytest.approx(5 / 6)
    assert section["confusion"]["package_defect"] == {
        "multi_pick": 0,
        "nominal": 0,
        "package_defect": 2,
    }


def test_a_split_of_one_kind_is_refused():
    with pytest.raises(DatasetError, match="nominal and defective"):
        summarise(np.full((4, 3), 1 / 3, np.float32), np.full(4, NOMINAL))
