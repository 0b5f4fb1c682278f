# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Running engines: what the engine asks of a GPU, on a scripted one."""

import gc
import threading
from dataclasses import replace

import numpy as np
import pytest

from robollm_core.config import RuntimeConfig
from robollm_core.errors import (
    ArtifactError,
    ConfigError,
    RuntimeFailedError,
    ShapeError,
)
from robollm_core.runtime.cache import Entry
from robollm_core.types import EngineSpec, TensorSpec

pytest.importorskip("cuda.bindings")

import scripted_gpu

from robollm_core.runtime import tensorrt

SPEC = EngineSpec(
    (TensorSpec("images", (-1, 2, 3), "uint8"),),
    (TensorSpec("sums", (-1, 2), "float32"), TensorSpec("most", (-1,), "int64")),
)
FIXED = EngineSpec(
    (TensorSpec("images", (1, 2, 3), "uint8"),),
    (TensorSpec("sums", (1, 2), "float32"), TensorSpec("most", (1,), "int64")),
)


def function(arrays):
    images = arrays["images"].astype(np.int64)
    return {"sums": images.sum(2).astype(np.float32), "most": images.max((1, 2))}


@pytest.fixture
def gpu(monkeypatch):
    made = scripted_gpu.ScriptedCuda()
    monkeypatch.setattr(tensorrt, "cuda", made)
    return made


def load(gpu, spec=SPEC, most=16, contexts=None, told=None):
    flavour = scripted_gpu.flavour(gpu, spec, function, contexts)
    return tensorrt.TensorRTEngine(b"engine", told or spec, flavour, most)


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 2, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [*range(1, 17)])
def test_every_batch_gives_the_answers_of_its_rows(count, gpu):
    engine = load(gpu)
    batch = images(count, count)
    found = engine.run({"images": batch})
    for name, expected in function({"images": batch}).items():
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype


@pytest.mark.parametrize(("count", "runs"), [(17, 2), (32, 2), (39, 3)])
def test_a_batch_larger_than_the_engine_takes_is_run_in_parts(count, runs, gpu):
    engine = load(gpu)
    batch = images(count)
    found = engine.run({"images": batch})
    for name, expected in function({"images": batch}).items():
        np.testing.assert_array_equal(found[name], expected)
    assert gpu.launches == runs


PAIR = EngineSpec(
    (TensorSpec("images", (-1, 2, 3), "uint8"), TensorSpec("scale", (-1,), "float32")),
    (TensorSpec("sums", (-1, 2), "float32"),),
)


def test_inputs_of_two_batches_are_refused_and_of_one_are_run(gpu):
    def scaled(arrays):
        return {"sums": arrays["images"].sum(2) * arrays["scale"][:, None]}

    engine = tensorrt.TensorRTEngine(b"e", PAIR, scripted_gpu.flavour(gpu, PAIR, scaled), 4)
    batch, scale = images(6), np.arange(6, dtype=np.float32)
    found = engine.run({"images": batch, "scale": scale})["sums"]
    np.testing.assert_array_equal(found, batch.sum(2) * scale[:, None])
    with pytest.raises(ShapeError, match="one batch"):
        engine.run({"images": batch, "scale": scale[:5]})


def test_a_batch_after_a_larger_one_has_nothing_of_it(gpu):
    engine = load(gpu)
    engine.run({"images": images(16, 1)})
    batch = images(3, 2)
    np.testing.assert_array_equal(
        engine.run({"images": batch})["sums"], function({"images": batch})["sums"]
    )


@pytest.mark.parametrize(("most", "sizes"), [(16, 5), (1, 1), (6, 4), (64, 7)])
def test_sizes_are_bounded_and_all_are_ready_before_the_first_run(most, sizes, gpu):
    contexts = []
    engine = load(gpu, most=most, contexts=contexts)
    assert len(contexts) == gpu.recorded == sizes
    assert len(engine.run({"images": images(most)})["sums"]) == most
    assert len(contexts) == sizes


def test_a_fixed_network_has_one_graph_and_a_run_is_one_launch(gpu):
    engine = load(gpu, spec=FIXED)
    assert gpu.recorded == 1
    batch = images(1)
    for number in range(3):
        assert engine.run({"images": batch})["most"] == batch.max()
        assert gpu.launches == number + 1


def test_outputs_are_copies(gpu):
    engine = load(gpu)
    first = engine.run({"images": images(2, 1)})
    kept = first["sums"].copy()
    engine.run({"images": images(2, 2)})
    np.testing.assert_array_equal(first["sums"], kept)


def test_work_that_cannot_be_recorded_is_run_and_told(monkeypatch):
    gpu = scripted_gpu.ScriptedCuda(recordable=False)
    monkeypatch.setattr(tensorrt, "cuda", gpu)
    engine = load(gpu)
    batch = images(5)
    np.testing.assert_array_equal(engine.run({"images": batch})["most"], batch.max((1, 2)))
    assert engine.description == "tensorrt 10.9.0 Scripted GPU, no CUDA graphs"


def test_the_description_names_version_and_gpu(gpu):
    assert load(gpu).description == "tensorrt 10.9.0 Scripted GPU, CUDA graphs"


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"pictures": images(1)},
        {"images": images(1), "more": images(1)},
        {"images": images(1).astype(np.float32)},
        {"images": images(1)[:, :1]},
        {"images": images(0)},
    ],
)
def test_inputs_that_do_not_fit_are_refused_and_the_engine_goes_on(inputs, gpu):
    engine = load(gpu)
    with pytest.raises(ShapeError):
        engine.run(inputs)
    assert engine.run({"images": images(1)})["most"] == images(1).max()


def test_a_network_that_is_not_the_one_of_its_sidecar_is_refused(gpu):
    for change in ({"dtype": "float32"}, {"shape": (-1, 2, 4)}, {"name": "pictures"}):
        told = replace(SPEC, inputs=(replace(SPEC.inputs[0], **change),))
        with pytest.raises(ArtifactError, match="disagree"):
            load(gpu, told=told)
    with pytest.raises(ArtifactError, match="disagree"):
        load(gpu, told=replace(SPEC, outputs=SPEC.outputs[:1]))
    assert not gpu.live


def test_an_engine_that_does_not_load_is_told_with_the_reason(gpu):
    flavour = scripted_gpu.flavour(gpu, SPEC, function)
    with pytest.raises(RuntimeFailedError, match="magic tag.*delete"):
        tensorrt.TensorRTEngine(b"bad", SPEC, flavour, 16)
    assert not gpu.live


@pytest.mark.parametrize("memory", [0, 100, 200, 900])
def test_without_enough_memory_all_is_given_back(memory, monkeypatch):
    gpu = scripted_gpu.ScriptedCuda(memory=memory)
    monkeypatch.setattr(tensorrt, "cuda", gpu)
    with pytest.raises(RuntimeFailedError, match="cannot reserve"):
        load(gpu)
    assert not gpu.live


def test_memory_is_given_back_with_the_engine(gpu):
    engine = load(gpu)
    assert gpu.live
    del engine
    gc.collect()
    assert not gpu.live


def test_a_run_that_tensorrt_refuses_is_told(monkeypatch):
    gpu = scripted_gpu.ScriptedCuda(recordable=False)
    monkeypatch.setattr(tensorrt, "cuda", gpu)
    contexts = []
    engine = load(gpu, contexts=contexts)
    contexts[0].healthy = False
    with pytest.raises(RuntimeFailedError, match="cannot run the network"):
        engine.run({"images": images(1)})
    contexts[0].healthy = True
    assert engine.run({"images": images(1)})["most"] == images(1).max()


def test_threads_take_turns(gpu):
    engine = load(gpu)
    wrong = []

    def work(seed):
        batch = images(1 + seed, seed)
        for _ in range(30):
            if not np.array_equal(engine.run({"images": batch})["most"], batch.max((1, 2))):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def kernels(tmp_path):
    return Entry(tmp_path, {"card": "A"}, ".kernels")


def start(gpu, kernels):
    """Load an engine on a scripted TensorRT-RTX; its cache of kernels."""
    caches = []
    flavour = scripted_gpu.rtx(gpu, SPEC, function, caches)
    engine = tensorrt.TensorRTEngine(b"engine", SPEC, flavour, 16, kernels)
    batch = images(3)
    np.testing.assert_array_equal(engine.run({"images": batch})["most"], batch.max((1, 2)))
    assert len(caches) == 1
    return caches[0]


def test_what_rtx_compiled_is_there_at_the_next_start(gpu, kernels):
    assert start(gpu, kernels).loaded is None
    assert kernels.valid()
    written = kernels.path.stat().st_mtime_ns
    assert start(gpu, kernels).loaded == b"card A: 5"
    assert kernels.path.stat().st_mtime_ns == written


@pytest.mark.parametrize("harm", ["foreign", "truncated"])
def test_kernels_that_do_not_fit_are_compiled_again(harm, gpu, kernels):
    kernels.write(b"card B: 9" if harm == "foreign" else b"card A: 5")
    if harm == "truncated":
        kernels.path.write_bytes(b"card A")
    assert start(gpu, kernels).loaded == (b"card B: 9" if harm == "foreign" else None)
    assert kernels.valid()
    assert kernels.path.read_bytes() == b"card A: 5"


def test_kernels_that_cannot_be_kept_are_told_and_the_engine_runs(gpu, kernels, capsys):
    kernels.folder.rmdir()
    kernels.folder.write_text("a file in the way")
    start(gpu, kernels)
    assert "compiled kernels are not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (RuntimeConfig(name="tensorrt", device="cpu"), "runtime.device to cuda"),
        (RuntimeConfig(name="tensorrt_rtx", device="cuda", precision="fp16"), "as the artifact"),
    ],
)
def test_a_configuration_that_does_not_go_with_tensorrt_is_refused(config, told):
    with pytest.raises(ConfigError, match=told):
        tensorrt.load_tensorrt_engine(None, None, config)
