# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Starting from checkpoints and from exported networks."""

import hashlib
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnx")

from robollm_core.beit3.build import build
from robollm_core.cli.main import main
from robollm_core.defects.model import build_defects
from robollm_core.errors import CheckpointError
from robollm_core.export.onnx import round_weights
from robollm_core.identification.model import build_identification
from robollm_core.training.warm import read_start, warm_start

ROOT = Path(__file__).parents[3]
SETTINGS = {"size": "tiny", "img_size": 32}
CROP = {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0}
BUILD = {"defects": build_defects, "identification": build_identification}


def network(stage, seed):
    torch.manual_seed(seed)
    made = BUILD[stage](SETTINGS)
    for parameter in made.parameters():  # biases and norms begin at 0 and 1: tell them apart
        parameter.data += 0.01 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Stage to network and artifact."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for stage in BUILD:
        made[stage] = network(stage, 1), folder / f"{stage}.onnx"
        content = {
            "recipe": {"model": SETTINGS, "crop": CROP},
            "model": made[stage][0].state_dict(),
        }
        torch.save({"format": 1, "stage": stage, **content}, folder / "best.pt")
        words = ("--checkpoint", str(folder / "best.pt"), "--out", str(made[stage][1]))
        assert main(["export", stage, *words]) == 0
    return made


@pytest.mark.parametrize("stage", BUILD)
def test_an_artifact_holds_its_whole_network(exported, stage):
    origin, path = exported[stage]
    target = network(stage, 2)
    warm_start(target, target.encoder, stage, path)
    wanted = round_weights(origin).state_dict()
    assert target.state_dict().keys() == wanted.keys()
    for name, tensor in target.state_dict().items():
        # the scale stands in the sidecar with four decimals
        limit = 1e-4 if name == "log_scale" else 0.0
        assert (tensor - wanted[name]).abs().max() <= limit, name


def test_another_stage_takes_the_encoder_alone(exported):
    origin, path = exported["identification"]
    target = network("defects", 2)
    head = target.head.weight.clone()
    runs = warm_start(target, target.encoder, "defects", path)
    assert [(run["stage"], run["file"]) for run in runs] == [("identification", path.name)]
    assert runs[0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = round_weights(origin).encoder.state_dict()
    assert all(torch.equal(t, wanted[name]) for name, t in target.encoder.state_dict().items())
    assert torch.equal(target.head.weight, head)


def test_what_came_before_is_handed_on(tmp_path):
    """From a taught encoder to a checkpoint, to an artifact, to the next run."""
    first = {"stage": "encoder", "file": "a.pt", "sha256": "00", "teacher": "somebody"}
    made, path = network("defects", 1), tmp_path / "best.pt"
    content = {"recipe": {"model": SETTINGS, "crop": CROP}, "model": made.state_dict()}
    torch.save({"format": 1, "stage": "defects", "origin": [first], **content}, path)
    words = ("--checkpoint", str(path), "--out", str(tmp_path / "x.onnx"))
    assert main(["export", "defects", *words]) == 0
    for start in (path, tmp_path / "x.onnx"):
        target = network("identification", 2)
        runs = warm_start(target, target.encoder, "identification", start)
        assert runs[0] == first
        assert (runs[1]["stage"], runs[1]["file"]) == ("defects", start.name)
    assert warm_start(target, target.encoder, "identification", "") == ()


@pytest.mark.parametrize("model", ["segmentation", "identification", "defects"])
def test_the_shipped_networks_can_be_trained_further(model):
    start = read_start(ROOT / f"models/tiny/{model}.onnx")
    encoder = build("tiny", 128)
    before = encoder.blocks[5].ffn.fc2.weight.clone()
    holder = torch.nn.Module()
    holder.encoder = encoder
    warm_start(holder, encoder, "another", ROOT / f"models/tiny/{model}.onnx")
    assert start.meta["stage"] == model and start.recipe["encoder"] == "tiny"
    assert not torch.equal(encoder.blocks[5].ffn.fc2.weight, before)
    assert encoder.positions.shape == (1, 65, 256)


def test_a_detectors_positions_are_carried_to_the_grid_of_crops(tmp_path):
    wide = build("tiny", (96, 128), detection=True)
    with torch.no_grad():  # a plane over the 6 x 8 grid: resizing keeps its slope
        column = torch.arange(8.0).repeat(6)
        wide.positions.zero_()[0, 1:] = column[:, None]
    weights = {f"backbone.encoder.{name}": t for name, t in wide.state_dict().items()}
    recipe = {"input_height": 96, "input_width": 128}
    path = tmp_path / "best.pt"
    torch.save({"format": 1, "stage": "segmentation", "recipe": recipe, "model": weights}, path)
    target = network("defects", 2)
    warm_start(target, target.encoder, "defects", path)
    rows = target.encoder.positions[0, 1:, 0].unflatten(0, (2, 2))
    assert torch.allclose(rows[0], rows[1], atol=1e-4) and rows[0, 0] < 2.5 < 4.5 < rows[0, 1]


def test_a_changed_or_missing_artifact_is_refused(exported, tmp_path):
    path = exported["defects"][1]
    changed = tmp_path / "defects.onnx"
    changed.write_bytes(path.read_bytes()[:-1] + b"x")
    changed.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
    with pytest.raises(CheckpointError, match="changed or damaged"):
        read_start(changed)
    with pytest.raises(CheckpointError, match="cannot start from"):
        read_start(tmp_path / "gone.onnx")


def test_the_fusion_network_is_no_start(exported):
    path = exported["identification"][1].with_name("identification_fusion.onnx")
    with pytest.raises(CheckpointError, match="identification_fusion"):
        read_start(path)


def test_a_network_of_another_size_is_refused_and_nothing_changes(exported):
    path = exported["identification"][1]
    torch.manual_seed(3)
    narrow = build_identification({**SETTINGS, "embedding": 64})
    before = {name: t.clone() for name, t in narrow.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"projection\.weight"):
        warm_start(narrow, narrow.encoder, "identification", path)
    assert all(torch.equal(t, before[name]) for name, t in narrow.state_dict().items())
