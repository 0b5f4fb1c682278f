# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: who computes, with how many threads, and whose memory the arrays are."""

import logging
import os

import colour_cell
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RuntimeFailedError, RuntimeUnavailableError
from robollm_core.runtime import onnx as runtime
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_bare_engine
from robollm_core.runtime.onnx import OnnxEngine

GPU = RuntimeConfig("onnx", device="cuda")


@pytest.fixture(scope="module")
def defects(tmp_path_factory):
    return colour_cell.defects(tmp_path_factory.mktemp("cell") / "defects.onnx")


def open_engine(path, **settings):
    return OnnxEngine(path, load_artifact(path)[1].spec, RuntimeConfig("onnx", **settings))


def images(batch, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 16, 16, 3), dtype=np.uint8)


def test_threads_reach_the_runtime_and_none_spins(defects):
    options = open_engine(defects, threads=1)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_no_threads_named_means_the_cores_of_this_process(defects, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    options = open_engine(defects)._session.get_session_options()
    assert options.intra_op_num_threads == 3


def test_bound_buffers_are_kept_for_a_shape_and_left_for_another(defects):
    engine = open_engine(defects, threads=1)
    engine.run({"images": images(2)})
    first = engine._bound
    engine.run({"images": images(2, seed=1)})
    assert engine._bound is first
    engine.run({"images": images(3)})
    assert engine._bound is not first


def test_bound_buffers_are_not_the_memory_of_the_caller(defects):
    engine = open_engine(defects, threads=1)
    given, kept = images(2), images(2)
    first = engine.run({"images": given})["probabilities"]
    expected = first.copy()
    other = engine.run({"images": images(2, seed=1)})["probabilities"]
    np.testing.assert_array_equal(given, kept)
    np.testing.assert_array_equal(first, expected)
    assert np.abs(other - first).max() > 0
    first[:] = 7  # the caller may write into what it got
    np.testing.assert_array_equal(engine.run({"images": given})["probabilities"], expected)


def test_fixed_outputs_lie_in_buffers_made_before_the_run(tmp_path):
    path = colour_cell.segmentation(tmp_path / "s.onnx", [[1, 2, 3, 4]], [0.5])
    engine = open_engine(path, threads=1)
    frame = {"images": np.zeros((1, *colour_cell.INPUT_HW, 3), np.uint8)}
    first = engine.run(frame)
    bound = [value.data_ptr() for value in engine._bound._binding.get_outputs()]
    engine.run(frame)
    assert [value.data_ptr() for value in engine._bound._binding.get_outputs()] == bound
    np.testing.assert_array_equal(first["boxes"], [[[1, 2, 3, 4]]])


def test_a_size_that_only_the_run_knows_is_found(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["y"])
    graph = helper.make_graph(
        [node],
        "positions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    engine = load_bare_engine(tmp_path / "x.onnx", RuntimeConfig(threads=1))
    for row, found in (([0, 1, 0, 2], [[1, 3]]), ([1, 1, 1, 0], [[0, 1, 2]]), ([1, 0], [[0]])):
        answer = engine.run({"x": np.array(row, np.float32)})["y"]
        np.testing.assert_array_equal(answer, found)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt_rtx"])
def test_a_provider_that_is_not_there_is_named(defects, provider):
    name = runtime.GPU[provider]
    if name in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {name}")
    with pytest.raises(RuntimeUnavailableError, match=f"needs {name}"):
        open_engine(defects, device="cuda", provider=provider)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt_rtx"])
def test_the_provider_asked_for_comes_first_and_is_checked(
    defects, monkeypatch, tmp_path, provider
):
    name, asked = runtime.GPU[provider], []
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [name, "CPUExecutionProvider"]
    )

    class Session:
        """As ONNX Runtime answers when the libraries of a provider do not load."""

        def __init__(self, source, options, providers):
            asked.extend(providers)

        def disable_fallback(self):
            pass

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(RuntimeUnavailableError, match=f"asked for {name}, .* uses CPUExecution"):
        open_engine(defects, device="cuda", provider=provider, cache=str(tmp_path / "cache"))
    if provider == "cuda":
        assert asked == [name]
    else:
        first, options = asked[0]
        folder = str(tmp_path / "cache" / "onnxruntime")
        assert first == name and folder in options.values()
        assert (tmp_path / "cache" / "onnxruntime").is_dir()
        assert asked[1:] == ["CUDAExecutionProvider"]


def test_a_provider_whose_cache_cannot_be_written_goes_without(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    config = RuntimeConfig("onnx", "cuda", "tensorrt", cache=str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        chosen = runtime._choice("TensorrtExecutionProvider", config)
    assert chosen == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert "anew at every start" in caplog.text


def test_too_little_memory_while_loading_is_no_fault_of_the_network(defects, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(RuntimeFailedError, match="not enough memory"):
        OnnxEngine(defects, load_artifact(defects)[1].spec, RuntimeConfig("onnx"))
