# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Sites: written, read, put on their backbone, and changed in a resident network."""

import dataclasses
import json

import pytest
import torch

from robollm_core.beit3.adapters import AdapterShape, attach, is_adapter
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.defects.model import DefectModel
from robollm_core.errors import CheckpointError
from robollm_core.training import sites
from robollm_core.training.adapting import attach_lora, backbone, base_sha256, shipped
from robollm_core.training.checkpoint import save_checkpoint

SHAPE = EncoderShape(depth=2, width=32, heads=2, ffn=64, image_hw=(32, 32))
ADAPTER = AdapterShape(width=4, enhancer=6, alpha=0.5)
KINDS = pytest.mark.parametrize("kind", ["multiway", "lora"])


def base_network(seed=0):
    torch.manual_seed(seed)
    return DefectModel(Encoder(SHAPE)).eval()


def adapted(kind, seed):
    """A network on the base of seed 0, as training at one place leaves it."""
    network = base_network()
    if kind == "multiway":
        attach(network.encoder, ADAPTER)
    else:
        attach_lora(network.encoder, 2 + seed, 0.7)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_adapter(name) or ".lora_" in name or not name.startswith("encoder."):
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return network


def write_best(path, kind, network):
    model = {"size": "tiny", "img_size": 32}
    if kind == "multiway":
        model["adapter"] = ADAPTER.to_json()
    save_checkpoint(path, {"stage": "defects", "recipe": {"model": model}, **shipped(network)})
    return path


def site_of(tmp_path, kind, seed):
    network = adapted(kind, seed)
    path = tmp_path / f"{kind}_{seed}.safetensors"
    sites.write_site(path, sites.extract(write_best(tmp_path / "best.pt", kind, network)))
    return network, sites.read_site(path)


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=generator)


@KINDS
def test_a_site_holds_adapter_and_heads_alone(tmp_path, kind):
    network, site = site_of(tmp_path, kind, 1)
    heads = {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    rest = site.tensors.keys() - heads
    assert heads < site.tensors.keys()
    assert all(is_adapter(name) or ".lora_" in name for name in rest)
    assert site.base_sha256 == base_sha256(backbone(base_network().encoder.state_dict()))
    assert site.parameters()["heads"] == 2 * 32 + 3 * 33
    adapter = sum(
        p.numel() for n, p in network.named_parameters() if is_adapter(n) or ".lora_" in n
    )
    assert site.parameters()["adapter"] == adapter
    assert torch.equal(site.tensors["head.weight"], network.head.weight)
    note = json.loads((tmp_path / f"{kind}_1.json").read_text())
    assert note["stage"] == "defects" and note["kind"] == kind
    assert note["source_checkpoint"]["file"] == "best.pt"


@KINDS
@torch.inference_mode()
def test_a_swap_changes_the_answers_and_not_the_backbone(tmp_path, kind, pixels):
    fresh = {seed: site_of(tmp_path, kind, seed) for seed in (1, 2)}
    resident = base_network()
    before = {
        name: (tensor.data_ptr(), tensor.clone())
        for name, tensor in backbone(resident.encoder.state_dict()).items()
    }
    answers = {}
    for turn, seed in enumerate((1, 2, 1)):
        network, site = fresh[seed]
        sites.swap(resident, site)
        answers[turn] = resident(pixels)
        assert torch.equal(answers[turn], network(pixels))
    assert torch.equal(answers[0], answers[2]) and not torch.equal(answers[0], answers[1])
    after = backbone(resident.encoder.state_dict())
    assert after.keys() == before.keys()
    for name, (pointer, values) in before.items():
        assert after[name].data_ptr() == pointer and torch.equal(after[name], values)


@torch.inference_mode()
def test_one_kind_gives_way_to_the_other(tmp_path, pixels):
    resident = base_network()
    for kind in ("lora", "multiway", "lora"):
        network, site = site_of(tmp_path, kind, 1)
        sites.swap(resident, site)
        assert torch.equal(resident(pixels), network(pixels))


@KINDS
def test_a_site_on_another_backbone_is_refused_with_both_hashes(tmp_path, kind):
    _, site = site_of(tmp_path, kind, 1)
    other = base_network(seed=9)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        sites.swap(other, site)
    own = base_sha256(backbone(other.encoder.state_dict()))
    assert own in str(caught.value) and site.base_sha256 in str(caught.value)
    after = other.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@KINDS
def test_a_hash_that_is_known_is_not_computed_again(tmp_path, kind, monkeypatch):
    _, site = site_of(tmp_path, kind, 1)
    resident = base_network()

    def never(tensors):
        raise AssertionError("hashed")

    monkeypatch.setattr(sites, "base_sha256", never)
    sites.swap(resident, site, base=site.base_sha256)
    with pytest.raises(CheckpointError, match="backbone"):
        sites.swap(resident, site, base="0" * 64)


@KINDS
@pytest.mark.parametrize("fault", ["missing", "shape", "foreign", "nan", "sizes"])
def test_a_site_that_does_not_fit_leaves_the_network_as_it_was(tmp_path, kind, fault, pixels):
    _, site = site_of(tmp_path, kind, 1)
    tensors, sizes = dict(site.tensors), dict(site.sizes)
    name = next(name for name in sorted(tensors) if "blocks.1" in name)
    if fault == "missing":
        del tensors[name]
    elif fault == "shape":
        tensors["head.weight"] = tensors["head.weight"][:2]
    elif fault == "foreign":
        tensors["encoder.cls_token"] = torch.zeros(1, 1, 32)
    elif fault == "nan":
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    else:
        sizes["width" if kind == "multiway" else "rank"] = 9
    resident = base_network()
    with torch.inference_mode():
        before = resident(pixels)
        with pytest.raises(CheckpointError, match="does not fit"):
            sites.swap(resident, dataclasses.replace(site, tensors=tensors, sizes=sizes))
        assert torch.equal(resident(pixels), before)


def test_a_run_without_an_adapter_has_no_site(tmp_path):
    path = write_best(tmp_path / "best.pt", "", base_network())
    with pytest.raises(CheckpointError, match="trained the whole network"):
        sites.extract(path)


def change_tensors(path, how):
    data = path.read_bytes()
    if how == "bit":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "half":
        path.write_bytes(data[:100])
    else:
        path.unlink()


def change_note(path, how):
    note = json.loads(path.read_text())
    changed = {
        "extra key": json.dumps({**note, "more": 1}),
        "kind": json.dumps({**note, "kind": "prefix"}),
        "type": json.dumps({**note, "recipe": "x"}),
        "format": json.dumps({**note, "format": 2}),
        "list": "[]",
        "deep": "[" * 100_000,
    }
    if how in changed:
        path.write_text(changed[how])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["bit", "half", "gone"])
def test_tensors_that_were_damaged_are_refused(tmp_path, how):
    site_of(tmp_path, "multiway", 1)
    path = tmp_path / "multiway_1.safetensors"
    change_tensors(path, how)
    with pytest.raises(CheckpointError, match="multiway_1"):
        sites.read_site(path)


@pytest.mark.parametrize("how", ["extra key", "kind", "type", "format", "list", "deep", "gone"])
def test_a_sidecar_that_is_none_is_refused(tmp_path, how):
    site_of(tmp_path, "multiway", 1)
    change_note(tmp_path / "multiway_1.json", how)
    with pytest.raises(CheckpointError, match="multiway_1"):
        sites.read_site(tmp_path / "multiway_1.safetensors")


def test_a_pickle_under_the_name_of_a_site_is_not_read(tmp_path):
    path = write_best(tmp_path / "best.pt", "", base_network()).rename(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        sites.read_site(path)
