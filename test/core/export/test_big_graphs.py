# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of two files, Base and Large, and other input sizes."""

import hashlib
import json
import resource
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from robollm_core.cli.main import main
from robollm_core.config import RuntimeConfig
from robollm_core.defects.model import DefectGraph, build_defects
from robollm_core.errors import ArtifactError, ConfigError, OutputError
from robollm_core.export import large
from robollm_core.export.check import check_file, read_target
from robollm_core.export.large import LargeNetwork, laid_out, write_network
from robollm_core.export.onnx import GraphPlan, build_graph, round_weights
from robollm_core.export.sizes import sized_path, sizes_of
from robollm_core.export.stages import trial_pictures
from robollm_core.identification.model import build_identification
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.onnx import OnnxEngine, graph_spec

TARGET = read_target("tensorrt10")
LOW = 1 << 14


def small_network(seed=0):
    """Bytes of a narrow classifier, about 100 kB, and its module."""
    torch.manual_seed(seed)
    module = round_weights(DefectGraph(build_defects({"size": "tiny", "img_size": 32})))
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    return build_graph(module, GraphPlan({"images": images}, ("probabilities",), True)), module


def images(batch=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def low_limit(monkeypatch):
    """A protobuf that holds little."""
    monkeypatch.setattr(large, "LIMIT", LOW)


@pytest.fixture
def two_files(tmp_path, low_limit, narrow_encoder):
    """A network of two files as an artifact."""
    network, module = small_network()
    with laid_out(network) as form:
        sidecar = Sidecar("defects", graph_spec(form), opset=17, rebuild="robollm export defects")
    path = tmp_path / "models" / "x.onnx"
    write_network(path, network, sidecar)
    return path, module


def test_a_network_within_the_limit_is_one_file(narrow_encoder):
    network, _ = small_network()
    assert not isinstance(network, LargeNetwork)
    with laid_out(network) as form:
        assert form is network


def test_a_network_beyond_the_limit_answers_the_same_from_two_files(two_files):
    path, module = two_files
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "x.json",
        "x.onnx",
        "x.onnx.data",
    ]
    assert (path.parent / "x.onnx.data").stat().st_size > LOW
    onnx.checker.check_model(path, full_check=True)
    assert check_file(path, TARGET) == []
    _, sidecar = load_artifact(path)
    digest = hashlib.sha256((path.parent / "x.onnx.data").read_bytes()).hexdigest()
    assert sidecar.meta["external"] == {"file": "x.onnx.data", "sha256": digest}
    found = load_engine(path, RuntimeConfig(name="onnx")).run({"images": images()})
    with torch.inference_mode():
        expected = module(torch.from_numpy(images()))
    np.testing.assert_allclose(found["probabilities"], expected.numpy(), atol=1e-5)


def test_a_changed_truncated_or_missing_data_file_is_refused(two_files):
    path, _ = two_files
    data = path.parent / "x.onnx.data"
    whole = data.read_bytes()
    for broken in (whole[:-1], b"\x01" + whole[1:]):
        data.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"x\.onnx\.data was changed or damaged"):
            load_artifact(path)
    data.unlink()
    with pytest.raises(ArtifactError, match=r"x\.onnx\.data.*robollm export defects"):
        load_artifact(path)


@pytest.mark.parametrize(
    "external", [{"file": "../x", "sha256": "0"}, {"file": "x.onnx.data"}, "x.onnx.data", []]
)
def test_a_sidecar_that_names_another_data_file_is_refused(two_files, external):
    path, _ = two_files
    beside = path.with_suffix(".json")
    tree = json.loads(beside.read_text())
    tree["meta"]["external"] = external
    beside.write_text(json.dumps(tree))
    with pytest.raises(ArtifactError, match=r"must name x\.onnx\.data"):
        load_artifact(path)


def test_a_full_disk_leaves_the_three_old_files(two_files):
    path, _ = two_files
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    other, _ = small_network(seed=1)
    _, sidecar = load_artifact(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOW, hard))
    try:
        with pytest.raises(OutputError, match="Nothing was written"):
            write_network(path, other, sidecar)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_other_weights_change_the_graph_file_too(low_limit, narrow_encoder):
    # a cache is keyed by the digest of the .onnx file alone
    one, two = small_network(seed=0)[0], small_network(seed=1)[0]
    assert one == small_network(seed=0)[0]
    assert one != two


def test_a_smaller_network_leaves_no_data_file_behind(two_files, monkeypatch):
    path, _ = two_files
    monkeypatch.setattr(large, "LIMIT", 1 << 30)
    network, _ = small_network()
    write_network(path, network, load_artifact(path)[1])
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.json", "x.onnx"]
    assert "external" not in load_artifact(path)[1].meta


FORBIDDEN = {"NonMaxSuppression", "RoiAlign", "NonZero", "Loop", "If", "Scan", "Shape"}


def assert_plain(network, free_batch):
    """No plugin, no control flow; sizes are computed for the batch alone."""
    model = onnx.load_from_string(network)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert not kinds.keys() & (FORBIDDEN - ({"Shape"} if free_batch else set()))
    assert kinds["Shape"] <= 2


def test_the_classifier_is_plain_and_attention_has_the_form_that_fuses(narrow_encoder):
    network, _ = small_network()
    assert_plain(network, free_batch=True)
    nodes = onnx.load_from_string(network).graph.node
    assert not any(node.op_type in ("Sqrt", "Split", "Squeeze") for node in nodes)


def exports_twice(module, plan, samples, outputs):
    """Export twice; equal bytes, clean, and the same answers on ONNX Runtime."""
    network = build_graph(module, plan)
    assert network == build_graph(module, plan)
    engine = OnnxEngine(network, graph_spec(network), RuntimeConfig())
    for sample in samples:
        found = engine.run({"images": sample})
        with torch.inference_mode():
            expected = module(torch.from_numpy(sample))
        expected = (expected,) if isinstance(expected, torch.Tensor) else expected
        for name, right in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(found[name], right.numpy(), atol=2e-4)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["identification", "defects"])
def test_base_exports_deterministically_and_answers_as_torch(stage, tmp_path):
    torch.manual_seed(0)
    settings = {"size": "base", "img_size": 224}
    build = {
        "identification": lambda: (build_identification(settings), ("embedding", "feature")),
        "defects": lambda: (DefectGraph(build_defects(settings)), ("probabilities",)),
    }
    module, outputs = build[stage]()
    samples = [trial_pictures(batch, (224, 224), seed=batch) for batch in (2, 1)]
    plan = GraphPlan({"images": torch.from_numpy(samples[0])}, outputs, free_batch=True)
    network = exports_twice(round_weights(module), plan, samples, outputs)
    assert_plain(network, free_batch=True)
    (tmp_path / "x.onnx").write_bytes(network)
    assert check_file(tmp_path / "x.onnx", TARGET) == []


@pytest.mark.slow
def test_base_segmenter_exports_deterministically_and_is_clean(tmp_path):
    pytest.importorskip("mmdet", reason="mmdetection builds the detector")
    from robollm_core.segmentation.deploy import DeployedDetector
    from robollm_core.segmentation.design import DetectorDesign
    from robollm_core.segmentation.detector import build_detector

    torch.manual_seed(0)
    design = DetectorDesign(encoder="base", input_height=128, input_width=160, rpn_pre=200)
    module = round_weights(DeployedDetector(build_detector(design), design))
    image = trial_pictures(1, design.input_hw, seed=0)
    outputs = ("boxes", "scores", "labels", "masks")
    plan = GraphPlan({"images": torch.from_numpy(image)}, outputs, free_batch=False)
    network = build_graph(module, plan)
    assert network == build_graph(module, plan)
    assert_plain(network, free_batch=False)
    (tmp_path / "x.onnx").write_bytes(network)
    assert check_file(tmp_path / "x.onnx", TARGET) == []
    found = OnnxEngine(network, graph_spec(network), RuntimeConfig()).run({"images": image})
    with torch.inference_mode():
        _, scores, _, masks = module(torch.from_numpy(image))
    np.testing.assert_allclose(found["scores"], scores.numpy(), atol=1e-3)
    assert found["masks"].shape == tuple(masks.shape)


LARGE = """
import resource, numpy as np, torch
from robollm_core.config import RuntimeConfig
from robollm_core.export.onnx import GraphPlan, build_graph, round_weights
from robollm_core.export.stages import trial_pictures
from robollm_core.identification.model import build_identification
from robollm_core.runtime.onnx import OnnxEngine, graph_spec

torch.manual_seed(0)
module = round_weights(build_identification({"size": "large", "img_size": 224}))
sample = trial_pictures(2, (224, 224), seed=0)
plan = GraphPlan({"images": torch.from_numpy(sample)}, ("embedding", "feature"), True)
network = build_graph(module, plan)
print(len(network), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
with torch.inference_mode():
    expected = module(torch.from_numpy(sample[:1]))[0].numpy()
del module
found = OnnxEngine(network, graph_spec(network), RuntimeConfig()).run({"images": sample[:1]})
print(np.abs(found["embedding"] - expected).max())
"""


@pytest.mark.slow
def test_large_embedder_exports_within_memory():
    # a process of its own: the peak of this one holds the other tests too
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    size, peak_kib, apart = map(float, done.stdout.split())
    assert 0.6e9 < size < 0.7e9
    assert peak_kib * 1024 < 10e9
    assert apart < 2e-4


SMALL_DESIGN = {
    "encoder": "tiny",
    "input_height": 96,
    "input_width": 128,
    "channels": 32,
    "finest_stride": 8,
    "rpn_pre": 50,
    "proposals": 20,
    "head_width": 32,
    "mask_width": 16,
    "mask_convs": 1,
    "mask_all_stages": False,
    "detections": 10,
}


def write_checkpoint(path, recipe):
    content = {"format": 1, "stage": "segmentation", "recipe": recipe}
    torch.save({**content, "model": {"weight": torch.zeros(1)}}, path)
    return path


def test_the_recipe_lists_sizes_and_the_command_replaces_them(tmp_path):
    plain = write_checkpoint(tmp_path / "a.pt", SMALL_DESIGN)
    listed = write_checkpoint(
        tmp_path / "b.pt", {**SMALL_DESIGN, "export_sizes": "96x128 160x192 64x96"}
    )
    assert sizes_of("segmentation", plain) == (None,)
    assert sizes_of("segmentation", listed) == (None, (160, 192), (64, 96))
    assert sizes_of("segmentation", listed, ["32x64", "32x64"]) == (None, (32, 64))
    assert sizes_of("defects", plain) == (None,)
    with pytest.raises(ConfigError, match="only segmentation"):
        sizes_of("defects", plain, ["32x64"])
    out = tmp_path / "segmentation.onnx"
    assert sized_path(out, None) == out
    assert sized_path(out, (480, 640)) == tmp_path / "segmentation_480x640.onnx"


@pytest.mark.parametrize(
    ("size", "words"),
    [("480x650", "multiples of 32.*480x640"), ("480", "HEIGHTxWIDTH"), ("0x32", "multiples of 32")],
)
def test_a_size_that_cannot_be_had_says_what_to_give(tmp_path, size, words):
    checkpoint = write_checkpoint(tmp_path / "a.pt", SMALL_DESIGN)
    with pytest.raises(ConfigError, match=words):
        sizes_of("segmentation", checkpoint, [size])


@pytest.mark.slow
def test_each_size_is_an_artifact_that_finds_the_same_as_torch(tmp_path):
    pytest.importorskip("mmdet", reason="mmdetection builds the detector")
    from robollm_core.segmentation.design import design_from
    from robollm_core.segmentation.detector import build_detector

    torch.manual_seed(0)
    recipe = {**SMALL_DESIGN, "export_sizes": "160x192"}
    model = build_detector(design_from(recipe)).state_dict()
    checkpoint = tmp_path / "best.pt"
    torch.save({"format": 1, "stage": "segmentation", "recipe": recipe, "model": model}, checkpoint)
    out = tmp_path / "segmentation.onnx"
    words = ["export", "segmentation", "--checkpoint", str(checkpoint), "--out", str(out)]
    assert main([*words, "--keep-checkpoint"]) == 0
    for path, hw in ((out, (96, 128)), (tmp_path / "segmentation_160x192.onnx", (160, 192))):
        _, sidecar = load_artifact(path)
        assert sidecar.meta["input_hw"] == list(hw)
        assert_plain(path.read_bytes(), free_batch=False)
        image = trial_pictures(1, hw, seed=9)
        found = [
            load_engine(path, RuntimeConfig(name=name)).run({"images": image})
            for name in ("onnx", "torch")
        ]
        assert found[0]["scores"][0, 0] > 0
        np.testing.assert_allclose(found[0]["scores"], found[1]["scores"], atol=0.02)


@pytest.mark.slow
def test_another_size_carries_positions_over_as_the_encoder_does():
    pytest.importorskip("mmdet", reason="mmdetection builds the detector")
    from robollm_core.segmentation.deploy import DeployedDetector
    from robollm_core.segmentation.design import design_from
    from robollm_core.segmentation.detector import build_detector

    torch.manual_seed(0)
    design = design_from(SMALL_DESIGN)
    detector = build_detector(design).eval()
    with torch.no_grad():
        detector.backbone.encoder.positions.normal_()
    graph = DeployedDetector(detector, design)
    other = graph.at((160, 192))
    assert graph.at((96, 128)) is graph
    assert detector.backbone.encoder.shape.image_hw == (96, 128)  # the original is as it was
    # an encoder that meets another size carries its positions over whenever it runs
    whenever = DeployedDetector(detector, design.at((160, 192)))
    image = torch.from_numpy(trial_pictures(1, (160, 192), seed=1))
    with torch.inference_mode():
        for left, right in zip(other(image), whenever(image), strict=True):
            torch.testing.assert_close(left, right)
