# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The parity gate: the same network passes, a worse one does not, and the reason is told."""

import importlib
import json

import colour_cell
import numpy as np
import onnx
import pytest
import small_networks
import small_sets
import small_totes

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, ConfigError, ParityError
from robollm_core.evaluation import intervals
from robollm_core.export.gate import (
    DISTANCES,
    DROP,
    FUSION,
    NETWORKS,
    REFERENCE,
    Candidate,
    Gate,
    Verdict,
    allowed,
)
from robollm_core.export.parity import FEW_BITS, detection_difference, paired_detections
from robollm_core.export.samples import scenes
from robollm_core.export.verdicts import refused, table, write_report
from robollm_core.runtime.artifact import Sidecar, share_folder, write_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.onnx import graph_spec
from robollm_core.training.loop import OPERATION
from robollm_core.training.recipe import GATE_KEYS, build_recipe, load_recipe, recipe_values

LAX = {"gate_fp16": 9.0, "gate_int8": 9.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve defect images, all of test."""
    return small_sets.write_defects(tmp_path_factory.mktemp("set"), {"test": 12})


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """The gate looks at values, not at their intervals."""
    monkeypatch.setattr(intervals, "_RESAMPLES", 3)


def open_gate(folder, data, recipe=None, network=None):
    path = small_networks.write(folder / "defects.onnx", network, recipe=recipe or {})
    return Gate("defects", path, data, small_networks.pictures())


def candidate(folder, changes):
    """The network with other weights, as an artifact."""
    constants = {**small_networks.weights(), **changes}
    return small_networks.write(folder / "candidate.onnx", small_networks.network(constants))


def test_the_same_network_passes_without_any_difference(tmp_path, data):
    gate = open_gate(tmp_path, data)
    verdict = gate.judge(
        Candidate(gate.artifacts["defects"], "fp16"), RuntimeConfig(name="onnx", threads=1)
    )
    assert verdict.passed and verdict.distance == 0.0
    assert verdict.outputs["defects.probabilities"]["max_abs"] == 0.0
    assert verdict.outputs["defects.probabilities"]["cosine"] == pytest.approx(1.0)
    assert all(one == other for one, other in verdict.metrics.values())
    assert set(verdict.metrics) == {"auroc", "average_precision", "accuracy", "recall_at_threshold"}


def test_a_network_that_is_off_is_refused_before_it_is_measured(tmp_path, data):
    gate = open_gate(tmp_path, data)
    head = small_networks.weights()["head"]
    verdict = gate.judge(Candidate(candidate(tmp_path, {"head": head * 1.5}), "fp16"), REFERENCE)
    assert not verdict.passed and not verdict.metrics
    reference = gate.judge(Candidate(gate.artifacts["defects"], "fp16"), REFERENCE)
    assert verdict.distance > reference.limits.distance == DISTANCES["defects"]["fp16"]
    assert verdict.reason.startswith("too far")


def test_the_distance_of_probabilities_is_their_largest_difference(tmp_path, data):
    gate = open_gate(tmp_path, data, LAX)
    path = candidate(tmp_path, {"head": small_networks.weights(5)["head"]})
    verdict = gate.judge(Candidate(path, "fp16"), REFERENCE)
    own, other = (load_engine(one, REFERENCE) for one in (gate.artifacts["defects"], path))
    apart = [
        np.abs(own.run(one)["probabilities"] - other.run(one)["probabilities"]).max()
        for one in gate.inputs["defects"]
    ]
    assert verdict.distance == pytest.approx(max(apart), abs=1e-7)


def test_a_network_that_is_near_but_judges_worse_is_refused(tmp_path, data):
    """Two classes change places: the better of the two networks is the reference."""
    found = {}
    for name, order in (("plain", (0, 1, 2)), ("swapped", (1, 0, 2))):
        head = small_networks.weights()["head"][:, order]
        folder = tmp_path / name
        network = small_networks.network({**small_networks.weights(), "head": head})
        gate = open_gate(folder, data, LAX, network)
        found[name] = (gate, gate.reference().metrics["auroc"][0])
    better, worse = sorted(found.values(), key=lambda pair: -pair[1])
    assert better[1] - worse[1] > DROP
    verdict = better[0].judge(Candidate(worse[0].artifacts["defects"], "fp16"), REFERENCE)
    assert not verdict.passed and "drops by" in verdict.reason
    assert verdict.metrics["auroc"] == (better[1], worse[1])
    # the other way round nothing is lost but perhaps the accuracy
    back = worse[0].judge(Candidate(better[0].artifacts["defects"], "fp16"), REFERENCE)
    assert back.metrics["auroc"] == (worse[1], better[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_answers_with_no_numbers_is_refused(tmp_path, data, bad):
    gate = open_gate(tmp_path, data, LAX)
    head = np.full_like(small_networks.weights()["head"], bad)
    verdict = gate.judge(Candidate(candidate(tmp_path, {"head": head}), "fp16"), REFERENCE)
    assert not verdict.passed and "NaN or infinity" in verdict.reason


def test_another_stage_is_refused(tmp_path, data):
    path = small_networks.write(tmp_path / "defects.onnx")
    with pytest.raises(ArtifactError, match="expected 'segmentation'"):
        Gate("segmentation", path, data, small_networks.pictures())


def test_pictures_that_show_too_little_are_refused(tmp_path, data):
    path = small_networks.write(tmp_path / "defects.onnx")
    with pytest.raises(ParityError, match="22 crops are compared, the pictures show 3 things"):
        Gate("defects", path, data, small_networks.pictures(3))


def test_a_batch_of_every_size_is_compared(tmp_path, data):
    gate = open_gate(tmp_path, data)
    sizes = [len(one["images"]) for one in gate.inputs["defects"]]
    assert sizes == [16, 5, 1]


def test_the_recipe_of_the_checkpoint_sets_the_limits():
    own = allowed("identification", "int8", {"gate_int8": 0.5, "gate_drop": 0.002})
    assert (own.distance, own.drop) == (0.5, 0.002)
    for recipe in ({}, {"gate_int8": 0.0, "gate_drop": 0.0}, {"rate": 1.0}):
        usual = allowed("identification", "int8", recipe)
        assert (usual.distance, usual.drop) == (DISTANCES["identification"]["int8"], 0.01)


@pytest.mark.parametrize("value", [-0.1, float("nan"), "much", True, [1]])
def test_limits_that_are_no_numbers_are_refused(value):
    with pytest.raises(ConfigError, match="gate_fp16"):
        allowed("defects", "fp16", {"gate_fp16": value})


def detections(boxes, scores, masks=None):
    count = len(scores)
    return {
        "boxes": np.asarray(boxes, np.float32).reshape(1, count, 4),
        "scores": np.asarray(scores, np.float32)[None],
        "labels": np.zeros((1, count), np.int64),
        "masks": np.ones((1, count, 4, 4), np.float32) if masks is None else masks,
    }


def test_detections_that_changed_places_are_compared_with_their_partners():
    boxes = [[0, 0, 10, 10], [50, 50, 90, 90], [20, 0, 30, 10]]
    left = detections(boxes, [0.9, 0.8, 0.0])
    right = detections([boxes[1], boxes[0], boxes[2]], [0.85, 0.84, 0.0])
    one, other = paired_detections(left, right, FEW_BITS)
    np.testing.assert_array_equal(one["boxes"], other["boxes"])
    assert one["scores"].shape == (1, 2)
    np.testing.assert_allclose(other["scores"], [[0.84, 0.85]])
    assert detection_difference(left, right, FEW_BITS)["unmatched"] == 0.0


def test_a_detection_without_partner_is_in_no_pair():
    left = detections([[0, 0, 10, 10], [50, 50, 90, 90]], [0.9, 0.8])
    right = detections([[0, 0, 11, 10], [200, 50, 240, 90]], [0.9, 0.8])
    one, other = paired_detections(left, right, FEW_BITS)
    assert one["boxes"].shape == other["boxes"].shape == (1, 1, 4)
    assert np.abs(one["boxes"] - other["boxes"]).max() == 1.0
    nothing = detections(np.zeros((2, 4)), [0.0, 0.0])
    assert paired_detections(nothing, right, FEW_BITS)[0]["boxes"].shape == (1, 0, 4)


def test_the_report_holds_what_the_table_says(tmp_path):
    verdicts = [
        Verdict("defects", "fp16", "onnx", "usual", {"defects.p": {"max_abs": 0.5, "cosine": 1.0}},
                0.25, allowed("defects", "fp16", {}), {"auroc": (0.9, 0.875)}, "too far"),
        Verdict("defects", "int8", "tensorrt_rtx sm86", note="built, not run: no GPU"),
    ]  # fmt: skip
    report, figures = tmp_path / "r.md", tmp_path / "r.json"
    write_report(verdicts, {"defects": "somewhere"}, report, figures)
    assert report.read_text() == table(verdicts)
    first, second = report.read_text().splitlines()[2:]
    for text in ("p 5.0e-01", "0.25 (0.01)", "auroc 0.9000 to 0.8750", "too far"):
        assert text in first
    assert "built, not run" in second and "passed" not in second
    tree = json.loads(figures.read_text())
    assert [row["passed"] for row in tree["rows"]] == [False, True]
    assert tree["rows"][0]["metrics"]["auroc"]["change"] == -0.025
    assert tree["sets"] == {"defects": "somewhere"} and tree["machine"]


FOUND = np.array([[8, 8, 60, 60], [64, 16, 120, 90]], np.float32)


def open_segmentation(folder):
    path = colour_cell.segmentation(folder / "segmentation.onnx", FOUND, [0.9, 0.8])
    small_totes.random_set(folder / "set" / "mix-object-tote", "test", 3, seed=1)
    return Gate("segmentation", path, folder / "set", small_networks.pictures())


@pytest.mark.parametrize(
    ("moved", "passes"), [pytest.param(0.5, True, marks=pytest.mark.slow), (30.0, False)]
)
def test_detections_may_move_a_little(tmp_path, moved, passes):
    gate = open_segmentation(tmp_path)
    path = colour_cell.segmentation(tmp_path / "other.onnx", FOUND - [moved, 0, 0, 0], [0.9, 0.8])
    verdict = gate.judge(Candidate(path, "fp16"), REFERENCE)
    assert verdict.passed == passes
    assert verdict.distance == (0.0 if passes else 1.0)
    assert verdict.outputs["segmentation.boxes"]["max_abs"] == (moved if passes else 0.0)
    assert set(verdict.metrics) == ({"mask_map50"} if passes else set())


def test_a_network_that_finds_nothing_cannot_be_a_reference(tmp_path):
    path = colour_cell.segmentation(tmp_path / "segmentation.onnx", FOUND, [0.0, 0.0])
    with pytest.raises(ParityError, match="finds nothing on any of 8 frames"):
        Gate("segmentation", path, tmp_path, small_networks.pictures())


def write_identification(path, weight=1.0):
    """The mean colour as an embedding, and three of them made one by their weighted mean."""
    colour_cell.identification(path)
    make = onnx.helper.make_node
    nodes = [
        make("Mul", ["features", "weights"], ["scaled"]),
        make("ReduceMean", ["scaled"], ["mean"], axes=[1], keepdims=0),
        make("LpNormalization", ["mean"], ["embedding"], axis=1, p=2),
    ]
    value = onnx.helper.make_tensor_value_info
    weights = np.array([1.0, 1.0, weight], np.float32).reshape(1, 3, 1)
    graph = onnx.helper.make_graph(
        nodes,
        "fusion",
        [value("features", onnx.TensorProto.FLOAT, ["n", 3, 3])],
        [value("embedding", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    data = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    fusion = path.with_name(f"{path.stem}_fusion.onnx")
    write_artifact(fusion, data, Sidecar(FUSION, graph_spec(data), opset=17))
    return path


def test_a_fusion_is_compared_on_the_features_of_the_reference(tmp_path):
    data = small_sets.write_picks(tmp_path / "set")
    path = write_identification(tmp_path / "identification.onnx")
    gate = Gate("identification", path, data, small_networks.pictures())
    assert [one["features"].shape for one in gate.inputs[FUSION]] == [(3, 3, 3), (1, 3, 3)]
    same = gate.judge(Candidate(path, "int8"), REFERENCE)
    assert same.passed and set(same.metrics) == {"recall_at_1_n1", "recall_at_1_n3"}
    off = write_identification(tmp_path / "other.onnx", weight=-4.0)
    verdict = gate.judge(Candidate(off, "int8"), REFERENCE)
    assert not verdict.passed
    assert verdict.outputs["identification.embedding"]["max_abs"] == 0.0
    assert verdict.outputs[f"{FUSION}.embedding"]["max_abs"] > 0.01


def test_the_fixed_pictures_are_frames_of_the_demo_with_things_on_them():
    found = scenes()
    assert len(found) >= 8
    assert all(one.masks and one.image_rgb.ndim == 3 for one in found)
    assert all(mask.any() and mask.shape == one.image_rgb.shape[:2]
               for one in found for mask in one.masks)  # fmt: skip


@pytest.mark.parametrize("stage", NETWORKS)
def test_the_tiny_recipes_state_their_limits(stage):
    values = load_recipe(share_folder() / f"config/recipes/{stage}_tiny.yaml")
    room = importlib.import_module(f"robollm_core.training.{stage}")
    stored = recipe_values(build_recipe(room.RECIPE, values))
    for precision in ("fp16", "bf16", "int8"):
        limits = allowed(stage, precision, stored)
        assert limits.distance == values[f"gate_{precision}"] and limits.drop == 0.01
    # a network of a recipe without limits is held to those of its stage
    unset = recipe_values(build_recipe(room.RECIPE, {}))
    assert allowed(stage, "fp16", unset).distance == DISTANCES[stage]["fp16"]
    # they may change when a run goes on
    assert set(GATE_KEYS) <= OPERATION
    with pytest.raises(ConfigError, match="gate_int8 must be at least 0"):
        build_recipe(room.RECIPE, {"gate_int8": -0.1})


def test_an_attempt_that_was_made_good_is_not_refused_for_good():
    first = Verdict("defects", "int8", "onnx", islands="usual", reason="auroc drops")
    second = Verdict("defects", "int8", "onnx", islands="first and last layers")
    other = Verdict("defects", "int8", "openvino", islands="first and last layers", reason="drops")
    arithmetic = Verdict("defects", "fp32 as bf16", "openvino", reason="drops")
    assert refused([first, second]) == []
    assert refused([first]) == [first]
    assert refused([first, second, other, arithmetic]) == [other, arithmetic]
