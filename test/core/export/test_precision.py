# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks in other precisions: types in the graph, islands, same inputs and outputs."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_networks
from onnx import TensorProto

from robollm_core.config import RuntimeConfig
from robollm_core.errors import ConfigError, DependencyError, ParityError
from robollm_core.export.large import LargeNetwork
from robollm_core.export.precision import (
    Islands,
    arithmetic,
    convert,
    fold_constants,
    ladder,
)
from robollm_core.runtime.factory import load_engine

pytest.importorskip("modelopt.onnx.autocast", reason="NVIDIA ModelOpt is not installed")

SAMPLES = [{"images": small_networks.images()}]
KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
PRODUCTS = ("Conv", "MatMul")


@pytest.fixture(scope="module")
def converted():
    """Each precision of the small network."""
    data = small_networks.network()
    return {one: onnx.load_from_string(convert(data, one, SAMPLES)) for one in (*KINDS, "int8")}


def types_of(model):
    """Tensor to its type, by the standard's own inference."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    found = {one.name: one.type.tensor_type.elem_type for one in values}
    return found | {one.name: one.data_type for one in inferred.graph.initializer}


@pytest.mark.parametrize("precision", KINDS)
def test_products_are_computed_in_the_type_that_was_asked_for(converted, precision):
    model, kind = converted[precision], KINDS[precision]
    types = types_of(model)
    inner = {n.name: n for n in model.graph.node if n.op_type in PRODUCTS}
    assert len(inner) == 7
    for node in inner.values():
        assert {types[name] for name in (*node.input, *node.output)} == {kind}, node.name
    assert arithmetic(model) == {**dict.fromkeys(("fp32", "fp16", "bf16", "int8"), 0), precision: 7}


@pytest.mark.parametrize("precision", KINDS)
def test_islands_stay_in_fp32(converted, precision):
    types = types_of(converted[precision])
    nodes = converted[precision].graph.node
    islands = [n for n in nodes if n.op_type in ("Softmax", "LayerNormalization", "ReduceMean")]
    assert Counter(n.op_type for n in islands) == {
        "Softmax": 2, "LayerNormalization": 1, "ReduceMean": 1,
    }  # fmt: skip
    # normalisation of the pixels lies in the outermost part of the graph
    islands += [n for n in nodes if n.name in ("/model/Div", "/model/Sub")]
    assert len(islands) == 6
    assert all(types[n.input[0]] == types[n.output[0]] == TensorProto.FLOAT for n in islands)


@pytest.mark.parametrize(("precision", "opset"), [("fp16", 19), ("bf16", 22), ("int8", 17)])
def test_inputs_and_outputs_keep_names_shapes_and_types(converted, precision, opset):
    origin = onnx.load_from_string(small_networks.network())
    model = converted[precision]
    for side in ("input", "output"):
        for one, other in zip(getattr(origin.graph, side), getattr(model.graph, side), strict=True):
            assert one.name == other.name and one.type == other.type
    assert {one.domain: one.version for one in model.opset_import}[""] == opset


def test_int8_has_quantisers_and_weights_of_eight_bits(converted):
    model = converted["int8"]
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {one.name: one for one in model.graph.initializer}
    products = {n.name: n for n in model.graph.node if n.op_type in PRODUCTS}
    quantised = {
        name for name, n in products.items()
        if n.input[0] in makers and makers[n.input[0]].op_type == "DequantizeLinear"
    }  # fmt: skip
    block = small_networks.BLOCK
    assert quantised == {
        f"{block}/attention/qkv/MatMul", f"{block}/ffn/fc1/MatMul", f"{block}/ffn/fc2/MatMul",
        "/model/head/MatMul",
    }  # fmt: skip
    for name in quantised:
        weight = makers[products[name].input[1]]
        stored, scale = constants[weight.input[0]], constants[weight.input[1]]
        assert weight.op_type == "DequantizeLinear" and stored.data_type == TensorProto.INT8
        assert list(scale.dims) == [stored.dims[1]]  # one a channel of the output
        fed = makers[products[name].input[0]]
        assert makers[fed.input[0]].op_type == "QuantizeLinear"
        # symmetric, as TensorRT needs it
        assert not onnx.numpy_helper.to_array(constants[fed.input[2]]).any()
    assert arithmetic(model)["int8"] == 4 and arithmetic(model)["fp32"] == 3


@pytest.mark.parametrize(("precision", "near"), [("fp16", 1e-3), ("bf16", 1e-2), ("int8", 3e-2)])
def test_answers_stay_near_those_in_fp32(tmp_path, converted, precision, near):
    runtime = RuntimeConfig(name="openvino" if precision == "bf16" else "onnx", threads=1)
    if precision == "bf16":
        pytest.importorskip("openvino", reason="ONNX Runtime has no kernels for bf16 on a CPU")
    path = small_networks.write(tmp_path / "plain.onnx")
    expected = load_engine(path, RuntimeConfig(name="onnx", threads=1)).run(SAMPLES[0])
    data = converted[precision].SerializeToString()
    other = small_networks.write(tmp_path / "other.onnx", small_networks.network())
    small_networks.rewrite(other, data, precision=precision)
    found = load_engine(other, runtime).run(SAMPLES[0])["probabilities"]
    apart = np.abs(found - expected["probabilities"]).max()
    assert 0.0 < apart <= near


def test_weights_stored_in_halves_are_widened_before_they_are_converted():
    from robollm_core.export.onnx import store_half

    model = onnx.load_from_string(small_networks.network())
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            rounded = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    plain = convert(model.SerializeToString(), "int8", SAMPLES)
    assert store_half(model) == 4
    assert convert(model.SerializeToString(), "int8", SAMPLES) == plain


def test_a_constant_output_stays_an_output():
    model = onnx.load_from_string(small_networks.network())
    value = onnx.numpy_helper.from_array(np.zeros((1, 2), np.int64), "labels")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["labels"], value=value))
    told = onnx.helper.make_tensor_value_info("labels", TensorProto.INT64, [1, 2])
    model.graph.output.append(told)
    for precision in ("fp16", "int8"):
        made = onnx.load_from_string(convert(model.SerializeToString(), precision, SAMPLES))
        assert [one.name for one in made.graph.output] == ["probabilities", "labels"]


def test_folding_leaves_the_answers_alone(tmp_path):
    data = small_networks.network()
    folded = fold_constants(onnx.load_from_string(data)).SerializeToString()
    paths = [
        small_networks.write(tmp_path / f"{i}.onnx", one) for i, one in enumerate((data, folded))
    ]
    runs = [load_engine(path, RuntimeConfig(name="onnx")).run(SAMPLES[0]) for path in paths]
    np.testing.assert_array_equal(runs[0]["probabilities"], runs[1]["probabilities"])


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_bytes_are_the_same_for_the_same_network(converted, precision):
    again = convert(small_networks.network(), precision, SAMPLES)
    assert again == converted[precision].SerializeToString(deterministic=True)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_seed_of_hashes():
    code = (
        "import hashlib, small_networks as s\n"
        "from robollm_core.export.precision import convert\n"
        "samples = [{'images': s.images()}]\n"
        "for one in ('fp16', 'bf16', 'int8'):\n"
        "    print(hashlib.sha256(convert(s.network(), one, samples)).hexdigest())\n"
    )
    folder = str(Path(small_networks.__file__).parent)
    command = [sys.executable, "-c", code]
    told = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.add(done.stdout)
    assert len(told) == 1
    first = hashlib.sha256(convert(small_networks.network(), "fp16", SAMPLES)).hexdigest()
    assert told.pop().split()[0] == first


def test_wider_islands_leave_less_to_compute():
    data = small_networks.network()
    for precision in ("fp16", "int8"):
        counts = []
        for islands in ladder(precision)[:3]:
            model = onnx.load_from_string(convert(data, precision, SAMPLES, islands))
            counts.append(arithmetic(model)[precision])
        assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] > 0


def test_islands_that_hold_everything_are_refused():
    with pytest.raises(ParityError, match="nothing is left to compute in fp16"):
        convert(small_networks.network(), "fp16", SAMPLES, Islands("all", nodes=(".*",)))


@pytest.mark.parametrize("precision", ["fp8", "fp32", ""])
def test_an_unknown_precision_is_refused(precision):
    with pytest.raises(ConfigError, match="fp16, bf16, int8"):
        convert(small_networks.network(), precision, SAMPLES)


def test_no_samples_are_refused():
    with pytest.raises(ParityError, match="at least one sample"):
        convert(small_networks.network(), "int8", [])


def test_samples_that_do_not_fit_are_refused():
    for precision in ("fp16", "int8"):
        with pytest.raises(ParityError, match="cannot"):
            convert(small_networks.network(), precision, [{"pixels": np.zeros(3, np.uint8)}])


def test_a_network_of_two_files_is_refused():
    large = LargeNetwork.of(small_networks.network(), b"weights")
    with pytest.raises(ParityError, match="too large for one file"):
        convert(large, "fp16", SAMPLES)


@pytest.mark.parametrize("module", ["modelopt.onnx.autocast", "onnx_graphsurgeon"])
def test_a_tool_that_is_missing_is_named_with_its_remedy(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match="pip install --no-deps nvidia-modelopt"):
        convert(small_networks.network(), "fp16", SAMPLES)


def test_the_tools_print_nothing(capfd):
    convert(small_networks.network(), "fp16", SAMPLES)
    convert(small_networks.network(), "int8", SAMPLES)
    said = capfd.readouterr()
    assert said.out == "" and said.err == ""
