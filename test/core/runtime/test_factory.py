# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The switch: auto chooses and says why, and what it comes to has a name."""

import sys
from dataclasses import replace

import colour_cell
import numpy as np
import pytest

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime import factory, trial
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import installed, load_bare_engine, load_engine, resolve
from robollm_core.runtime.trial import Choice


@pytest.fixture(scope="module")
def defects(tmp_path_factory):
    return colour_cell.defects(tmp_path_factory.mktemp("cell") / "defects.onnx")


@pytest.fixture
def auto(tmp_path):
    """The default, with a cache of its own."""
    return RuntimeConfig("auto", threads=1, cache=str(tmp_path / "cache"))


@pytest.fixture
def both():
    if not {"onnx", "openvino"} <= set(installed()):
        pytest.skip("the trial needs onnxruntime and openvino")


def ask(engine):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    return engine.run({"images": images})["probabilities"]


def test_what_is_installed_is_told_in_order_of_preference_and_not_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = installed()
    assert "onnx" in found and "torch" not in found
    assert list(found) == [name for name in factory.MODULES if name in found]


def test_versions_are_told_without_an_import():
    import onnxruntime

    assert factory.version_of("onnx") == onnxruntime.__version__
    assert set(factory.PACKAGES) == set(factory.MODULES)


@pytest.mark.usefixtures("both")
def test_auto_measures_once_takes_the_winner_and_says_so(defects, auto, monkeypatch):
    first = load_engine(defects, auto)
    kept = resolve(defects, auto)

    def again(_):
        raise AssertionError("measured again")

    monkeypatch.setattr(trial, "measure", again)
    second = load_engine(defects, auto)
    assert first.description == second.description
    assert first.spec == load_artifact(defects)[1].spec
    engine, _, reason = first.description.partition(" (auto: ")
    assert engine == load_engine(defects, kept).description
    assert reason.endswith(" ms)") and reason.count(" ms") == 2
    np.testing.assert_array_equal(ask(first), ask(load_engine(defects, kept)))
    with pytest.raises(AssertionError, match="measured again"):
        load_engine(defects, replace(auto, threads=2))


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_the_answer_of_the_trial_is_followed(defects, auto, monkeypatch, name):
    choice = Choice(name, {"onnx": 3.0, "openvino": 2.0}, {})
    monkeypatch.setattr(trial, "measure", lambda loaders: choice)
    described = load_engine(defects, auto).description
    assert described.startswith({"onnx": "onnxruntime "}.get(name, name))
    assert described.endswith(f"({choice.told()})")
    assert resolve(defects, auto).name == name


@pytest.mark.usefixtures("both")
def test_facts_of_a_trial_cover_what_it_depends_on(defects, auto, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "measure", lambda loaders: Choice("onnx", {"onnx": 1.0}, {}))
    other = colour_cell.identification(tmp_path / "other.onnx")
    load_engine(defects, auto)
    load_engine(other, auto)
    load_engine(defects, replace(auto, precision="fp32"))
    monkeypatch.setattr(factory, "version_of", lambda name: "9.9")
    load_engine(defects, auto)
    assert len(list((tmp_path / "cache" / "trials").glob("*.trial"))) == 4


def test_one_runtime_alone_is_taken_without_a_trial(defects, auto, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    engine = load_engine(defects, auto)
    assert engine.description.endswith("CPUExecutionProvider (auto: the only one here)")
    assert resolve(defects, auto) == replace(auto, name="onnx")
    assert not (tmp_path / "cache").exists()


def test_no_runtime_for_the_cpu_is_an_error_with_the_command(defects, auto, monkeypatch):
    for module in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeUnavailableError, match="pip install onnxruntime"):
        load_engine(defects, auto)


def test_auto_is_for_the_cpu(defects, auto):
    with pytest.raises(RuntimeUnavailableError, match=r"Set runtime\.name to onnx, tensorrt"):
        load_engine(defects, replace(auto, device="cuda"))


def test_a_package_that_does_not_import_is_an_error(defects, monkeypatch, tmp_path):
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so is missing')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "robollm_core.runtime.openvino", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeUnavailableError, match=r"does not start: libopenvino\.so"):
        load_engine(defects, RuntimeConfig("openvino"))


def test_networks_of_others_run_on_onnx_where_auto_is_asked(defects, auto):
    engine = load_bare_engine(defects, auto)
    assert engine.description.startswith("onnxruntime")
    assert factory.resolve_bare(auto).name == "onnx"
    with pytest.raises(RuntimeUnavailableError, match="runs on onnx alone"):
        load_bare_engine(defects, replace(auto, name="openvino"))


def test_equal_resolved_configurations_answer_alike(defects, auto):
    onnx = replace(auto, name="onnx")
    # only OpenVINO has a choice of arithmetic
    assert resolve(defects, replace(onnx, precision="bf16")) == resolve(defects, onnx)
