# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph: small on disk, exact in value, plain nodes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from robollm_core.errors import ParityError
from robollm_core.export.onnx import GraphPlan, build_graph, round_weights, store_half
from robollm_core.identification.model import build_identification


class Affine(torch.nn.Module):
    """One large weight, one small, one large buffer that fp16 cannot hold."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.large = torch.nn.Linear(64, 64)
        self.register_buffer("grid", torch.arange(4096.0).view(64, 64) + 0.3)

    def forward(self, x):
        return self.large(x) + self.grid.sum(0)


PLAN = GraphPlan({"x": torch.randn(2, 64)}, ("y",), free_batch=True)


def answers(network, **inputs):
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_rounding_touches_large_parameters_alone_and_leaves_the_original():
    module = Affine()
    rounded = round_weights(module)
    assert torch.equal(rounded.large.weight, module.large.weight.half().float())
    assert not torch.equal(rounded.large.weight, module.large.weight)
    assert torch.equal(rounded.large.bias, module.large.bias)
    assert torch.equal(rounded.grid, module.grid)
    assert module.large.weight.requires_grad and not rounded.large.weight.requires_grad


def test_a_weight_beyond_the_range_of_half_precision_is_kept_whole():
    module = Affine()
    with torch.no_grad():
        module.large.weight[0, 0] = 1e6
    rounded = round_weights(module)
    assert torch.equal(rounded.large.weight, module.large.weight)
    x = np.ones((1, 64), np.float32)
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(answers(build_graph(rounded, PLAN), x=x)[0], expected, rtol=1e-5)


def test_half_storage_halves_the_file_and_changes_no_answer():
    rounded = round_weights(build_identification({"size": "tiny", "img_size": 32}))
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    network = build_graph(rounded, GraphPlan({"images": images}, ("embedding", "feature"), True))
    weights = sum(p.numel() for p in rounded.encoder.parameters())
    assert len(network) < 2.2 * weights
    with torch.inference_mode():
        expected = rounded(images)
    for left, right in zip(answers(network, images=images.numpy()), expected, strict=True):
        np.testing.assert_allclose(left, right.numpy(), atol=1e-5)


def test_only_what_fp16_holds_exactly_is_converted():
    values = {
        "exact": np.arange(2048, dtype=np.float32),
        "inexact": np.full(2048, 0.1, np.float32),
        "huge": np.full(2048, 1e5, np.float32),
        "small": np.zeros(4, np.float32),
        "whole": np.zeros(2048, np.int64),
    }
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}_out"], name) for name in values]
    outputs = [
        onnx.helper.make_tensor_value_info(
            f"{name}_out", onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in values.items()
    ]
    initialisers = [numpy_helper.from_array(array, name) for name, array in values.items()]
    graph = onnx.helper.make_graph(nodes, "g", [], outputs, initialisers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    assert store_half(model) == 1
    onnx.checker.check_model(model, full_check=True)
    for found, expected in zip(answers(model.SerializeToString()), values.values(), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_large_constants_inside_the_graph_are_converted_too():
    class Corner(torch.nn.Module):
        """Its triangle becomes a constant when it is traced."""

        def forward(self, x):
            return x @ torch.ones(64, 64).triu()

    network = build_graph(Corner(), PLAN)
    assert len(network) < 64 * 64 * 4
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    expected = np.cumsum(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(answers(network, x=x)[0], expected, atol=1e-4)


def test_the_same_module_gives_the_same_bytes():
    rounded = round_weights(Affine())
    assert build_graph(rounded, PLAN) == build_graph(rounded, PLAN)


def test_the_graph_holds_no_foreign_nodes_and_states_its_sizes():
    rounded = round_weights(build_identification({"size": "tiny", "img_size": 32}))
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    network = build_graph(rounded, GraphPlan({"images": images}, ("embedding", "feature"), True))
    model = onnx.load_from_string(network)
    assert {node.domain for node in model.graph.node} == {""}
    assert [opset.version for opset in model.opset_import] == [17]
    for output in model.graph.output:
        sizes = output.type.tensor_type.shape.dim
        assert sizes[0].dim_param and sizes[1].dim_value == 256
    assert b"/work" not in network and b"/home" not in network


def test_bytes_are_cast_before_anything_else_touches_them():
    # TensorRT takes uint8 inputs, and nothing but a cast may read them
    rounded = round_weights(build_identification({"size": "tiny", "img_size": 32}))
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    network = build_graph(rounded, GraphPlan({"images": images}, ("embedding", "feature"), True))
    nodes = onnx.load_from_string(network).graph.node
    assert {node.op_type for node in nodes if "images" in node.input} <= {"Cast", "Shape"}


def test_what_onnx_cannot_say_is_an_error():
    class Median(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x @ x.T)

    with pytest.raises(ParityError, match="cannot be expressed"):
        build_graph(Median(), PLAN)
