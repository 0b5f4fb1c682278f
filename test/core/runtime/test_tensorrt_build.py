# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Real engines, built for GPUs that are not here; nodes that need a plugin are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from robollm_core.errors import ArtifactError, RuntimeUnavailableError
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.tensorrt_build import Batches, BuildPlan, build, main, targets
from robollm_core.runtime.tensorrt_flavour import RTX, find_flavour

pytest.importorskip("tensorrt_rtx_bindings")
small_onnx = pytest.importorskip("small_onnx")

TARGETS = ("sm86", "sm89", "sm120")
TINY = ("segmentation", "identification", "identification_fusion", "defects")
MODELS = Path(__file__).parents[3] / "models" / "tiny"
# two runs of the builder on one network differ in a few bytes, so engines are told apart by size
LEAST_BYTES = 100_000


def sample(sidecar, rng):
    """Seeded inputs of a network, two rows where the batch is free."""
    made = {}
    for tensor in sidecar.spec.inputs:
        shape = [2 if size == -1 else size for size in tensor.shape]
        if tensor.dtype == "uint8":
            made[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            made[tensor.name] = rng.standard_normal(shape).astype(tensor.dtype)
    return made


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "rows.onnx"
    path.write_bytes(small_onnx.rows())
    return BuildPlan(path, RTX, "sm86")


def test_a_plan_survives_its_journey(plan):
    assert BuildPlan.from_json(plan.to_json()) == plan
    other = BuildPlan(plan.network, RTX, "sm89", Batches(1, 4), 64)
    assert BuildPlan.from_json(other.to_json()) == other


def test_the_three_generations_are_among_the_targets():
    assert set(TARGETS) <= set(targets(find_flavour(RTX)))


def test_a_small_network_is_built(plan):
    engine, timing = build(plan)
    assert len(engine) > LEAST_BYTES
    assert timing == b""


@pytest.mark.parametrize("name", ["/swirl", "/align", "/suppress", "/unique"])
def test_a_node_without_a_kernel_is_refused_and_named(name, tmp_path):
    path = tmp_path / "refused.onnx"
    path.write_bytes(small_onnx.refused()[name])
    with pytest.raises(ArtifactError, match=name) as caught:
        build(BuildPlan(path, RTX, "sm86"))
    assert "robollm export check" in str(caught.value)


def test_an_unsupported_node_in_a_shipped_network_is_refused_and_named(tmp_path):
    from onnx import helper

    model = small_onnx.load((MODELS / "identification_fusion.onnx").read_bytes())
    last = model.graph.node[-1]
    last.output[0] = "before"
    swirl = helper.make_node("Swirl", ["before"], ["embedding"], name="/swirl", domain="acme")
    model.graph.node.append(swirl)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    path = tmp_path / "fusion.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="/swirl.*Swirl"):
        build(BuildPlan(path, RTX, "sm86"))


def test_a_layer_of_a_plugin_is_refused_and_named(plan):
    # no plugin is registered here: what the parser would have made of one is put in its place
    from types import SimpleNamespace

    from robollm_core.runtime import tensorrt_build

    layer = SimpleNamespace(name="/align", type=SimpleNamespace(name="PLUGIN_V3"))
    network = SimpleNamespace(num_layers=1, get_layer=lambda index: layer)
    with pytest.raises(ArtifactError, match="'/align' needs a plugin"):
        tensorrt_build._refuse_plugins(plan, find_flavour(RTX), network)


def test_a_network_of_two_files_is_built_and_half_of_it_is_refused(plan):
    import onnx

    data = plan.network.with_name("rows.onnx.data")
    model = small_onnx.load(plan.network.read_bytes())
    onnx.save(model, plan.network, save_as_external_data=True, location=data.name, size_threshold=0)
    assert data.stat().st_size > 0
    assert len(build(plan)[0]) > LEAST_BYTES
    data.unlink()
    with pytest.raises(ArtifactError, match="rows.onnx"):
        build(plan)


def test_half_a_network_is_refused(plan):
    plan.network.write_bytes(plan.network.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="Failed to parse"):
        build(plan)


def test_a_gpu_that_rtx_does_not_know_is_refused(plan):
    with pytest.raises(RuntimeUnavailableError, match="sm86.*not for sm90"):
        build(BuildPlan(plan.network, RTX, "sm90"))


def test_a_free_size_other_than_the_batch_is_refused(tmp_path):
    from onnx import TensorProto, helper

    x, y = (small_onnx.value(name, TensorProto.FLOAT, ("n", "w")) for name in "xy")
    path = tmp_path / "wide.onnx"
    path.write_bytes(small_onnx.network([helper.make_node("Relu", ["x"], ["y"])], [x], [y]))
    with pytest.raises(ArtifactError, match="only the batch may be free"):
        build(BuildPlan(path, RTX, "sm86"))


def test_the_program_writes_the_engine_and_tells_its_steps(plan, tmp_path, capsys):
    assert main([plan.to_json(), str(tmp_path)]) == 0
    assert (tmp_path / "engine").stat().st_size > LEAST_BYTES
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(line.startswith("phase ") for line in lines)


def test_the_program_tells_why_it_refused(plan, tmp_path, capsys):
    plan.network.write_bytes(small_onnx.refused()["/swirl"])
    assert main([plan.to_json(), str(tmp_path)]) == 2
    word, _, told = capsys.readouterr().out.splitlines()[-1].partition(" ")
    assert word == "refused"
    assert json.loads(told)["kind"] == "ArtifactError"
    assert "/swirl" in json.loads(told)["text"]
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize("name", TINY)
def test_tensorrt_sees_the_tensors_that_the_sidecar_says(name):
    from robollm_core.runtime.tensorrt import _DTYPES
    from robollm_core.types import EngineSpec, TensorSpec

    file, sidecar = load_artifact(MODELS / f"{name}.onnx")
    flavour = find_flavour(RTX)
    typed = 1 << int(flavour.bindings.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = flavour.bindings.Builder(flavour.logger).create_network(typed)
    parser = flavour.bindings.OnnxParser(network, flavour.logger)
    assert parser.parse_from_file(str(file))

    def seen(count, get):
        tensors = [get(index) for index in range(count)]
        return tuple(TensorSpec(x.name, tuple(x.shape), _DTYPES[x.dtype.name]) for x in tensors)

    inputs = seen(network.num_inputs, network.get_input)
    outputs = seen(network.num_outputs, network.get_output)
    assert EngineSpec(inputs, outputs) == sidecar.spec


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", TINY)
def test_the_shipped_networks_are_built_as_they_are(name, target):
    file, _ = load_artifact(MODELS / f"{name}.onnx")
    engine, _ = build(BuildPlan(file, RTX, target))
    assert len(engine) > LEAST_BYTES


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """fp16 of the shipped networks and of a Base embedder with random weights, by name."""
    pytest.importorskip("modelopt")
    precision = pytest.importorskip("robollm_core.export.precision")
    folder = tmp_path_factory.mktemp("half")
    made = {}

    def converted(name):
        if name not in made:
            network, inputs = base() if name == "base" else shipped(name)
            made[name] = folder / f"{name}.fp16.onnx"
            made[name].write_bytes(precision.convert(network, "fp16", [inputs]))
        return made[name]

    return converted


def shipped(name):
    file, sidecar = load_artifact(MODELS / f"{name}.onnx")
    return file.read_bytes(), sample(sidecar, np.random.default_rng(0))


def base():
    import torch

    from robollm_core.export.onnx import GraphPlan, build_graph, round_weights
    from robollm_core.identification import model

    torch.manual_seed(0)
    sizes = {"size": "base", "img_size": 224, "embedding": 768, "fusion": 3072}
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    plan = GraphPlan({"images": images}, ("embedding", "feature"), free_batch=True)
    return build_graph(round_weights(model.build_graph(sizes)), plan), {"images": images.numpy()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TINY, "base"])
def test_fp16_engines_for_three_generations(name, half):
    path = half(name)
    assert any(x.data_type == 10 for x in small_onnx.load(path.read_bytes()).graph.initializer)
    for target in TARGETS:
        engine, _ = build(BuildPlan(path, RTX, target))
        # twelve layers of 768 in half precision are 170 MB
        assert len(engine) > (150e6 if name == "base" else LEAST_BYTES)
        if name == "base":
            assert len(engine) < 250e6, "the weights were not kept in half precision"
