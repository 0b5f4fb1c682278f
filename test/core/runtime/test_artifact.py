# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Artifacts: what is written comes back, what was changed is refused."""

import dataclasses
import json
import resource

import pytest

from robollm_core.errors import ArtifactError, OutputError
from robollm_core.runtime.artifact import Sidecar, load_artifact, locate, write_artifact
from robollm_core.types import EngineSpec, TensorSpec

SIDECAR = Sidecar(
    stage="defects",
    spec=EngineSpec(
        (TensorSpec("images", (-1, 32, 32, 3), "uint8"),),
        (TensorSpec("probabilities", (-1, 3), "float32"),),
    ),
    precision="fp16 weights",
    opset=17,
    source_checkpoint={"file": "best.pt", "sha256": "ab" * 32},
    recipe={"model": {"size": "tiny", "img_size": 32}, "rate": 1e-3},
    rebuild="robollm export defects --checkpoint best.pt --out x.onnx",
    meta={"labels": ["a", "b"]},
)


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "models" / "x.onnx"
    write_artifact(path, b"network" * 1000, SIDECAR)
    return path


def test_what_is_written_comes_back(artifact):
    path, sidecar = load_artifact(artifact)
    assert path == artifact and path.read_bytes() == b"network" * 1000
    assert dataclasses.replace(sidecar, sha256="") == SIDECAR
    assert sorted(file.name for file in artifact.parent.iterdir()) == ["x.json", "x.onnx"]


@pytest.mark.parametrize("change", [b"Network" + b"network" * 999, b"network" * 999, b""])
def test_a_changed_or_truncated_network_is_refused(artifact, change):
    artifact.write_bytes(change)
    with pytest.raises(ArtifactError, match="changed or damaged.*robollm export defects"):
        load_artifact(artifact)


def test_a_missing_network_or_sidecar_is_named(artifact, tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.onnx.*robollm export"):
        load_artifact(tmp_path / "none.onnx")
    artifact.unlink()
    with pytest.raises(ArtifactError, match=r"x\.onnx.*robollm export defects"):
        load_artifact(artifact)
    artifact.write_bytes(b"network" * 1000)
    artifact.with_suffix(".json").unlink()
    with pytest.raises(ArtifactError, match=r"x\.json"):
        load_artifact(artifact)


def drop(key):
    return lambda tree: tree.pop(key)


def put(key, value):
    return lambda tree: tree.__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        drop("spec"),
        drop("sha256"),
        put("format", 2),
        put("colour", "red"),
        put("opset", "17"),
        put("sha256", None),
        put("meta", []),
        put("spec", {"inputs": []}),
        put("spec", {"inputs": [{"name": "x"}], "outputs": []}),
        put("spec", {"inputs": [{"name": "x", "shape": ["n"], "dtype": "uint8"}], "outputs": []}),
    ],
)
def test_a_sidecar_of_another_form_is_refused(artifact, change):
    beside = artifact.with_suffix(".json")
    tree = json.loads(beside.read_text())
    change(tree)
    beside.write_text(json.dumps(tree))
    with pytest.raises(ArtifactError, match="is not a sidecar"):
        load_artifact(artifact)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)])
def test_garbage_in_place_of_a_sidecar_is_refused(artifact, text):
    artifact.with_suffix(".json").write_bytes(text)
    with pytest.raises(ArtifactError, match="sidecar"):
        load_artifact(artifact)


def test_a_disk_that_fills_up_leaves_the_old_pair(artifact):
    before = {file.name: file.read_bytes() for file in artifact.parent.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="Nothing was written"):
            write_artifact(artifact, b"x" * 100_000, SIDECAR)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in artifact.parent.iterdir()} == before
    load_artifact(artifact)


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.json").mkdir()  # the second rename fails
    with pytest.raises(OutputError):
        write_artifact(tmp_path / "x.onnx", b"network", SIDECAR)
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "models").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        write_artifact(tmp_path / "models" / "x.onnx", b"network", SIDECAR)


def test_relative_paths_start_at_the_share_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = locate(".")
    assert (root / "package.xml").is_file()
    assert locate("models/x.onnx") == root / "models" / "x.onnx"
    assert locate(str(tmp_path / "x.onnx")) == tmp_path / "x.onnx"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/x.onnx") == tmp_path / "x.onnx"
