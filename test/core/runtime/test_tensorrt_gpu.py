# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""All networks on a real GPU beside ONNX Runtime on the CPU."""

import functools
import time
from pathlib import Path

import numpy as np
import pytest

from robollm_core.config import RuntimeConfig
from robollm_core.errors import RobollmError, RuntimeFailedError
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine

pytestmark = pytest.mark.gpu
MODELS = Path(__file__).parents[3] / "models" / "tiny"
CROPS = 22


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def gpu(request, tmp_path_factory):
    """A configuration with a flavour of TensorRT; skips where it or the GPU is not there."""
    try:
        from robollm_core.runtime.tensorrt_cuda import this_gpu
        from robollm_core.runtime.tensorrt_flavour import find_flavour

        find_flavour(request.param)
        this_gpu()
    except RobollmError as error:
        pytest.skip(str(error))
    cache = tmp_path_factory.getbasetemp() / "engines"
    return RuntimeConfig(name=request.param, device="cuda", cache=str(cache))


@functools.cache
def samples():
    """Real frames and crops of the demo's bag, as the networks take them: name to inputs."""
    from robollm_core.export.samples import batches, crops, frames, scenes, triples
    from robollm_core.runtime.furniture import crop_spec

    pictures = scenes()
    _, where = load_artifact(MODELS / "segmentation.onnx")
    found = {"segmentation": frames(where, pictures)[:3]}
    for name in ("identification", "defects"):
        _, sidecar = load_artifact(MODELS / f"{name}.onnx")
        images = crops(crop_spec(sidecar), pictures, CROPS)
        found[name] = batches(images, "images")
        if name == "identification":
            embedder = load_engine(MODELS / f"{name}.onnx", RuntimeConfig(name="onnx"))
            found["identification_fusion"] = triples(embedder, images)
    return found


def difference(stage, expected, got):
    """How far two answers lie apart, and how far they may."""
    if stage == "segmentation":
        from robollm_core.export.parity import detection_difference

        found = detection_difference(expected, got)
        return found, {"scores": 2e-3, "unmatched": 0.1}
    found = {name: float(np.abs(got[name] - expected[name]).max()) for name in expected}
    return found, dict.fromkeys(expected, 2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["segmentation", "identification", "identification_fusion", "defects"]
)
def test_a_network_answers_as_on_the_cpu(stage, gpu):
    path = MODELS / f"{stage}.onnx"
    reference = load_engine(path, RuntimeConfig(name="onnx"))
    engine = load_engine(path, gpu)
    assert engine.spec == reference.spec
    assert gpu.name in engine.description
    for inputs in samples()[stage]:
        expected, got = reference.run(inputs), engine.run(inputs)
        assert {k: (v.shape, v.dtype) for k, v in got.items()} == {
            k: (v.shape, v.dtype) for k, v in expected.items()
        }
        found, limits = difference(stage, expected, got)
        assert all(found[name] <= limit for name, limit in limits.items()), found


@pytest.mark.slow
def test_every_batch_and_order_gives_the_same_rows(gpu):
    engine = load_engine(MODELS / "defects.onnx", gpu)
    images = samples()["defects"][0]["images"]
    whole = engine.run({"images": images})["probabilities"]
    for count in (3, 1, 16, 7, 2):
        part = engine.run({"images": images[:count]})["probabilities"]
        np.testing.assert_allclose(part, whole[:count], atol=1e-3)
    twice = engine.run({"images": np.concatenate([images, images])})["probabilities"]
    np.testing.assert_allclose(twice, np.concatenate([whole, whole]), atol=1e-3)


@pytest.mark.slow
def test_a_second_start_takes_the_engine_that_is_there(gpu, monkeypatch):
    from robollm_core.runtime import tensorrt_cache

    path = MODELS / "identification_fusion.onnx"
    load_engine(path, gpu)

    def refuse(*args):
        raise AssertionError("it was built again")

    monkeypatch.setattr(tensorrt_cache, "_build_apart", refuse)
    start = time.monotonic()
    load_engine(path, gpu)
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_without_memory_the_process_lives(gpu, monkeypatch):
    from robollm_core.runtime import tensorrt_cuda

    real = tensorrt_cuda.device_memory
    monkeypatch.setattr(
        tensorrt_cuda, "device_memory", lambda size, what, stack: real(1 << 50, what, stack)
    )
    with pytest.raises(RuntimeFailedError, match="Not enough memory"):
        load_engine(MODELS / "defects.onnx", gpu)
    monkeypatch.undo()
    engine = load_engine(MODELS / "defects.onnx", gpu)
    inputs = {"images": np.zeros((1, 128, 128, 3), np.uint8)}
    np.testing.assert_allclose(engine.run(inputs)["probabilities"].sum(), 1.0, atol=1e-3)
