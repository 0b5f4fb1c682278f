# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where derived networks go, and that they come together or not at all."""

import json
from pathlib import Path

import pytest

from robollm_core.errors import OutputError
from robollm_core.export import derive
from robollm_core.export.derive import Derived, derived_path, read_network
from robollm_core.export.large import LargeNetwork
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.types import EngineSpec

BOTH = ("identification", "identification_fusion")


def derived():
    sidecars = {name: Sidecar(name, EngineSpec((), ()), precision="fp16") for name in BOTH}
    networks = {name: name.encode() for name in BOTH}
    return Derived("fp16", networks, sidecars, ())


def test_a_fusion_stands_where_the_evaluation_looks_for_it():
    out = Path("models/identification.onnx")
    path = derived_path(out, "int8")
    assert path == Path("models/identification.int8.onnx")
    # as `evaluation.embedding_model.exported` names it
    assert derived_path(out, "int8", fusion=True) == path.with_name(f"{path.stem}_fusion.onnx")


def test_both_networks_are_written_with_the_command_that_makes_them(tmp_path):
    written = derived().write(tmp_path / "x.onnx", "robollm export again")
    assert [path.name for path in written] == ["x.fp16.onnx", "x.fp16_fusion.onnx"]
    for path, stage in zip(written, BOTH, strict=True):
        sidecar = load_artifact(path)[1]
        assert (sidecar.stage, sidecar.rebuild) == (stage, "robollm export again")
        assert json.loads(path.with_suffix(".json").read_text())["precision"] == "fp16"


def test_a_disk_that_fills_up_leaves_neither_network(tmp_path, monkeypatch):
    write = derive.write_network

    def filling(path, network, sidecar):
        if sidecar.stage == BOTH[1]:
            raise OutputError("no space left")
        return write(path, network, sidecar)

    monkeypatch.setattr(derive, "write_network", filling)
    with pytest.raises(OutputError, match="no space"):
        derived().write(tmp_path / "x.onnx", "")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_of_what_did_not_pass(tmp_path):
    assert Derived("int8", {}, {}, ()).write(tmp_path / "x.onnx", "") == []
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_two_files_is_read_as_one(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"graph")
    (tmp_path / "x.onnx.data").write_bytes(b"weights")
    told = Sidecar("defects", EngineSpec((), ()))
    assert not isinstance(read_network(path, told), LargeNetwork)
    told = Sidecar("defects", EngineSpec((), ()), meta={"external": {"file": "x.onnx.data"}})
    found = read_network(path, told)
    assert isinstance(found, LargeNetwork) and found.data == b"weights"
