# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm convert`: all layouts to safetensors and back, and files that lie."""

import json
import os
import re

import foreign_weights as foreign
import make_beit3_golden as golden
import pytest
import torch
from safetensors.torch import load_file, save_file

from robollm_core.beit3.build import SIZES
from robollm_core.beit3.checkpoint import load_encoder, read_checkpoint
from robollm_core.cli import main as command
from robollm_core.defects.model import build_defects
from robollm_core.errors import CheckpointError
from robollm_core.export import convert as room
from robollm_core.identification.model import build_identification, load_graph
from robollm_core.training.warm import warm_start


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    monkeypatch.setitem(SIZES, "nano", foreign.nano)


def convert(source, out, *more):
    return command.main(["convert", str(source), str(out), *map(str, more)])


@pytest.mark.parametrize("name", foreign.LAYOUTS)
def test_every_layout_comes_back_as_it_was(tmp_path, capsys, name):
    source = foreign.write(tmp_path / f"{name}.pth", foreign.LAYOUTS[name]())
    out, report = tmp_path / "out" / f"{name}.safetensors", tmp_path / "report.json"
    assert convert(source, out, "--json", report) == 0
    said = capsys.readouterr().out
    direct, back = read_checkpoint(source), read_checkpoint(out)
    assert direct.tensors.keys() == back.tensors.keys()
    for key, weight in direct.tensors.items():
        assert torch.equal(weight, back.tensors[key])
    assert direct.meta.items() <= back.meta.items()
    assert back.meta["layout"] == name and back.meta["size"] == "nano"
    assert back.meta["source"] == {"file": f"{name}.pth", "sha256": direct.sha256}
    full = json.loads(report.read_text())
    entries = {**full["used"], **full["dropped"]}
    assert set(foreign.LAYOUTS[name]()) <= entries.keys()
    assert {"optimizer", "epoch", "args"} <= full["dropped"].keys()
    counts = {fate: len(full[fate]) for fate in ("used", "dropped", "missing")}
    assert back.meta["keys"] == counts
    for fate, count in counts.items():
        lines = [line.split() for line in said.splitlines() if line.startswith(fate)]
        assert sum(int(words[1]) for words in lines) == count
    lacking = ["encoder.norm.weight", "encoder.norm.bias"]
    ends = name in ("timm", "beit3_classifier")
    assert list(full["missing"]) == (lacking if ends else [])


def test_the_hub_s_safetensors_without_a_sidecar_of_ours_are_taken(tmp_path):
    source = tmp_path / "model.safetensors"
    save_file(foreign.timm(), source)
    with pytest.raises(CheckpointError, match=r"lacks its sidecar.*robollm convert"):
        read_checkpoint(source)
    out = tmp_path / "timm.safetensors"
    assert convert(source, out) == 0
    encoder = foreign.nano(64)  # another size: positions follow
    load_encoder(encoder, read_checkpoint(out))
    assert torch.equal(encoder.cls_token, foreign.timm()["cls_token"])


def own(folder, stage="identification", **more):
    settings = {"size": "nano", "img_size": 48}
    network = {"identification": build_identification, "defects": build_defects}[stage](settings)
    crop = {"size_px": 48, "mode": "pad", "blank": True, "margin": 0.05}
    content = {"format": 1, "stage": stage, "recipe": {"model": settings, "crop": crop}, "step": 3}
    path = folder / "best.pt"
    torch.save({**content, "model": network.state_dict(), **more}, path)
    return path


def test_our_own_checkpoints_go_both_ways_and_train_on(tmp_path):
    source = own(tmp_path, origin=[{"stage": "encoder", "file": "a.pt", "sha256": "0"}])
    out, again = tmp_path / "own.safetensors", tmp_path / "again.safetensors"
    assert convert(source, out) == 0 and convert(out, again) == 0
    assert out.read_bytes() == again.read_bytes()
    network = load_graph(out)
    for key, weight in load_graph(source).state_dict().items():
        assert torch.equal(network.state_dict()[key], weight)
    assert read_checkpoint(again).meta["origin"][0]["stage"] == "encoder"
    assert read_checkpoint(out).meta["scoring"] == "native"
    fresh = build_identification({"size": "nano", "img_size": 48})
    run = warm_start(fresh, fresh.encoder, "identification", out)
    assert torch.equal(fresh.projection.weight, network.projection.weight)
    assert [entry["file"] for entry in run] == ["a.pt", "own.safetensors"]


def test_a_released_identification_network_lends_its_encoder(tmp_path):
    out = tmp_path / "released.safetensors"
    assert convert(foreign.write(tmp_path / "x.pth", foreign.armbench3t1()), out) == 0
    network = build_identification({"size": "nano", "img_size": 48})
    (origin,) = warm_start(network, network.encoder, "identification", out)
    assert torch.equal(network.encoder.cls_token[0, 0], torch.from_numpy(
        golden.vision_weights(foreign.NANO)["vision_embed.cls_token"][0, 0]))  # fmt: skip
    assert origin["file"] == "released.safetensors"


class Code:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def lacking(name):
    return {key: w for key, w in foreign.beit3().items() if key != f"beit3.{name}"}


def write_bad(folder, case):
    path = folder / "bad.pth"
    if case == "half a download":
        whole = foreign.write(path, foreign.beit3()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif case == "a page to log in":
        path.write_text("<!DOCTYPE html><html>Sign in</html>")
    elif case == "code":
        foreign.write(path, foreign.beit3(), extra=Code(folder / "ran"))
    elif case == "half a safetensors file":
        path = folder / "bad.safetensors"
        save_file(foreign.timm(), path)
        path.write_bytes(path.read_bytes()[:-100])
    elif case == "not there":
        pass
    else:
        foreign.write(path, STATES[case]())
    return path


STATES = {
    "a language model": lambda: {"model.embed_tokens.weight": torch.zeros(9, 4)},
    "a size of nobody": lambda: {
        key: w for key, w in foreign.beit3().items() if ".layers.1." not in key
    },
    "no final norm": lambda: {k: w for k, w in foreign.beit3().items() if ".layer_norm." not in k},
    "a norm is missing": lambda: lacking("encoder.layers.1.final_layer_norm.A.bias"),
    "a head is missing": lambda: {
        k: w for k, w in foreign.armbench3t1().items() if k != "ref_vision_pooler.dense.bias"
    },
    "another shape": lambda: {
        **foreign.beit3(), "beit3.encoder.layers.1.ffn.A.fc2.bias": torch.zeros(31)
    },
    "not finite": lambda: {
        **foreign.beit3(), "beit3.vision_embed.proj.bias": torch.full((32,), torch.nan)
    },
    "uneven positions": lambda: {
        **foreign.beit3(), "beit3.encoder.embed_positions.A.weight": torch.zeros(3 + 7, 32)
    },
    "something else besides": lambda: {**foreign.beit3(), "beit3.gate.A.weight": torch.zeros(1)},
}  # fmt: skip
BAD = {
    "half a download": "cannot be read|read safely",
    "a page to log in": "read safely",
    "code": "read safely",
    "half a safetensors file": "broke off",
    "not there": "there is no checkpoint",
    "a language model": "nothing that sees images",
    "a size of nobody": "has 1 blocks of width 32",
    "no final norm": "missing: norm.bias, norm.weight",
    "a norm is missing": "missing: blocks.1.ffn_norm.bias",
    "a head is missing": "missing: reference_pooler.dense.bias",
    "another shape": r"\(31,\) instead of \(32,\)",
    "not finite": "not finite: patch_embed.bias",
    "uneven positions": "no square",
    "something else besides": "beit3.gate.A.weight",
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_refused_and_nothing_is_written(tmp_path, capsys, case):
    source = write_bad(tmp_path, case)
    out = tmp_path / "out" / "x.safetensors"
    assert convert(source, out) == 2
    error = capsys.readouterr().err
    assert re.search(BAD[case], error), error
    assert not out.parent.exists() and not (tmp_path / "ran").exists()


def test_the_checkpoint_to_resume_from_is_refused(tmp_path, capsys):
    source = own(tmp_path, optimizer={})
    assert convert(source, tmp_path / "x.safetensors") == 2
    assert "Convert best.pt" in capsys.readouterr().err


@pytest.fixture
def pair(tmp_path):
    out = tmp_path / "pair" / "x.safetensors"
    assert convert(foreign.write(tmp_path / "x.pth", foreign.beit3()), out) == 0
    return out


def test_weights_that_differ_from_their_sidecar_are_refused(pair):
    tensors = load_file(pair)
    tensors["encoder.norm.bias"] = tensors["encoder.norm.bias"] + 1
    save_file(tensors, pair)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        read_checkpoint(pair)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "{" * 9999])
def test_a_sidecar_that_is_none_is_refused(pair, text):
    pair.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match="sidecar"):
        read_checkpoint(pair)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("fault", ["weights", "sidecar"])
def test_a_disk_that_fills_up_leaves_the_old_pair(tmp_path, capsys, pair, monkeypatch, fault):
    before = contents(pair.parent)
    other = foreign.write(tmp_path / "y.pth", foreign.armbenchpick1())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "_save" if fault == "weights" else "_json", full)
    assert convert(other, pair) == 2
    assert "No space left" in capsys.readouterr().err
    assert contents(pair.parent) == before


def test_names_that_would_cross_are_refused(tmp_path, capsys):
    source = foreign.write(tmp_path / "x.pth", foreign.beit3())
    assert convert(source, tmp_path / "x.pt") == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    (tmp_path / "y.onnx").write_bytes(b"")
    assert convert(source, tmp_path / "y.safetensors") == 2
    assert "sidecar of y.onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_a_base_file_of_full_size_is_converted(tmp_path, capsys):
    size = golden.SIZES["base"]
    vision = {name: torch.from_numpy(w) for name, w in golden.vision_weights(size).items()}
    state = {f"beit3.{name}": weight for name, weight in vision.items()}
    experts = {n.replace(".A.", ".B."): w for n, w in state.items() if ".A." in n}
    text = {"beit3.text_embed.weight": torch.zeros(64010, 768)}
    heads = {"fc_norm.weight": torch.ones(768), "fc_norm.bias": torch.zeros(768)}
    whole = {**state, **experts, **text, **heads, "logit_scale": torch.tensor(2.6)}
    whole["beit3.vision_embed.mask_token"] = torch.zeros(1, 1, 768)
    assert len(whole) == 494
    out = tmp_path / "base.safetensors"
    assert convert(foreign.write(tmp_path / "x.pth", whole), out) == 0
    assert "size base, 85.89 M parameters in the encoder" in capsys.readouterr().out
    back = read_checkpoint(out)
    assert torch.equal(back.tensors["encoder.cls_token"], vision["vision_embed.cls_token"])
    encoder = SIZES["base"](224)
    load_encoder(encoder, back)
