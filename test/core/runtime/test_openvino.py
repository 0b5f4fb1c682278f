# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: which arithmetic a network gets, and what is kept of a compiled one."""

import logging
import os
from dataclasses import replace

import colour_cell
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime.artifact import Sidecar, load_artifact, write_artifact
from robollm_core.runtime.factory import load_engine, resolve
from robollm_core.types import EngineSpec, TensorSpec

openvino = pytest.importorskip("openvino")

from robollm_core.runtime import openvino as runtime  # noqa: E402 - after the skip

CAPABILITIES = {
    "amx": ["BF16", "FP32", "FP16", "INT8"],
    "avx2": ["FP32", "INT8"],
}


class Told:
    """A Core that says of this CPU what a test wants."""

    capable = CAPABILITIES["amx"]

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self.capable


@pytest.fixture
def own(tmp_path):
    """A configuration with a cache of its own."""
    return RuntimeConfig("openvino", threads=1, cache=str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def defects(tmp_path_factory):
    return colour_cell.defects(tmp_path_factory.mktemp("cell") / "defects.onnx")


def ask(engine, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    return engine.run({"images": images})["probabilities"]


@pytest.mark.parametrize(
    ("capable", "asked", "stored", "got"),
    [
        ("amx", "auto", "fp32", "bf16"),
        ("amx", "auto", "fp16 weights", "bf16"),
        ("amx", "fp32", "fp32", "fp32"),
        ("amx", "fp16", "fp32", "fp16"),
        ("avx2", "auto", "fp32", "fp32"),
        ("avx2", "fp32", "fp16 weights", "fp32"),
        # a graph with types of its own keeps them
        ("amx", "auto", "fp16", "own"),
        ("amx", "fp32", "bf16", "own"),
        ("avx2", "bf16", "int8", "own"),
    ],
)
def test_the_arithmetic_follows_cpu_setting_and_artifact(monkeypatch, capable, asked, stored, got):
    monkeypatch.setattr(Told, "capable", CAPABILITIES[capable])
    monkeypatch.setattr(openvino, "Core", Told)
    assert runtime.arithmetic(RuntimeConfig("openvino", precision=asked), stored) == got


@pytest.mark.parametrize("asked", ["bf16", "fp16"])
def test_arithmetic_that_the_cpu_lacks_is_refused(monkeypatch, asked):
    monkeypatch.setattr(Told, "capable", CAPABILITIES["avx2"])
    monkeypatch.setattr(openvino, "Core", Told)
    with pytest.raises(RuntimeUnavailableError, match=f"needs a CPU with {asked.upper()}"):
        runtime.arithmetic(RuntimeConfig("openvino", precision=asked), "fp32")


def test_it_runs_on_the_cpu_alone(defects, own):
    with pytest.raises(RuntimeUnavailableError, match=r"Set runtime\.device to cpu"):
        load_engine(defects, replace(own, device="cuda"))


def test_settings_reach_the_compiled_network(defects, own):
    engine = load_engine(defects, replace(own, threads=2, precision="fp32"))
    told = engine._model.get_property
    assert told("INFERENCE_NUM_THREADS") == 2
    assert told("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert told("ENABLE_CPU_PINNING") is False


def test_no_threads_named_means_the_cores_of_this_process(defects, own, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    engine = load_engine(defects, replace(own, threads=0))
    assert engine._model.get_property("INFERENCE_NUM_THREADS") == 1


def refuse(*_):
    raise AssertionError("compiled again")


def blobs(tmp_path):
    return sorted((tmp_path / "cache" / "openvino").glob("*.blob"))


def test_a_second_start_compiles_nothing_and_answers_alike(defects, own, tmp_path, monkeypatch):
    first = ask(load_engine(defects, own))
    (blob,) = blobs(tmp_path)
    kept = blob.read_bytes()

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    np.testing.assert_array_equal(ask(load_engine(defects, own)), first)
    assert blob.read_bytes() == kept
    # other threads, arithmetic or networks are other entries
    for other in (replace(own, threads=2), replace(own, precision="fp32")):
        with pytest.raises(AssertionError, match="compiled again"):
            load_engine(defects, other)


@pytest.mark.parametrize("harm", ["cut", "zeros", "empty", "no sidecar"])
def test_a_damaged_entry_is_compiled_anew_and_kept(defects, own, tmp_path, harm, monkeypatch):
    first = ask(load_engine(defects, own))
    (blob,) = blobs(tmp_path)
    data = blob.read_bytes()
    if harm == "no sidecar":
        blob.with_suffix(".json").unlink()
    else:
        spoilt = {"cut": data[: len(data) // 2], "zeros": bytes(len(data)), "empty": b""}[harm]
        blob.write_bytes(spoilt)
    np.testing.assert_array_equal(ask(load_engine(defects, own)), first)
    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    np.testing.assert_array_equal(ask(load_engine(defects, own)), first)


def test_an_entry_that_openvino_refuses_is_compiled_anew(defects, own, monkeypatch, caplog):
    first = ask(load_engine(defects, own))

    def fail(*_):
        raise RuntimeError("of another build")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(openvino.Core, "import_model", fail)
        np.testing.assert_array_equal(ask(load_engine(defects, own)), first)
    assert "compiling anew: of another build" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_once_and_does_no_harm(
    defects, own, tmp_path, caplog
):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        engine = load_engine(defects, own)
        assert ask(engine).shape == (2, 3)
        assert ask(load_engine(defects, replace(own, threads=2))).shape == (2, 3)
    assert engine.description.endswith("(not cached)")
    assert len(caplog.records) == 1
    assert "runtime.cache" in caplog.text


def test_a_network_without_free_sizes_and_with_unused_input_runs(tmp_path, own):
    path = colour_cell.segmentation(tmp_path / "s.onnx", [[1, 2, 3, 4]], [0.5])
    engine = load_engine(path, own)
    answer = engine.run({"images": np.zeros((1, *colour_cell.INPUT_HW, 3), np.uint8)})
    np.testing.assert_array_equal(answer["boxes"], [[[1, 2, 3, 4]]])
    assert answer["labels"].dtype == np.int64
    assert engine.spec == load_artifact(path)[1].spec


def test_an_output_that_merely_passes_on_another_keeps_both_names(tmp_path, own):
    path = colour_cell.identification(tmp_path / "i.onnx")
    images = np.full((3, 16, 16, 3), (200, 40, 40), np.uint8)
    found = load_engine(path, replace(own, precision="fp32")).run({"images": images})
    np.testing.assert_allclose(found["feature"], [[0.5625, -0.6875, -0.6875]] * 3, rtol=1e-5)
    assert list(found) == ["embedding", "feature"]


def typed(path, precision, kind):
    """(N, 4) float32 through a product in a type of the graph's own, with a fp32 island."""
    weights = np.linspace(-1.0, 1.0, 16).reshape(4, 4).astype(np.float32)
    tensor = numpy_helper.from_array(weights.astype(np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["typed"], to=kind),
        helper.make_node("Cast", ["w"], ["v"], to=kind),
        helper.make_node("MatMul", ["typed", "v"], ["product"]),
        helper.make_node("Cast", ["product"], ["wide"], to=TensorProto.FLOAT),
        # 1 part in 4096 is lost in half precision and more so in bfloat16
        helper.make_node("Add", ["wide", "fine"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "typed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [tensor, numpy_helper.from_array(np.array([1024.125], np.float32), "fine")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model)
    spec = EngineSpec(
        (TensorSpec("x", (-1, 4), "float32"),), (TensorSpec("y", (-1, 4), "float32"),)
    )
    write_artifact(
        path, model.SerializeToString(), Sidecar("identification_fusion", spec, precision=precision)
    )
    return path


@pytest.mark.parametrize(
    ("precision", "kind", "step"),
    [("fp16", TensorProto.FLOAT16, 2**-11), ("bf16", TensorProto.BFLOAT16, 2**-8)],
)
def test_a_typed_graph_is_computed_in_its_own_types(tmp_path, own, precision, kind, step):
    engine = load_engine(typed(tmp_path / "x.onnx", precision, kind), own)
    assert engine.description.endswith("in the types of the graph")
    rows = np.zeros((2, 4), np.float32)
    np.testing.assert_array_equal(engine.run({"x": rows})["y"], np.full((2, 4), 1024.125))
    rows = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    weights = np.linspace(-1.0, 1.0, 16).reshape(4, 4)
    exact = rows @ weights + 1024.125
    bound = 4 * step * (np.abs(rows) @ np.abs(weights)) + 2e-4
    assert (np.abs(engine.run({"x": rows})["y"] - exact) <= bound).all()


def test_the_resolved_precision_is_one_to_ask_for(tmp_path, defects, own):
    found = resolve(defects, own)
    assert found.precision in ("fp32", "bf16")
    assert resolve(defects, found) == found
    assert load_engine(defects, found).description.split()[3] == found.precision
    path = typed(tmp_path / "x.onnx", "fp16", TensorProto.FLOAT16)
    assert resolve(path, replace(own, precision="fp32")).precision == "auto"
