# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The products that set the peaks."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robollm_core.bench.peak import STEPS, Product, peaks_of, product_run, products
from robollm_core.bench.products import write_graph
from robollm_core.bench.timing import Timed
from robollm_core.config import RuntimeConfig
from robollm_core.runtime.factory import load_engine

ONE = RuntimeConfig(name="onnx", threads=1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_graph_multiplies_four_times(tmp_path, precision):
    write_graph(tmp_path / "g.onnx", precision, 32, 3)
    graph = onnx.load(tmp_path / "g.onnx").graph
    assert [node.op_type for node in graph.node].count("MatMul") == 3
    left = np.random.default_rng(1).standard_normal((32, 32), np.float32)
    found = load_engine(tmp_path / "g.onnx", ONE).run({"x": left})["y"]
    constants = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in graph.initializer}
    expected = left.astype(np.float64)
    for step in range(3):
        expected = expected @ (constants[f"w{step}"] * constants.get(f"ws{step}", 1.0))
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert found.dtype == np.float32
    assert error < {"fp32": 1e-5, "fp16": 1e-2, "int8": 0.1}[precision]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_torch_multiplies_in_the_precision_asked_for(tmp_path, precision):
    found = product_run(Product(precision, "torch", 32), ONE, tmp_path)()
    kinds = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int32"}
    assert str(found.dtype) == f"torch.{kinds[precision]}" and found.shape == (32, 32)


def test_a_run_of_a_runtime_is_several_products_and_is_counted_as_such(tmp_path):
    found = product_run(Product("fp32", "onnx", 32), ONE, tmp_path)()
    assert found["y"].shape == (32, 32)
    (file,) = tmp_path.glob("*.onnx")
    assert [n.op_type for n in onnx.load(file).graph.node].count("MatMul") == STEPS
    assert Product("fp32", "onnx", 32).gflop == pytest.approx(STEPS * 2 * 32**3 / 1e9)
    assert Product("fp32", "torch", 32).gflop == pytest.approx(2 * 32**3 / 1e9)


def test_who_takes_part_depends_on_precision_and_device():
    named = {
        (p.precision, p.library) for p in products(("fp32", "bf16"), ("torch", "onnx"), (8,), "cpu")
    }
    assert named == {("fp32", "torch"), ("fp32", "onnx"), ("bf16", "torch")}
    assert ("fp16", "onnx") in {
        (p.precision, p.library) for p in products(("fp16",), ("onnx",), (8,), "cuda")
    }


def test_the_peak_is_the_median_run_of_the_best_library_and_size():
    found = {
        # 2 GFLOP a run: 1000 GFLOP/s at its best, 500 by its median
        Product("fp32", "torch", 1000): Timed([0.004, 0.002, 0.005]),
        # 4 x 0.25 GFLOP: 800 by its median
        Product("fp32", "onnx", 500): Timed([0.00125, 0.0012, 0.0013]),
        Product("fp32", "openvino", 500): Timed(error="no such library"),
        Product("bf16", "torch", 1000): Timed(error="no kernel"),
    }
    peaks = peaks_of(found)
    assert peaks["fp32"]["gflops"] == 800.0 and peaks["fp32"]["library"] == "onnx"
    assert peaks["fp32"]["size"] == 500 and peaks["fp32"]["gflops_best"] == 833.33
    assert peaks["fp32"]["all"] == {"torch 1000": 500.0, "onnx 500": 800.0}
    assert peaks["fp32"]["errors"] == {"openvino 500": "no such library"}
    assert peaks["bf16"] == {"gflops": None, "errors": {"torch 1000": "no kernel"}}
