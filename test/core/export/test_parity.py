# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison that guards every artifact: passes what is equal, refuses what is not."""

import numpy as np
import pytest
import torch

from robollm_core.cli.main import main
from robollm_core.defects.model import build_defects, load_graph
from robollm_core.errors import ParityError
from robollm_core.export import stages
from robollm_core.export.parity import (
    Limits,
    check_parity,
    detection_difference,
    direction_difference,
    largest_difference,
)
from robollm_core.export.stages import PLANS, StagePlan, compare, trial_pictures
from robollm_core.identification.model import build_identification
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.onnx import graph_spec

SETTINGS = {"size": "tiny", "img_size": 32}
CROP = {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0}


def write_checkpoint(folder, stage, changes=()):
    torch.manual_seed(0)
    model = {"defects": build_defects, "identification": build_identification}[stage](SETTINGS)
    recipe = {"model": SETTINGS, "crop": CROP}
    content = {"format": 1, "stage": stage, "recipe": recipe, "model": model.state_dict()}
    path = folder / f"{stage}_best.pt"
    torch.save({**content, **dict(changes)}, path)
    return path


def export(stage, checkpoint, out):
    return main(["export", stage, "--checkpoint", str(checkpoint), "--out", str(out)])


def test_identification_exports_both_networks_with_their_crop(tmp_path):
    out = tmp_path / "models" / "identification.onnx"
    checkpoint = write_checkpoint(tmp_path, "identification")
    assert export("identification", checkpoint, out) == 0
    names = sorted(path.name for path in out.parent.iterdir())
    stems = ["identification", "identification_fusion"]
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("json", "onnx"))
    for stem in stems:
        path, sidecar = load_artifact(out.with_name(f"{stem}.onnx"))
        assert sidecar.stage == stem
        # an untrained network: 1 / 0.07
        assert sidecar.meta == {"crop": CROP, "scale": 14.2857, "scoring": "native"}
        assert sidecar.source_checkpoint["file"] == "identification_best.pt"
        assert str(checkpoint) in sidecar.rebuild and str(out) in sidecar.rebuild
        assert path.stat().st_size < 11e6
    fusion = load_artifact(out.with_name("identification_fusion.onnx"))[1].spec
    assert fusion.inputs[0].shape == (-1, 3, 256) and fusion.outputs[0].shape == (-1, 256)


def test_defects_name_their_classes(tmp_path):
    out = tmp_path / "defects.onnx"
    assert export("defects", write_checkpoint(tmp_path, "defects"), out) == 0
    meta = load_artifact(out)[1].meta
    assert meta == {"crop": CROP, "labels": ["multi_pick", "nominal", "package_defect"]}


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("defects", {"stage": "identification"}, "holds stage 'identification'"),
        ("defects", {"recipe": {"model": SETTINGS}}, "must hold the crop"),
        ("identification", {"model": {"encoder.norm.bias": torch.zeros(256)}}, "missing"),
    ],
)
def test_unfit_checkpoints_write_nothing(tmp_path, capsys, stage, changes, message):
    out = tmp_path / "out"
    checkpoint = write_checkpoint(tmp_path, stage, changes)
    assert export(stage, checkpoint, out / "x.onnx") == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


class Drifting(torch.nn.Module):
    """Answers by a little otherwise once it is exported, as an unfaithful operator would."""

    def __init__(self, module):
        super().__init__()
        self.model = module.model

    def forward(self, images):
        answer = self.model(images).softmax(-1)
        return answer + 1e-3 if torch.onnx.is_in_onnx_export() else answer


class Remembering(torch.nn.Module):
    """Bakes what it saw in tracing into the graph."""

    def forward(self, images):
        return images.float().flatten(1)[:, :3] * images.float().mean().item()


def test_a_graph_that_drifts_is_refused_and_the_old_artifact_stays(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out" / "defects.onnx"
    checkpoint = write_checkpoint(tmp_path, "defects")
    assert export("defects", checkpoint, out) == 0
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    monkeypatch.setattr(
        stages, "graph_loader", lambda stage: lambda path: Drifting(load_graph(path))
    )
    assert export("defects", checkpoint, out) == 2
    assert "disagree on input 0: probabilities 0.001" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_a_constant_baked_in_by_tracing_is_caught_by_the_second_input():
    samples = [{"images": trial_pictures(2, (32, 32), seed)} for seed in (0, 1)]
    limits = Limits(largest_difference, {"answer": 1e-3})
    plan = StagePlan(("answer",), True, limits, limits)
    with pytest.raises(ParityError, match="input 1"):
        compare(Remembering(), samples, plan)


def test_rounding_that_costs_too_much_is_refused():
    class Steep(torch.nn.Module):
        """A difference of nearly equal weights: half precision destroys it."""

        def __init__(self):
            super().__init__()
            self.plus = torch.nn.Parameter(torch.full((3072, 3), 1.0001))
            self.minus = torch.nn.Parameter(torch.full((3072, 3), 1.0))

        def forward(self, images):
            flat = images.float().flatten(1) / 255
            return (flat @ self.plus - flat @ self.minus) * 10

    samples = [{"images": trial_pictures(2, (32, 32), 0)}]
    strict = Limits(largest_difference, {"answer": 0.05})
    plan = StagePlan(("answer",), True, strict, strict)
    with pytest.raises(ParityError, match="answer"):
        compare(Steep(), samples, plan)


class Table:
    """An engine that reads its answers from a list; the comparison under test is real."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.spec = None
        self.description = "table"

    def run(self, inputs):
        return self.answers.pop(0)


ONE = {"x": np.ones((2, 3), np.float32)}
LIMITS = Limits(largest_difference, {"x": 1e-3})


@pytest.mark.parametrize(
    ("got", "message"),
    [
        ({"x": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"x": np.full((2, 3), np.inf, np.float32)}, "infinity"),
        ({"y": ONE["x"]}, "outputs must be"),
        ({"x": ONE["x"][:1]}, "outputs must be"),
        ({"x": ONE["x"].astype(np.float64)}, "outputs must be"),
        ({"x": ONE["x"] + np.float32(0.002)}, "x 0.002, allowed 0.001"),
    ],
)
def test_disagreement_is_refused(got, message):
    with pytest.raises(ParityError, match=message):
        check_parity(Table(ONE), Table(got), [{}], LIMITS)


def test_agreement_reports_the_worst_difference_and_nothing_is_not_agreement():
    near = {"x": ONE["x"] - np.float32(0.0005)}
    worst = check_parity(Table(ONE, ONE), Table(near, ONE), [{}, {}], LIMITS)
    assert worst["x"] == pytest.approx(5e-4, rel=1e-3)
    with pytest.raises(ParityError, match="at least one"):
        check_parity(Table(), Table(), [], LIMITS)


def test_direction_ignores_length_and_sees_angles():
    left = {"x": np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)}
    turned = np.array([[3.0, 0.0], [2.0, 2.0]], np.float32)
    assert direction_difference(left, {"x": left["x"] * 5})["x"] == pytest.approx(0.0, abs=1e-9)
    found = direction_difference(left, {"x": turned})["x"]
    assert found == pytest.approx(1 - 0.5**0.5, abs=1e-7)


def test_a_reference_that_finds_nothing_proves_nothing():
    blank = {"x": np.zeros((2, 3), np.float32)}
    limits = Limits(largest_difference, {"x": 1e-3}, tells=lambda outputs: bool(outputs["x"].any()))
    with pytest.raises(ParityError, match="finds nothing on any of the 2 trial inputs"):
        check_parity(Table(blank, blank), Table(blank, blank), [{}, {}], limits)
    worst = check_parity(Table(blank, ONE), Table(blank, ONE), [{}, {}], limits)
    assert worst == {"x": 0.0}


def detections(count=6, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (1, count, 2))
    return {
        "boxes": np.concatenate((corner, corner + 20), axis=2).astype(np.float32),
        "scores": np.sort(rng.uniform(0.1, 1, (1, count)).astype(np.float32))[:, ::-1],
        "labels": np.zeros((1, count), np.int64),
        "masks": rng.uniform(0, 1, (1, count, 4, 4)).astype(np.float32),
    }


def test_detections_that_change_places_are_the_same():
    left = detections()
    order = [1, 0, 2, 3, 5, 4]
    assert detection_difference(left, {k: v[:, order] for k, v in left.items()}) == {
        "scores": 0.0,
        "unmatched": 0.0,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("boxes", 1.0), ("scores", 0.01), ("labels", 1), ("masks", 0.2)],
)
def test_one_detection_that_moves_is_seen(name, value):
    left = detections()
    right = {key: array.copy() for key, array in left.items()}
    right[name][0, 2] += value
    assert detection_difference(left, right)["unmatched"] == pytest.approx(1 / 6)


def test_a_detection_too_many_is_seen_and_unused_rows_are_not():
    left = detections()
    right = {key: array.copy() for key, array in left.items()}
    right["scores"] = right["scores"].copy()
    right["scores"][0, -1] = 0.0  # the row is unused on one side
    found = detection_difference(left, right)
    assert found["unmatched"] == pytest.approx(1 / 6) and found["scores"] > 0.05
    left["scores"] = right["scores"]
    right["boxes"][0, -1] += 50
    assert detection_difference(left, right) == {"scores": 0.0, "unmatched": 0.0}


@pytest.mark.parametrize(
    ("name", "near", "far"), [("boxes", 0.9, 1.1), ("scores", 0.04, 0.06), ("masks", 0.02, 0.1)]
)
def test_rounding_may_move_a_detection_a_little(name, near, far):
    compare, left = PLANS["segmentation"].rounding.compare, detections()
    left["masks"] += 1.0  # so that the overlap of masks 0.1 apart is about 0.94
    for moved, share in ((near, 0.0), (far, 1 / 6)):
        right = {key: array.copy() for key, array in left.items()}
        right[name][0, 2] += moved
        assert compare(left, right)["unmatched"] == pytest.approx(share)


def test_an_unused_row_is_no_partner():
    left = detections()
    left["scores"][0, 2] = 0.03
    right = {key: array.copy() for key, array in left.items()}
    right["scores"][0, 2] = 0.0
    found = PLANS["segmentation"].rounding.compare(left, right)
    assert found["unmatched"] == pytest.approx(1 / 6)


def test_every_stage_has_a_plan():
    assert set(PLANS) == {"segmentation", "identification", "identification_fusion", "defects"}


def test_half_precision_that_ruins_masks_alone_is_refused():
    class Faint(Spots):
        """Masks from a difference of nearly equal weights: half precision destroys it."""

        def __init__(self):
            super().__init__()
            self.plus = torch.nn.Parameter(torch.full((2048,), 1.0001))
            self.minus = torch.nn.Parameter(torch.full((2048,), 1.0))

        def forward(self, images):
            boxes, scores, labels, masks = super().forward(images)
            return boxes, scores, labels, masks * (self.plus - self.minus).mean() * 1e4

    with pytest.raises(ParityError, match="unmatched 1, allowed 0.25"):
        compare(Faint(), spot_samples(), PLANS["segmentation"])


@pytest.mark.parametrize("settled", [True, False])
def test_a_network_whose_suppression_has_not_ended_is_refused(
    tmp_path, capsys, monkeypatch, settled
):
    class Suppressing(Spots):
        rounds = 4

        def settled(self, images):
            return settled

    checkpoint = write_checkpoint(tmp_path, "defects", {"stage": "segmentation"})
    monkeypatch.setattr(stages, "graph_loader", lambda stage: lambda path: Suppressing())
    out = tmp_path / "out" / "segmentation.onnx"
    assert export("segmentation", checkpoint, out) == (0 if settled else 2)
    assert settled or "not at its end after 4 rounds on input 0" in capsys.readouterr().err
    assert out.exists() == settled


def test_a_detector_that_finds_nothing_is_refused():
    class Blind(Spots):
        def forward(self, images):
            boxes, scores, labels, masks = super().forward(images)
            return boxes, scores * 0.0, labels, masks

    with pytest.raises(ParityError, match="finds nothing on any of the 4 trial inputs"):
        compare(Blind(), spot_samples(), PLANS["segmentation"])


class Spots(torch.nn.Module):
    """A small detector of the segmentation graph's form: brightest cells, boxed and masked."""

    input_hw = (64, 96)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.score = torch.nn.Conv2d(3, 1, 16, stride=16)
        self.register_buffer("column", torch.arange(24.0) % 6 * 16)
        self.register_buffer("row", torch.arange(24.0) // 6 * 16)

    def forward(self, images):
        picture = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        scores, best = self.score(picture).flatten(1).sigmoid().topk(8)
        corner = torch.stack((self.column[best], self.row[best]), -1)
        boxes = torch.cat((corner, corner + 16), -1)
        masks = scores[..., None, None].expand(-1, -1, 28, 28).contiguous()
        return boxes, scores, torch.zeros_like(best), masks


def spot_samples():
    return [{"images": picture[None]} for picture in trial_pictures(4, Spots.input_hw, 0)]


def test_a_detection_graph_passes_and_its_batch_is_fixed():
    network, found = compare(Spots(), spot_samples(), PLANS["segmentation"])
    assert found["graph.unmatched"] == 0.0 and found["graph.scores"] < 1e-5
    spec = graph_spec(network)
    assert [tensor.shape for tensor in spec.inputs] == [(1, 64, 96, 3)]
    assert [(t.name, t.shape, t.dtype) for t in spec.outputs] == [
        ("boxes", (1, 8, 4), "float32"),
        ("scores", (1, 8), "float32"),
        ("labels", (1, 8), "int64"),
        ("masks", (1, 8, 28, 28), "float32"),
    ]
