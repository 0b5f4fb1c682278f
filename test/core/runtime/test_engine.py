# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One contract, every runtime: real artifacts of the crop stages at a small image size."""

import dataclasses
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from robollm_core.cli.main import main
from robollm_core.config import RuntimeConfig
from robollm_core.defects.model import build_defects
from robollm_core.errors import ArtifactError, RuntimeUnavailableError, ShapeError
from robollm_core.identification.model import build_identification
from robollm_core.runtime.artifact import load_artifact, write_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.onnx import OnnxEngine

SETTINGS = {"size": "tiny", "img_size": 32}
RECIPE = {
    "model": SETTINGS,
    "crop": {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0},
}
RUNTIMES = ["onnx", "torch"]
STAGES = ["identification", "identification_fusion", "defects"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for stage, build in [("identification", build_identification), ("defects", build_defects)]:
        checkpoint = folder / f"{stage}_run.pt"
        model = build(SETTINGS).state_dict()
        torch.save({"format": 1, "stage": stage, "recipe": RECIPE, "model": model}, checkpoint)
        words = ["export", stage, "--checkpoint", str(checkpoint), "--keep-checkpoint"]
        assert main([*words, "--out", str(folder / f"{stage}.onnx")]) == 0
    return folder


@pytest.fixture(scope="module", params=[(r, s) for r in RUNTIMES for s in STAGES], ids="-".join)
def engine(request, models):
    runtime, stage = request.param
    return load_engine(models / f"{stage}.onnx", RuntimeConfig(name=runtime, threads=1))


def inputs_of(engine, batch, seed=0):
    (tensor,) = engine.spec.inputs
    rng = np.random.default_rng(seed)
    shape = (batch, *tensor.shape[1:])
    if tensor.dtype == "uint8":
        return {tensor.name: rng.integers(0, 256, shape, dtype=np.uint8)}
    return {tensor.name: rng.standard_normal(shape).astype(tensor.dtype)}


def test_the_spec_is_that_of_the_sidecar(engine, models):
    specs = [load_artifact(models / f"{stage}.onnx")[1].spec for stage in STAGES]
    assert engine.spec in specs


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_what_the_spec_says(engine, batch):
    outputs = engine.run(inputs_of(engine, batch))
    assert list(outputs) == [tensor.name for tensor in engine.spec.outputs]
    for tensor in engine.spec.outputs:
        assert outputs[tensor.name].shape == (batch, *tensor.shape[1:])
        assert outputs[tensor.name].dtype == tensor.dtype
        assert np.isfinite(outputs[tensor.name]).all()


def test_rows_do_not_depend_on_their_batch_nor_on_time(engine):
    inputs = inputs_of(engine, 4)
    together, again = engine.run(inputs), engine.run(inputs)
    for name, rows in together.items():
        np.testing.assert_array_equal(rows, again[name])
        assert np.abs(rows[0] - rows[1]).max() > 1e-4  # different inputs, different answers
        for i in range(4):
            alone = engine.run({key: value[i : i + 1] for key, value in inputs.items()})[name]
            np.testing.assert_allclose(alone[0], rows[i], atol=2e-5)


def test_answers_are_the_callers_to_keep_and_inputs_are_not_touched(engine):
    inputs = inputs_of(engine, 2)
    for array in inputs.values():
        array.setflags(write=False)
    first = engine.run(inputs)
    kept = {name: rows.copy() for name, rows in first.items()}
    engine.run(inputs_of(engine, 2, seed=1))
    for name, rows in first.items():
        np.testing.assert_array_equal(rows, kept[name])


def test_strided_input_gives_the_same_answer(engine):
    inputs = inputs_of(engine, 3)
    strided = {name: np.repeat(array, 2, axis=0)[::2] for name, array in inputs.items()}
    expected, got = engine.run(inputs), engine.run(strided)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda name, array: {},
        lambda name, array: {"other": array},
        lambda name, array: {name: array, "other": array},
        lambda name, array: {name: array[:0]},
        lambda name, array: {name: array[0]},
        lambda name, array: {name: array[:, :-1]},
        lambda name, array: {name: array.astype(np.float64)},
        lambda name, array: {name: array.astype(np.int8)},
    ],
    ids=["none", "renamed", "extra", "empty", "no batch", "smaller", "float64", "int8"],
)
def test_inputs_that_do_not_fit_are_refused_and_the_next_run_works(engine, spoil):
    ((name, array),) = inputs_of(engine, 2).items()
    with pytest.raises(ShapeError):
        engine.run(spoil(name, array))
    engine.run({name: array})


def test_the_description_names_runtime_version_and_device(engine):
    version = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    runtime, found, device = engine.description.split()
    assert found == version[runtime]
    assert device == {"onnxruntime": "CPUExecutionProvider", "torch": "cpu"}[runtime]


@pytest.mark.parametrize("stage", STAGES)
def test_the_runtimes_agree(models, stage):
    engines = [load_engine(models / f"{stage}.onnx", RuntimeConfig(name=name)) for name in RUNTIMES]
    inputs = inputs_of(engines[0], 5)
    left, right = (engine.run(inputs) for engine in engines)
    for name in left:
        np.testing.assert_allclose(left[name], right[name], atol=5e-3)
    if "embedding" in left:
        np.testing.assert_allclose(np.linalg.norm(left["embedding"], axis=1), 1.0, atol=1e-5)
    else:
        np.testing.assert_allclose(left["probabilities"].sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_device_that_is_not_there_is_an_error(models, runtime):
    if (
        torch.cuda.is_available()
        or "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        pytest.skip("this machine has a CUDA runtime")
    with pytest.raises(RuntimeUnavailableError, match=r"runtime\.device"):
        load_engine(models / "defects.onnx", RuntimeConfig(name=runtime, device="cuda"))


def test_a_provider_that_does_not_start_is_an_error_not_the_cpu(models, monkeypatch):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a CUDA runtime")
    # as on a machine with onnxruntime-gpu whose CUDA libraries do not load
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with pytest.raises(RuntimeUnavailableError, match="uses CPUExecutionProvider"):
        load_engine(models / "defects.onnx", RuntimeConfig(device="cuda"))


def test_an_unknown_runtime_is_an_error(models):
    with pytest.raises(RuntimeUnavailableError, match="there are onnx and torch"):
        load_engine(models / "defects.onnx", RuntimeConfig(name="abacus"))


def test_a_network_that_is_none_is_refused(tmp_path, models):
    sidecar = load_artifact(models / "defects.onnx")[1]
    write_artifact(tmp_path / "x.onnx", b"no network", sidecar)
    with pytest.raises(ArtifactError, match="cannot load"):
        load_engine(tmp_path / "x.onnx", RuntimeConfig())


def test_a_sidecar_that_lies_about_the_graph_is_refused(tmp_path, models):
    path, sidecar = load_artifact(models / "defects.onnx")
    lie = dataclasses.replace(sidecar.spec.outputs[0], shape=(-1, 4))
    spec = dataclasses.replace(sidecar.spec, outputs=(lie,))
    write_artifact(tmp_path / "x.onnx", path.read_bytes(), dataclasses.replace(sidecar, spec=spec))
    with pytest.raises(ArtifactError, match="disagree"):
        load_engine(tmp_path / "x.onnx", RuntimeConfig())


def test_the_torch_runtime_wants_the_very_checkpoint(tmp_path, models):
    path, sidecar = load_artifact(models / "defects.onnx")
    copy = tmp_path / "defects.onnx"
    write_artifact(copy, path.read_bytes(), sidecar)
    with pytest.raises(ArtifactError, match=r"defects\.pt, which is not there.*--keep-checkpoint"):
        load_engine(copy, RuntimeConfig(name="torch"))
    (tmp_path / "defects.pt").write_bytes((models / "identification.pt").read_bytes())
    with pytest.raises(ArtifactError, match="is not the checkpoint"):
        load_engine(copy, RuntimeConfig(name="torch"))


def test_threads_reach_the_runtime(models):
    path, sidecar = load_artifact(models / "defects.onnx")
    engine = OnnxEngine(path, sidecar.spec, RuntimeConfig(threads=1))
    assert engine._session.get_session_options().intra_op_num_threads == 1
    load_engine(path, RuntimeConfig(name="torch", threads=1))
    assert torch.get_num_threads() == 1


def test_a_runtime_that_is_not_installed_is_an_error(models, monkeypatch):
    monkeypatch.delitem(sys.modules, "robollm_core.runtime.torch")
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python itself notes for "not there"
    with pytest.raises(RuntimeUnavailableError, match="needs the Python package 'torch'"):
        load_engine(models / "defects.onnx", RuntimeConfig(name="torch"))


def test_the_onnx_runtime_needs_no_torch(models):
    code = (
        "import sys\n"
        "from robollm_core.config import RuntimeConfig\n"
        "from robollm_core.runtime.factory import load_engine\n"
        f"load_engine({str(models / 'defects.onnx')!r}, RuntimeConfig())\n"
        "assert not {'torch', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
