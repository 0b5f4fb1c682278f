# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm export`: other precisions are written when they pass, and never when they do not."""

import json
import sys

import numpy as np
import onnx
import pytest
import small_networks
import small_sets
import torch

from robollm_core.cli.export import KINDS
from robollm_core.cli.main import main
from robollm_core.defects.model import build_defects
from robollm_core.evaluation import intervals
from robollm_core.export import derive, gate, precision, samples
from robollm_core.runtime.artifact import load_artifact

pytest.importorskip("modelopt.onnx.autocast", reason="NVIDIA ModelOpt is not installed")

SETTINGS = {"size": "tiny", "img_size": 32}
CROP = {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, and a set with test and train."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    content = {
        "format": 1,
        "stage": "defects",
        "recipe": {"model": SETTINGS, "crop": CROP},
        "model": build_defects(SETTINGS).state_dict(),
    }
    torch.save(content, folder / "best.pt")
    small_sets.write_defects(folder / "set", {"train": 8, "test": 8})
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Small pictures, few resamples, and no encoder to convert: one block stands for six."""
    monkeypatch.setattr(intervals, "_RESAMPLES", 3)
    monkeypatch.setattr(samples, "scenes", small_networks.pictures)
    monkeypatch.setattr(gate, "scenes", small_networks.pictures)


def export(place, out, *words):
    given = ["--checkpoint", str(place / "best.pt"), "--out", str(out)]
    sets = ["--data", str(place / "set"), "--calibration", str(place / "set")]
    return main(["export", "defects", *given, *sets, *words])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def worse(network, precision_name, *rest):
    """What `convert` would give, were the last layer damaged."""
    model = onnx.load_from_string(precision.convert(network, precision_name, *rest))
    head = max(
        (one for one in model.graph.initializer if list(one.dims) == [3]),
        key=lambda one: one.name,
    )
    values = onnx.numpy_helper.to_array(head)
    other = (values + np.array([0.0, 4.0, 0.0])).astype(values.dtype)
    head.CopyFrom(onnx.numpy_helper.from_array(other, head.name))
    return model.SerializeToString()


@pytest.mark.slow
def test_each_precision_stands_beside_the_network_with_its_report(place, tmp_path, capsys):
    out = tmp_path / "defects.onnx"
    assert export(place, out, "--precision", "fp32", "fp16", "int8") == 0
    wanted = [f"defects{kind}.{end}" for kind in ("", ".fp16", ".int8") for end in ("json", "onnx")]
    assert names(tmp_path) == sorted([*wanted, "defects.export.json", "defects.export.md"])
    plain = load_artifact(out)[1]
    for name, opset in (("fp16", 19), ("int8", 17)):
        path, sidecar = load_artifact(out.with_name(f"defects.{name}.onnx"))
        assert (sidecar.precision, sidecar.opset, sidecar.stage) == (name, opset, "defects")
        assert sidecar.spec == plain.spec and sidecar.recipe == plain.recipe
        assert sidecar.meta["derived"] == {"from": plain.sha256, "islands": "usual"}
        assert sidecar.meta["labels"] == plain.meta["labels"]
        assert f"--precision {name}" in sidecar.rebuild and "--calibration" in sidecar.rebuild
        counts = precision.arithmetic(onnx.load(path))
        assert counts[name] >= 25
    said = capsys.readouterr().out
    assert "passed" in said and "fp16" in said
    rows = json.loads((tmp_path / "defects.export.json").read_text())["rows"]
    assert [(row["precision"], row["passed"]) for row in rows] == [("fp16", True), ("int8", True)]
    assert all(set(row["metrics"]) >= {"auroc", "accuracy"} for row in rows)


@pytest.mark.slow
def test_a_worse_candidate_leaves_a_report_and_no_artifact(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(derive, "convert", worse)
    monkeypatch.setattr(derive, "ladder", lambda name: precision.ladder(name)[:1])
    report, figures = tmp_path / "r" / "table.md", tmp_path / "r" / "figures.json"
    out = tmp_path / "out" / "defects.onnx"
    words = ("--precision", "fp16", "--report", str(report), "--json", str(figures))
    assert export(place, out, *words) == 1
    assert names(out.parent) == ["defects.json", "defects.onnx"]
    assert names(report.parent) == ["figures.json", "table.md"]
    assert "too far" in report.read_text()
    (row,) = json.loads(figures.read_text())["rows"]
    assert not row["passed"] and row["distance"] > row["limit"]
    assert "too far" in capsys.readouterr().out


@pytest.mark.slow
def test_wider_islands_are_tried_before_a_precision_is_given_up(place, tmp_path, monkeypatch):
    tried = []

    def convert(network, name, given, islands):
        tried.append(islands.name)
        make = precision.convert if len(tried) == 3 else worse
        return make(network, name, given, islands)

    monkeypatch.setattr(derive, "convert", convert)
    out = tmp_path / "defects.onnx"
    assert export(place, out, "--precision", "fp16") == 0
    assert tried == ["usual", "last layers", "all but the encoder"]
    sidecar = load_artifact(tmp_path / "defects.fp16.onnx")[1]
    assert sidecar.meta["derived"]["islands"] == "all but the encoder"
    rows = json.loads((tmp_path / "defects.export.json").read_text())["rows"]
    assert [row["passed"] for row in rows] == [False, False, True]


def test_without_another_precision_nothing_is_compared(place, tmp_path):
    assert export(place, tmp_path / "defects.onnx") == 0
    assert names(tmp_path) == ["defects.json", "defects.onnx"]


def test_an_unknown_precision_is_refused(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export(place, tmp_path / "defects.onnx", "--precision", "fp8")
    assert "fp8" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_a_calibration_set_that_is_not_there_is_named(place, tmp_path, capsys):
    given = ["--checkpoint", str(place / "best.pt"), "--out", str(tmp_path / "x.onnx")]
    sets = ["--data", str(place / "set"), "--calibration", str(tmp_path / "nowhere")]
    assert main(["export", "defects", *given, *sets, "--precision", "int8"]) == 2
    assert f"--calibration {tmp_path / 'nowhere'} is no folder" in capsys.readouterr().err
    assert not (tmp_path / "x.int8.onnx").exists()


@pytest.mark.slow
def test_bf16_without_openvino_is_refused_by_name(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "robollm_core.runtime.openvino", raising=False)
    assert export(place, tmp_path / "x.onnx", "--precision", "bf16") == 2
    assert "openvino" in capsys.readouterr().err
    assert not (tmp_path / "x.bf16.onnx").exists()


def test_each_kind_describes_itself(capsys):
    for kind in KINDS:
        with pytest.raises(SystemExit) as ended:
            main(["export", kind, "--help"])
        assert ended.value.code == 0
        assert f"robollm export {kind}" in capsys.readouterr().out
