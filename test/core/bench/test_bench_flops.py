# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The work of a graph, against torch's own counter and against counts by hand."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robollm_core.bench.flops import graph_gflop
from robollm_core.bench.networks import Choice, build_module, find_network
from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError


def write(path, nodes, inputs, constants=()):
    """A graph from float inputs to "y"; constants are random, of the shapes named."""
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
            for n, s in dict(constants).items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


BY_HAND = {
    "MatMul": ({}, (2, 3, 5), (5, 7), 2 * 2 * 3 * 5 * 7),
    "Gemm": ({"transA": 1}, (5, 3), (5, 7), 2 * 3 * 5 * 7),
    # 4 groups of 1 -> 2 channels, 3x3 kernels, 6x6 outputs
    "Conv": ({"group": 4, "pads": [1, 1, 1, 1]}, (2, 4, 6, 6), (8, 1, 3, 3), 2 * 2 * 8 * 36 * 9),
    # every input pixel lays down 5 kernels of 2x2 from each of 4 channels
    "ConvTranspose": ({"strides": [2, 2]}, (2, 4, 6, 6), (4, 5, 2, 2), 2 * 2 * 4 * 36 * 5 * 4),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_each_counted_operator_has_the_work_worked_out_by_hand(tmp_path, kind):
    options, first, second, operations = BY_HAND[kind]
    node = helper.make_node(kind, ["x", "w"], ["y"], **options)
    path = write(tmp_path / "g.onnx", [node], {"x": first}, {"w": second})
    counted = graph_gflop(path, [{"x": np.zeros(first, np.float32)}])
    assert counted == [pytest.approx(operations / 1e9, rel=1e-12)]


def test_sizes_that_a_graph_leaves_open_are_read_from_the_run(tmp_path):
    # the size of the product hangs on values, which no inference of shapes follows
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),
        helper.make_node("Cast", ["where"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["turned"]),
        helper.make_node("MatMul", ["turned", "w"], ["y"]),
    ]
    path = write(tmp_path / "g.onnx", nodes, {"x": [None]}, {"w": (1, 11)})
    few, many = np.float32([0, 1, 1]), np.ones(40, np.float32)
    assert graph_gflop(path, [{"x": few}, {"x": many}]) == [
        pytest.approx(2e-9 * count * 11) for count in (2, 40)
    ]


def test_what_is_no_product_does_not_count(tmp_path):
    path = write(tmp_path / "g.onnx", [helper.make_node("Exp", ["x"], ["y"])], {"x": [4]})
    assert graph_gflop(path, [{"x": np.ones(4, np.float32)}]) == [0.0]


def test_work_of_an_unknown_form_is_refused(tmp_path):
    node = helper.make_node("Einsum", ["x", "w"], ["y"], name="odd", equation="ij,jk->ik")
    path = write(tmp_path / "g.onnx", [node], {"x": (2, 3)}, {"w": (3, 4)})
    with pytest.raises(ArtifactError, match="'odd' of type Einsum"):
        graph_gflop(path, [{"x": np.zeros((2, 3), np.float32)}])


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"no network")
    with pytest.raises(ArtifactError, match="cannot read"):
        graph_gflop(tmp_path / "g.onnx", [])


@pytest.mark.parametrize(
    "stage",
    ["defects", "identification", pytest.param("segmentation", marks=pytest.mark.slow)],
)
def test_the_shipped_networks_have_the_work_that_torch_counts(stage):
    network = find_network(Choice(stage, "tiny"), RuntimeConfig())
    if stage == "segmentation":
        pytest.importorskip("mmdet", reason="mmdetection builds the detector")
    pictures = network.pictures(1)
    (counted,) = graph_gflop(network.files["fp32"], [pictures])
    module = build_module(stage, network.recipe, 0)
    # torch's counter does not know the fused attention of a CPU
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
    ):
        module(torch.from_numpy(pictures["images"]))
    assert counted == pytest.approx(counter.get_total_flops() / 1e9, rel=0.01)
