# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One contract, every runtime: real artifacts of the crop stages at a small image size."""

import dataclasses
import subprocess
import sys
import threading
from ctypes.util import find_library

import numpy as np
import onnxruntime
import pytest
import torch

from robollm_core.cli.main import main
from robollm_core.config import RuntimeConfig
from robollm_core.defects.model import build_defects
from robollm_core.errors import (
    ArtifactError,
    NotFiniteError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    ShapeError,
)
from robollm_core.identification.model import build_identification
from robollm_core.runtime.artifact import load_artifact, write_artifact
from robollm_core.runtime.factory import installed, load_engine

SETTINGS = {"size": "tiny", "img_size": 32}
RECIPE = {
    "model": SETTINGS,
    "crop": {"size_px": 32, "mode": "pad", "blank": True, "margin": 0.0},
}
STAGES = ["identification", "identification_fusion", "defects"]
CONFIGS = {
    "onnx": RuntimeConfig("onnx", threads=1),
    "openvino fp32": RuntimeConfig("openvino", precision="fp32", threads=1),
    "openvino bf16": RuntimeConfig("openvino", precision="bf16", threads=1),
    "torch": RuntimeConfig("torch", threads=1),
    "tensorrt": RuntimeConfig("tensorrt", device="cuda"),
    "tensorrt_rtx": RuntimeConfig("tensorrt_rtx", device="cuda"),
    "onnx on cuda": RuntimeConfig("onnx", device="cuda"),
}
"""What a test runs on, by name."""
HAS_GPU = find_library("cuda") is not None
# without a driver one test says so, not a hundred
CASES = [
    pytest.param(name, marks=() if config.device == "cpu" else pytest.mark.gpu, id=name)
    for name, config in CONFIGS.items()
    if config.device == "cpu" or HAS_GPU
]
NEAR = {"openvino bf16": 0.05}
"""Largest difference of a number of order 1 from the reference; 5e-3 for fp32 arithmetic, as
TensorFloat32 and half precision weights take their share."""


def start(path, case):
    """The engine of a case, or a skip that says why there is none."""
    config = CONFIGS[case]
    if config.name not in installed():
        pytest.skip(f"{config.name} is not installed")
    if config.precision == "bf16":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this CPU has no bf16")
    if config.device == "cpu":
        return load_engine(path, config)
    try:
        return load_engine(path, config)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


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


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module", params=STAGES)
def stage(request):
    return request.param


@pytest.fixture(scope="module")
def engine(models, case, stage):
    return start(models / f"{stage}.onnx", case)


@pytest.fixture(scope="module")
def reference(models, stage):
    return load_engine(models / f"{stage}.onnx", CONFIGS["torch"])


def inputs_of(engine, batch, seed=0):
    (tensor,) = engine.spec.inputs
    rng = np.random.default_rng(seed)
    shape = (batch, *tensor.shape[1:])
    if tensor.dtype == "uint8":
        return {tensor.name: rng.integers(0, 256, shape, dtype=np.uint8)}
    return {tensor.name: rng.standard_normal(shape).astype(tensor.dtype)}


def test_the_spec_is_that_of_the_sidecar(engine, models, stage):
    assert engine.spec == load_artifact(models / f"{stage}.onnx")[1].spec


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_every_batch_is_answered_as_the_reference_does(engine, reference, case, batch):
    inputs = inputs_of(engine, batch)
    outputs, wanted = engine.run(inputs), reference.run(inputs)
    assert list(outputs) == [tensor.name for tensor in engine.spec.outputs]
    for tensor in engine.spec.outputs:
        rows = outputs[tensor.name]
        assert rows.shape == (batch, *tensor.shape[1:])
        assert rows.dtype == tensor.dtype
        scale = max(1.0, float(np.abs(wanted[tensor.name]).max()))
        np.testing.assert_allclose(rows, wanted[tensor.name], atol=NEAR.get(case, 5e-3) * scale)


def test_rows_do_not_depend_on_their_batch_nor_on_time(engine, case):
    inputs = inputs_of(engine, 4)
    together, again = engine.run(inputs), engine.run(inputs)
    for name, rows in together.items():
        np.testing.assert_array_equal(rows, again[name])
        assert np.abs(rows[0] - rows[1]).max() > 1e-4  # different inputs, different answers
        for i in range(4):
            alone = engine.run({key: value[i : i + 1] for key, value in inputs.items()})[name]
            np.testing.assert_allclose(alone[0], rows[i], atol=NEAR.get(case, 1e-3))


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(models, case, value):
    engine = start(models / "identification_fusion.onnx", case)
    ((name, array),) = inputs_of(engine, 2).items()
    spoilt = array.copy()
    spoilt[1, 2, 3] = value
    with pytest.raises(NotFiniteError, match="1 of its"):
        engine.run({name: spoilt})
    assert np.isfinite(engine.run({name: array})["embedding"]).all()


def test_threads_that_did_not_make_it_may_use_it_at_once(engine):
    asked = [inputs_of(engine, batch, seed=batch) for batch in (1, 2, 3, 5)]
    alone = [engine.run(inputs) for inputs in asked]
    found = [[] for _ in asked]

    def work(index):
        for _ in range(5):
            found[index].append(engine.run(asked[index]))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(asked))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for expected, answers in zip(alone, found, strict=True):
        assert len(answers) == 5
        for answer in answers:
            for name, rows in expected.items():
                np.testing.assert_array_equal(answer[name], rows)


def test_two_engines_side_by_side_do_not_mix(models, case):
    left = start(models / "identification.onnx", case)
    right = start(models / "defects.onnx", case)
    first, second = (engine.run(inputs_of(engine, 2)) for engine in (left, right))
    for engine, answer in ((right, second), (left, first)):
        for name, rows in engine.run(inputs_of(engine, 2)).items():
            np.testing.assert_array_equal(rows, answer[name])


def test_the_description_names_runtime_version_and_device(engine, case):
    words = engine.description.split()
    assert words[0].startswith({"onnx": "onnxruntime"}.get(CONFIGS[case].name, case.split()[0]))
    assert any(part.isdigit() for part in words[1].split("."))
    device = {"onnx": ["CPUExecutionProvider"], "openvino fp32": ["CPU", "fp32"],
              "openvino bf16": ["CPU", "bf16"], "torch": ["cpu"]}  # fmt: skip
    assert words[2:] == device.get(case, words[2:])


def test_answers_have_the_length_they_should(engine):
    answer = engine.run(inputs_of(engine, 5))
    if "embedding" in answer:
        np.testing.assert_allclose(np.linalg.norm(answer["embedding"], axis=1), 1.0, atol=5e-3)
    else:
        np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1.0, atol=5e-3)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_device_that_is_not_there_is_an_error(models, runtime):
    if (
        torch.cuda.is_available()
        or "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        pytest.skip("this machine has a CUDA runtime")
    with pytest.raises(RuntimeUnavailableError, match=r"runtime\.device"):
        load_engine(models / "defects.onnx", RuntimeConfig(name=runtime, device="cuda"))


@pytest.mark.gpu
def test_a_gpu_holds_the_contract_too():
    if not HAS_GPU:
        pytest.skip("no CUDA driver on this machine: TensorRT and the CUDA provider were not run")
    assert {"tensorrt", "tensorrt_rtx", "onnx on cuda"} <= {param.values[0] for param in CASES}


def test_a_provider_that_does_not_start_is_an_error_not_the_cpu(models, monkeypatch):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a CUDA runtime")
    # as on a machine with onnxruntime-gpu whose CUDA libraries do not load
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with pytest.raises(RuntimeUnavailableError, match="uses CPUExecutionProvider"):
        load_engine(models / "defects.onnx", RuntimeConfig("onnx", device="cuda"))


def test_an_unknown_runtime_is_an_error(models):
    with pytest.raises(RuntimeUnavailableError, match="there are auto, onnx, openvino"):
        load_engine(models / "defects.onnx", RuntimeConfig(name="abacus"))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_network_that_is_none_is_refused(tmp_path, models, runtime):
    sidecar = load_artifact(models / "defects.onnx")[1]
    write_artifact(tmp_path / "x.onnx", b"no network", sidecar)
    with pytest.raises(ArtifactError, match=r"cannot load .*x\.onnx"):
        load_engine(tmp_path / "x.onnx", RuntimeConfig(runtime))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("lie", [{"shape": (-1, 4)}, {"name": "odds"}, {"dtype": "float16"}])
def test_a_sidecar_that_lies_about_the_graph_is_refused(tmp_path, models, runtime, lie):
    path, sidecar = load_artifact(models / "defects.onnx")
    told = dataclasses.replace(sidecar.spec.outputs[0], **lie)
    spec = dataclasses.replace(sidecar.spec, outputs=(told,))
    write_artifact(tmp_path / "x.onnx", path.read_bytes(), dataclasses.replace(sidecar, spec=spec))
    with pytest.raises(ArtifactError, match="disagree"):
        load_engine(tmp_path / "x.onnx", RuntimeConfig(runtime))


def test_the_torch_runtime_wants_the_very_checkpoint(tmp_path, models):
    path, sidecar = load_artifact(models / "defects.onnx")
    copy = tmp_path / "defects.onnx"
    write_artifact(copy, path.read_bytes(), sidecar)
    with pytest.raises(ArtifactError, match=r"defects\.pt, which is not there.*--keep-checkpoint"):
        load_engine(copy, RuntimeConfig(name="torch"))
    (tmp_path / "defects.pt").write_bytes((models / "identification.pt").read_bytes())
    with pytest.raises(ArtifactError, match="is not the checkpoint"):
        load_engine(copy, RuntimeConfig(name="torch"))


def test_threads_reach_torch(models):
    load_engine(models / "defects.onnx", RuntimeConfig(name="torch", threads=1))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("runtime", "package"),
    [("torch", "torch"), ("onnx", "onnxruntime"), ("openvino", "openvino")],
)
def test_a_runtime_that_is_not_installed_is_an_error(models, monkeypatch, runtime, package):
    monkeypatch.delitem(sys.modules, f"robollm_core.runtime.{runtime}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself notes for "not there"
    with pytest.raises(RuntimeUnavailableError, match=f"needs the Python package {package!r}"):
        load_engine(models / "defects.onnx", RuntimeConfig(name=runtime))


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "auto"])
def test_the_runtimes_of_a_robot_cell_need_no_torch(models, runtime):
    code = (
        "import sys\n"
        "from robollm_core.config import RuntimeConfig\n"
        "from robollm_core.runtime.factory import load_engine\n"
        f"load_engine({str(models / 'defects.onnx')!r}, RuntimeConfig({runtime!r}))\n"
        "assert not {'torch', 'onnx', 'psutil'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("text", ["Failed to allocate memory for requested buffer", "odd node"])
@pytest.mark.parametrize(
    ("runtime", "name"), [("onnx", "_session"), ("openvino fp32", "_request"), ("torch", "_module")]
)
def test_a_runtime_that_fails_says_so_and_lives(models, monkeypatch, runtime, name, text):
    engine = start(models / "defects.onnx", runtime)
    inputs = inputs_of(engine, 2)
    expected = engine.run(inputs)["probabilities"]

    class Broken:
        def __call__(self, *_):
            raise RuntimeError(text)

        io_binding = infer = __call__

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_bound", None, raising=False)
        patch.setattr(engine, name, Broken())
        with pytest.raises(RuntimeFailedError, match=text) as caught:
            engine.run(inputs)
    assert ("not enough memory" in str(caught.value)) == ("memory" in text)
    np.testing.assert_array_equal(engine.run(inputs)["probabilities"], expected)
