# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm export runtimes`: what passes is written, and the table tells of every runtime."""

import json

import numpy as np
import onnx
import pytest
import small_networks
import small_sets

from robollm_core.cli.main import main
from robollm_core.errors import RuntimeUnavailableError
from robollm_core.evaluation import intervals
from robollm_core.export import derive, gate, precision, runtimes
from robollm_core.runtime import factory
from robollm_core.runtime.artifact import load_artifact

pytest.importorskip("modelopt.onnx.autocast", reason="NVIDIA ModelOpt is not installed")
pytest.importorskip("openvino", reason="the extra [openvino] is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of models with the small defect network, and a set."""
    folder = tmp_path_factory.mktemp("runtimes")
    small_networks.write(folder / "models" / "defects.onnx")
    small_sets.write_defects(folder / "set", {"train": 8, "test": 8})
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 3)
    monkeypatch.setattr(runtimes, "scenes", small_networks.pictures)


def export(place, out, *words):
    sets = ["--data", str(place / "set"), "--calibration", str(place / "set")]
    given = ["--models", str(place / "models"), "--out", str(out)]
    return main(["export", "runtimes", *given, *sets, *words])


def rows_of(out):
    return json.loads((out / "parity.json").read_text())["rows"]


def worse(network, name, given, islands):
    """int8 as it should be; fp16 with a damaged last layer."""
    data = precision.convert(network, name, given, islands)
    if name != "fp16":
        return data
    model = onnx.load_from_string(data)
    head = next(one for one in model.graph.initializer if list(one.dims) == [32, 3])
    values = onnx.numpy_helper.to_array(head)
    head.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), head.name))
    return model.SerializeToString()


@pytest.mark.slow
def test_every_precision_is_told_of_on_every_runtime_that_runs_it(place, tmp_path, capsys):
    assert export(place, tmp_path, "--runtime", "onnx", "openvino") == 0
    told = [(row["precision"], row["runtime"].split()[0]) for row in rows_of(tmp_path)]
    assert told == [
        ("fp32", "onnxruntime"), ("fp32", "openvino"), ("fp32 as bf16", "openvino"),
        ("fp16", "onnxruntime"), ("fp16", "openvino"), ("bf16", "openvino"),
        ("int8", "onnxruntime"), ("int8", "openvino"),
    ]  # fmt: skip
    assert all(row["passed"] for row in rows_of(tmp_path))
    assert rows_of(tmp_path)[0]["verdict"] == "reference"
    names = sorted(path.name for path in tmp_path.glob("*.onnx"))
    assert names == [f"defects{kind}.onnx" for kind in (".bf16", ".fp16", ".int8", "")]
    for name in names:
        load_artifact(tmp_path / name)
    table = (tmp_path / "parity.md").read_text()
    assert table in capsys.readouterr().out
    assert len(table.splitlines()) == 2 + len(told)


@pytest.mark.slow
def test_what_is_refused_is_told_and_not_written(place, tmp_path, monkeypatch):
    monkeypatch.setattr(derive, "convert", worse)
    words = ("--runtime", "onnx", "--precision", "fp16", "int8")
    assert export(place, tmp_path, *words) == 1
    rows = rows_of(tmp_path)
    assert {row["precision"] for row in rows if not row["passed"]} == {"fp16"}
    # each rung of the ladder was tried
    tried = [row["islands"] for row in rows if row["precision"] == "fp16"]
    assert tried == [one.name for one in precision.ladder("fp16")]
    assert not (tmp_path / "defects.fp16.onnx").exists()
    assert (tmp_path / "defects.int8.onnx").exists()


@pytest.mark.slow
def test_engines_come_out_of_a_machine_without_a_gpu(place, tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx_bindings", reason="the extra [rtx] is not installed")

    def no_gpu():
        raise RuntimeUnavailableError("there is no GPU here")

    monkeypatch.setattr(runtimes, "this_gpu", no_gpu)
    words = ("--runtime", "onnx", "tensorrt_rtx", "--precision", "fp16", "--target", "sm86,sm89")
    assert export(place, tmp_path, *words) == 0
    built = [row for row in rows_of(tmp_path) if row["runtime"].startswith("tensorrt_rtx")]
    assert [(row["precision"], row["runtime"].split()[-1]) for row in built] == [
        ("fp32", "sm86"), ("fp32", "sm89"), ("fp16", "sm86"), ("fp16", "sm89"),
    ]  # fmt: skip
    assert all("built, not run: no GPU" in row["verdict"] for row in built)
    assert len(list((tmp_path / "engines").glob("*.engine"))) == 4


def test_an_engine_that_cannot_be_built_is_told_as_refused(place, tmp_path, monkeypatch):
    def refuse(*rest):
        raise RuntimeUnavailableError("no such target")

    monkeypatch.setattr(runtimes, "placed_engine", refuse)
    monkeypatch.setattr(runtimes, "this_gpu", refuse)
    monkeypatch.setattr(gate.Gate, "reference", lambda self: gate.Verdict("defects", "fp32", "x"))
    words = ("--runtime", "onnx", "tensorrt_rtx", "--precision", "fp32", "--target", "sm86")
    monkeypatch.setattr(factory.importlib.util, "find_spec", lambda name: True)
    assert export(place, tmp_path, *words) == 1
    assert rows_of(tmp_path)[-1]["verdict"] == "not built: no such target"


def test_arithmetic_that_the_cpu_lacks_is_told_and_nothing_is_refused(place, tmp_path, monkeypatch):
    def judge(self, candidate, config):
        if config.precision == "bf16":
            raise RuntimeUnavailableError("this CPU has no bf16")
        return gate.Verdict(self.stage, candidate.precision, config.name)

    monkeypatch.setattr(gate.Gate, "judge", judge)
    monkeypatch.setattr(gate.Gate, "reference", lambda self: gate.Verdict("defects", "fp32", "x"))
    assert export(place, tmp_path, "--runtime", "onnx", "openvino", "--precision", "fp32") == 0
    assert rows_of(tmp_path)[-1]["verdict"] == "not run: this CPU has no bf16"


def test_the_folder_of_the_models_is_never_written_to(place, capsys):
    before = sorted((place / "models").iterdir())
    assert export(place, place / "models", "--runtime", "onnx", "--precision", "fp16") == 2
    assert "--out must be another folder than --models" in capsys.readouterr().err
    assert sorted((place / "models").iterdir()) == before


def test_a_precision_needs_the_runtime_that_judges_it(place, tmp_path, capsys):
    assert export(place, tmp_path, "--runtime", "onnx", "--precision", "bf16") == 2
    assert "bf16 is compared on openvino" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_runtime_that_is_not_installed_is_named(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtimes, "installed", lambda: ("onnx", "torch"))
    assert export(place, tmp_path, "--runtime", "openvino") == 2
    said = capsys.readouterr().err
    assert "openvino cannot be exported for: installed are onnx, torch" in said


def test_a_folder_without_networks_is_refused(place, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words = ["--models", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert main(["export", "runtimes", *words]) == 2
    assert "must hold at least one of segmentation.onnx" in capsys.readouterr().err


def test_values_of_a_damaged_copy_differ():
    """The fault that the tests above inject is one."""
    samples = [{"images": small_networks.images()}]
    network = small_networks.network()
    islands = precision.ladder("fp16")[0]
    good = onnx.load_from_string(precision.convert(network, "fp16", samples, islands))
    bad = onnx.load_from_string(worse(network, "fp16", samples, islands))
    pairs = zip(good.graph.initializer, bad.graph.initializer, strict=True)
    changed = [
        one.name
        for one, other in pairs
        if not np.array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))
    ]
    assert len(changed) == 1
