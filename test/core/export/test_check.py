# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The static checker: each kind of offence is named, and what is clean stays clean."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from robollm_core.cli.main import main
from robollm_core.errors import ArtifactError
from robollm_core.export.check import check_file, check_model, read_target
from robollm_core.export.check_rules import RULES

TARGET = read_target("tensorrt10")
TINY = Path(__file__).parents[3] / "models" / "tiny"


def parse(text, opset=17, extra=""):
    head = f'<ir_version: 8, opset_import: ["" : {opset}{extra}]>'
    return onnx.parser.parse_model(f"{head}\n{text}")


def offences(text, **options):
    return check_model(parse(text, **options), TARGET)


OFFENCES = {
    "picking by a condition": (
        "g (float[4] x) => (float[N] y) <bool[4] c = {1, 1, 1, 0}> { y = Compress (x, c) }",
        {"data-dependent"},
    ),
    "an operator no parser entry exists for": (
        "g (float[2,3,3] x) => (float[2] y) { y = Det (x) }",
        {"operator"},
    ),
    "a type beyond the table": (
        "g (double[4] x) => (double[4] y) { y = Add (x, x) }",
        {"type"},
    ),
    "int32 in a float operator": (
        "g (int32[4,4] x) => (int32[4,4] y) { y = MatMul (x, x) }",
        {"type"},
    ),
    "numbers in a logical operator's place": (
        "g (bool[4] x) => (bool[4] y) { y = Equal (x, x) }",
        {"type"},
    ),
    "bytes that are not cast first": (
        "g (uint8[2,2] x) => (float[2,2] y) { t = Transpose (x)  y = Cast <to = 1> (t) }",
        {"type", "uint8"},
    ),
    "bytes made inside the graph": (
        "g (float[4] x) => (float[4] y) { b = Cast <to = 2> (x)  y = Cast <to = 1> (b) }",
        {"uint8"},
    ),
    "nonzero": ("g (float[4] x) => (int64[1,N] y) { y = NonZero (x) }", {"data-dependent"}),
    "non-maximum suppression": (
        "g (float[1,9,4] b, float[1,1,9] s) => (int64[N,3] y) { y = NonMaxSuppression (b, s) }",
        {"data-dependent"},
    ),
    "RoIAlign": (
        "g (float[1,2,8,8] x, float[3,4] r, int64[3] i) => (float[3,2,1,1] y)"
        " { y = RoiAlign (x, r, i) }",
        {"plugin"},
    ),
    "a scatter that adds": (
        "g (float[4] x, int64[4] i) => (float[4] y)"
        ' { y = ScatterElements <reduction = "add"> (x, i, x) }',
        {"attribute"},
    ),
    "cubic resizing": (
        "g (float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1, 1, 2, 2}>"
        ' { y = Resize <mode = "cubic"> (x, , s) }',
        {"attribute"},
    ),
    "antialiased resizing": (
        "g (float[1,1,4,4] x) => (float[1,1,2,2] y) <float[4] s = {1, 1, 0.5, 0.5}>"
        ' { y = Resize <mode = "linear", antialias = 1> (x, , s) }',
        {"attribute"},
    ),
    "too many best": (
        "g (float[5000] x) => (float[3840] y, int64[3840] i) <int64[1] k = {3840}>"
        " { y, i = TopK (x, k) }",
        {"below"},
    ),
    "as many best as an input says": (
        "g (float[50] x, int64[1] k) => (float[N] y, int64[N] i) { y, i = TopK (x, k) }",
        {"below"},
    ),
    "unsorted best": (
        "g (float[50] x) => (float[5] y, int64[5] i) <int64[1] k = {5}>"
        " { y, i = TopK <sorted = 0> (x, k) }",
        {"attribute"},
    ),
    "axes that are computed": (
        "g (float[4,4] x, int64[1] a) => (float[N] y) { y = ReduceSum <keepdims = 0> (x, a) }",
        {"constant"},
    ),
    "slice axes that are computed": (
        "g (float[4,4] x, int64[1] a) => (float[M,N] y) <int64[1] s = {0}, int64[1] e = {2}>"
        " { y = Slice (x, s, e, a) }",
        {"constant"},
    ),
    "pooling in one dimension": (
        "g (float[1,1,9] x) => (float[1,1,8] y) { y = MaxPool <kernel_shape = [2]> (x) }",
        {"rank"},
    ),
    "pooling with holes": (
        "g (float[1,1,9,9] x) => (float[1,1,7,7] y)"
        " { y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) }",
        {"ones"},
    ),
    "indices of pooling": (
        "g (float[1,1,9,9] x) => (float[1,1,8,8] y, int64[1,1,8,8] i)"
        " { y, i = MaxPool <kernel_shape = [2, 2]> (x) }",
        {"outputs"},
    ),
    "a loop of unknown length": (
        "g (int64 n, float[4] x) => (float[4] y) { c = Constant <value = bool {1}> ()"
        " y = Loop (n, c, x) <body = b (int64 i, bool c0, float[4] v) => (bool c1, float[4] w)"
        " { c1 = Identity (c0)  w = Add (v, v) }> }",
        {"constant"},
    ),
    "branches of different rank": (
        "g (bool c, float[4] x) => (float[4] y) { y = If (c) <"
        "then_branch = t () => (float[4] p) { p = Identity (x) },"
        "else_branch = e () => (float[4,1] q) <int64[2] s = {4, 1}> { q = Reshape (x, s) }> }",
        {"branches"},
    ),
    "an unsupported node inside a branch": (
        "g (bool c, float[2,2] x) => (float y) { y = If (c) <"
        "then_branch = t () => (float p) { p = Det (x) },"
        "else_branch = e () => (float q) { q = ReduceSum <keepdims = 0> (x) }> }",
        {"operator"},
    ),
    "a type inside a branch": (
        "g (bool c, int32[2,2] x) => (int32[2,2] y) { y = If (c) <"
        "then_branch = t () => (int32[2,2] p) { a = Add (x, x)  p = MatMul (a, x) },"
        "else_branch = e () => (int32[2,2] q) { q = Identity (x) }> }",
        {"type"},
    ),
    "dropout that may drop": (
        "g (float[4] x, bool t) => (float[4] y) { y = Dropout (x, , t) }",
        {"false"},
    ),
    "text": (
        'g (float[4] x) => (float[4] y) { t = Constant <value_string = "a"> ()  y = Identity (x) }',
        {"absent", "type"},
    ),
    "a volume of samples": (
        "g (float[1,1,4,4,4] x, float[1,2,2,2,3] p) => (float[1,1,2,2,2] y)"
        ' { y = GridSample <mode = "linear"> (x, p) }',
        {"rank"},
    ),
    "nine dimensions": (
        "g (float[1,2] x) => (float[1,1,1,1,1,1,1,1,2] y) <int64[9] s = {1,1,1,1,1,1,1,1,2}>"
        " { y = Reshape (x, s) }",
        {"rank"},
    ),
    "an identity matrix of open size": (
        "g (float[N,N] x) => (float[N,N] y) { y = EyeLike (x) }",
        {"static"},
    ),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_each_kind_of_offence_is_found(name):
    text, rules = OFFENCES[name]
    opset = 20 if "GridSample" in text else 18
    if "axes" in name or "Reduce" in text:
        opset = 17
    found = offences(text, opset=opset)
    assert {offence.rule for offence in found} == rules
    assert all(offence.found and offence.remedy for offence in found)


def test_an_offence_names_its_node_and_where_it_stands():
    (found,) = offences(OFFENCES["an unsupported node inside a branch"][0])
    assert (found.node, found.operator, found.rule) == ("p", "Det", "operator")
    assert found.place == "then_branch of y"
    assert "p (Det, then_branch of y): operator:" in found.line()


def test_every_rule_of_the_data_is_known_and_is_broken_by_a_test():
    used = {limit["rule"] for limit in TARGET.limits}
    assert used == set(RULES)
    tested = set().union(*(rules for _, rules in OFFENCES.values())) | {"zero-point"}
    assert used <= tested


def test_the_data_names_its_source_and_version():
    assert "10.1" in TARGET.source and "10.3" in TARGET.version
    assert TARGET.opsets == (9, 20) and TARGET.most_rank == 8
    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    historic = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}
    assert set(TARGET.types) - standard <= historic
    for limit in TARGET.limits:
        assert set(limit["operators"].split()) <= standard


@pytest.mark.parametrize("opset", [8, 21])
def test_an_opset_out_of_range_is_an_offence_of_the_file(opset):
    found = offences("g (float[4] x) => (float[4] y) { y = Relu (x) }", opset=opset)
    assert [(offence.rule, offence.node) for offence in found] == [("opset", "")]


def test_an_operator_of_another_domain_needs_a_plugin():
    found = offences(
        "g (float[4] x) => (float[4] y) { y = com.microsoft.Gelu (x) }",
        extra=', "com.microsoft" : 1',
    )
    assert [(offence.rule, offence.operator) for offence in found] == [("domain", "Gelu")]


def test_a_function_is_walked_where_it_is_called():
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[2,2] x) => (float y) { y = own.worth (x) }
        <domain: "own", opset_import: ["" : 17]>
        worth (a) => (b) { b = Det (a) }
    """)
    (found,) = check_model(model, TARGET)
    assert (found.rule, found.operator) == ("operator", "Det")


def quantised(zero, kind):
    """x -> Q -> DQ -> y with the given zero point."""
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    point = numpy_helper.from_array(np.array(zero, kind), "zero")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [scale, point])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_symmetric_quantisation_to_int8_is_clean():
    assert check_model(quantised(0, np.int8), TARGET) == []


@pytest.mark.parametrize(("zero", "kind"), [(3, np.int8), (0, np.uint8), (128, np.uint8)])
def test_a_zero_point_that_is_not_zero_or_not_signed_is_an_offence(zero, kind):
    found = check_model(quantised(zero, kind), TARGET)
    operators = {o.operator for o in found if o.rule == "zero-point"}
    assert operators == {"QuantizeLinear", "DequantizeLinear"}


def test_quantisation_without_a_zero_point_means_uint8():
    text = "g (float[4] x) => (float[4] y) <float s = {0.1}>"
    found = offences(text + " { q = QuantizeLinear (x, s)  y = DequantizeLinear (q, s) }")
    assert "zero-point" in {offence.rule for offence in found}


def test_a_k_that_follows_from_sizes_is_known():
    text = (
        "g (float[{0}] x) => (float[{0}] y, int64[{0}] i) {{ k = Shape (x)  y, i = TopK (x, k) }}"
    )
    assert offences(text.format(100)) == []
    assert [offence.rule for offence in offences(text.format(4000))] == ["below"]
    assert [offence.rule for offence in offences(text.format("N"))] == ["below"]


def test_bytes_at_the_ends_are_clean():
    assert offences("g (uint8[4] x) => (float[4] y) { y = Cast <to = 1> (x) }") == []
    assert offences("g (float[4] x) => (uint8[4] y) { y = Cast <to = 2> (x) }") == []


def test_weights_are_not_read(tmp_path):
    weights = numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.onnx.data")
    (tmp_path / "x.onnx.data").unlink()
    assert check_file(tmp_path / "x.onnx", TARGET) == []


def test_the_model_is_left_as_it_is():
    model = parse(OFFENCES["a loop of unknown length"][0])
    before = model.SerializeToString()
    check_model(model, TARGET)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\xff\xff\xff"])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx"):
        check_file(tmp_path / "x.onnx", TARGET)


def test_shapes_that_contradict_each_other_are_refused(tmp_path):
    model = parse("g (float[4,3] x) => (float[9,9] y) { y = MatMul (x, x) }")
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="contradict"):
        check_file(tmp_path / "x.onnx", TARGET)


@pytest.mark.parametrize(
    "name", ["segmentation", "identification", "identification_fusion", "defects"]
)
def test_the_shipped_artifacts_are_clean(name):
    assert check_file(TINY / f"{name}.onnx", TARGET) == []


def test_the_command_prints_counts_and_writes_what_it_found(tmp_path, capsys):
    good = parse("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    bad = parse(OFFENCES["nonzero"][0])
    for name, model in (("a", good), ("b", bad)):
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    figures = tmp_path / "found.json"
    words = ["export", "check", "--target", "tensorrt10", "--json", str(figures)]
    assert main([*words, str(tmp_path / "a.onnx")]) == 0
    assert main([*words, "--models", str(tmp_path)]) == 1
    assert "y (NonZero, the graph): data-dependent" in capsys.readouterr().out
    tree = json.loads(figures.read_text())
    assert [len(entry["offences"]) for entry in tree["artifacts"]] == [0, 1]
    assert tree["artifacts"][1]["offences"][0]["operator"] == "NonZero"
    assert main(["export", "check"]) == 2
    assert main(["export", "check", "--models", str(tmp_path / "none")]) == 2
