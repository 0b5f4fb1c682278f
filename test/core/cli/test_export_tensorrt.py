# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm export tensorrt`: engines for GPUs that are not here."""

import argparse
import json

import pytest

from robollm_core.cli import export_tensorrt
from robollm_core.errors import ArtifactError, RuntimeUnavailableError

pytest.importorskip("tensorrt_rtx_bindings")
small_onnx = pytest.importorskip("small_onnx")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROBOLLM_CACHE", str(folder))
    return folder


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    for name, factor in (("one", 1.0), ("two", 2.0)):
        small_onnx.write_rows(folder / f"{name}.onnx", factor)
    (folder / "foreign.onnx").write_bytes(b"a file without a sidecar")
    return folder


@pytest.fixture
def quick_builds(monkeypatch):
    """Engines are the names of what they are built for."""
    from robollm_core.runtime import tensorrt_cache

    built = []

    def build(plan, cache, state):
        built.append((plan.network.name, plan.target))
        return f"engine of {plan.network.name} for {plan.target}".encode()

    monkeypatch.setattr(tensorrt_cache, "_build_apart", build)
    return built


def export(*words):
    parser = argparse.ArgumentParser()
    export_tensorrt.add_arguments(parser)
    return export_tensorrt.run(parser.parse_args(list(map(str, words))))


def test_every_artifact_is_built_for_every_target(models, quick_builds, cache, tmp_path, capsys):
    out = tmp_path / "figures.json"
    words = ("--models", models, "--target", "sm86,sm120", "--build-only", "--json", out)
    assert export(*words) == 0
    expected = [(f"{n}.onnx", t) for n in ("one", "two") for t in ("sm86", "sm120")]
    assert quick_builds == expected
    rows = json.loads(out.read_text())["engines"]
    assert [(row["artifact"].rpartition("/")[2], row["target"]) for row in rows] == expected
    assert all(row["built"] and row["precision"] == "fp32" for row in rows)
    assert len(list((cache / "engines").glob("*.engine"))) == 4
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 4
    assert "one.onnx" in table
    assert "tensorrt_rtx" in table
    # what is there is not built again
    assert export(*words) == 0
    assert quick_builds == expected
    assert capsys.readouterr().out.count("was there") == 4
    assert not any(row["built"] for row in json.loads(out.read_text())["engines"])


def test_with_out_the_engines_get_readable_names_beside_their_sidecars(
    models, quick_builds, cache, tmp_path
):
    assert export(models / "one.onnx", "--target", "sm89", "--out", models) == 0
    engine = models / "one.sm89.tensorrt_rtx.engine"
    assert engine.read_bytes() == b"engine of one.onnx for sm89"
    facts = json.loads(engine.with_suffix(".json").read_text())["facts"]
    assert (facts["gpu"], facts["flavour"]) == ("sm89", "tensorrt_rtx")
    assert not cache.exists()


def test_the_runtime_takes_the_engine_that_stands_beside_its_network(
    models, quick_builds, cache, capsys
):
    pytest.importorskip("cuda.bindings")
    from robollm_core.runtime.artifact import load_artifact
    from robollm_core.runtime.tensorrt import _engine_of
    from robollm_core.runtime.tensorrt_build import BuildPlan

    export(models / "one.onnx", "--target", "sm89", "--out", models)
    file, sidecar = load_artifact(models / "one.onnx")
    plan = BuildPlan(file, "tensorrt_rtx", "sm89")
    assert _engine_of(plan, sidecar, cache) == b"engine of one.onnx for sm89"
    assert len(quick_builds) == 1
    # a truncated one is not run: the cache gets one of its own
    engine = models / "one.sm89.tensorrt_rtx.engine"
    engine.write_bytes(engine.read_bytes()[:5])
    assert _engine_of(plan, sidecar, cache) == b"engine of one.onnx for sm89"
    assert len(quick_builds) == 2
    assert "built anew" in capsys.readouterr().err


def test_the_verb_builds_and_refuses(models, quick_builds, capsys):
    from robollm_core.cli.main import main

    words = ["export", "tensorrt", str(models / "one.onnx"), "--build-only", "--target"]
    assert main([*words, "sm86"]) == 0
    assert quick_builds == [("one.onnx", "sm86")]
    assert main([*words, "sm1"]) == 2
    assert "got --target sm1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_engine_comes_out_of_a_machine_without_a_gpu(models, tmp_path, capsys):
    assert export(models / "one.onnx", "--target", "sm86", "--out", tmp_path) == 0
    assert (tmp_path / "one.sm86.tensorrt_rtx.engine").stat().st_size > 100_000


def test_an_unknown_target_is_refused_before_anything_is_built(models, quick_builds):
    with pytest.raises(RuntimeUnavailableError, match="sm86.*got --target sm90"):
        export("--models", models, "--target", "sm86,sm90", "--build-only")
    assert not quick_builds


def test_without_a_gpu_and_a_target_the_way_is_told(models, quick_builds):
    cuda = pytest.importorskip("robollm_core.runtime.tensorrt_cuda")
    if cuda.cuda.cudaGetDeviceCount()[0] == cuda.cuda.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeUnavailableError, match="--flavour tensorrt_rtx --target sm86"):
        export("--models", models, "--flavour", "tensorrt_rtx", "--build-only")
    assert not quick_builds


def test_a_damaged_artifact_is_refused_before_anything_is_built(models, quick_builds):
    (models / "two.onnx").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match="two.onnx"):
        export("--models", models, "--target", "sm86", "--build-only")
    assert not quick_builds


def test_a_folder_without_artifacts_is_refused(tmp_path, quick_builds):
    with pytest.raises(ArtifactError, match="no artifact"):
        export("--models", tmp_path, "--target", "sm86", "--build-only")


def test_the_classic_tensorrt_does_not_build_for_others(models, quick_builds, monkeypatch):
    from robollm_core.runtime import tensorrt_flavour

    found = tensorrt_flavour.find_flavour("tensorrt_rtx")
    monkeypatch.setattr(tensorrt_flavour, "find_flavour", lambda name: found)
    with pytest.raises(RuntimeUnavailableError, match="GPU of this machine alone"):
        export("--models", models, "--flavour", "tensorrt", "--target", "sm86")
