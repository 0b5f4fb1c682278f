# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every layout that BEiT-3 weights come in: what is used, what is dropped and why."""

import foreign_weights as foreign
import pytest
import torch

from robollm_core.beit3.build import SIZES, size_of
from robollm_core.beit3.checkpoint import load_encoder, load_model, read_checkpoint
from robollm_core.beit3.translate import translate
from robollm_core.defects.model import DefectModel
from robollm_core.errors import CheckpointError
from robollm_core.identification.released import build_released


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    monkeypatch.setitem(SIZES, "nano", foreign.nano)


@pytest.mark.parametrize("name", foreign.LAYOUTS)
def test_every_entry_is_used_or_dropped_for_a_reason(name):
    state = foreign.LAYOUTS[name]()
    found = translate(state, "x.pth")
    assert found.layout.name == name and found.size == "nano" and found.image_px == 48
    told = {key.partition("[")[0] for key in (*found.used, *found.dropped)}
    assert told == set(state)
    assert not found.used.keys() & found.dropped.keys()
    assert all(reason for reason in found.dropped.values())
    assert set(found.used.values()) >= {n for n in found.tensors if ".qkv." not in n}


@pytest.mark.parametrize("name", foreign.LAYOUTS)
def test_every_layout_gives_the_same_encoder(name):
    reference, encoder = foreign.nano(48), foreign.nano(48)
    load_encoder(reference, as_checkpoint(foreign.beit3()))
    load_encoder(encoder, as_checkpoint(foreign.LAYOUTS[name]()))
    if name in ("timm", "beit3_classifier"):  # these end without the norm
        assert torch.equal(encoder.norm.weight, torch.ones(foreign.D))
        assert torch.equal(encoder.norm.bias, torch.zeros(foreign.D))
        reference.norm = encoder.norm
    for key, weight in reference.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], weight), key


def as_checkpoint(state):
    from robollm_core.beit3.checkpoint import Checkpoint

    found = translate(state, "x.pth")
    return Checkpoint(found.tensors, found.meta(), "x.pth")


def test_the_language_expert_is_named_as_such():
    dropped = translate(foreign.beit3(), "x").dropped
    experts = [key for key, reason in dropped.items() if reason == "language expert"]
    assert len(experts) == 2 * 20 + 2 + 1 and all(".B." in key for key in experts)
    assert "padding" in dropped["beit3.encoder.embed_positions.A.weight[0:2]"]
    assert {"beit3.text_embed.weight", "beit3.vision_embed.mask_token"} <= dropped.keys()


def test_the_heads_of_released_networks_are_theirs():
    state = foreign.armbench3t1()
    found = translate(state, "x")
    assert torch.equal(
        found.tensors["view_poolers.2.dense.weight"], state["vision_pooler_2.dense.weight"]
    )
    assert torch.equal(found.tensors["fusion.dense2.bias"], state["head.dense2.bias"])
    meta = found.meta()
    assert meta["scoring"] == "released" and meta["views"] == [3]
    assert meta["view_order"] == ["OnArmLowRGB", "PickRGB", "ToteWallRGB"]
    load_model(build_released(meta["recipe"]["model"]), as_checkpoint(state))


def test_what_a_pretrained_file_is_seen_with_is_the_squashed_image():
    crop = {"size_px": 48, "mode": "squash", "blank": False, "margin": 0.0}
    for name in ("armbenchpick1", "defection1by1", "beit3"):
        assert translate(foreign.LAYOUTS[name](), "x").meta()["recipe"]["crop"] == crop


def test_a_file_of_a_released_network_fills_ours_without_conversion(tmp_path):
    path = foreign.write(tmp_path / "defects.pth", foreign.defection1by1())
    checkpoint = read_checkpoint(path)
    assert checkpoint.meta["stage"] == "defects"
    model = DefectModel(foreign.nano(48))
    load_model(model, checkpoint)
    assert torch.equal(model.head.weight, foreign.defection1by1()["head.weight"])


def test_half_precision_becomes_single():
    state = {key: weight.half() for key, weight in foreign.beit3().items()}
    assert {w.dtype for w in translate(state, "x").tensors.values()} == {torch.float32}


def without(state, name):
    return {key: weight for key, weight in state.items() if key != name}


STRANGE = {
    "an entry of another model": (
        {**foreign.beit3(), "beit3.encoder.relative_position.weight": torch.zeros(3)},
        "relative_position",
    ),
    "an unknown head": ({**foreign.beit3(), "pooler.weight": torch.zeros(3)}, "pooler.weight"),
    "a language model": (
        {"model.embed_tokens.weight": torch.zeros(9, 4), "lm_head.weight": torch.zeros(9, 4)},
        "nothing that sees images.*language model",
    ),
    "another vision transformer": (
        without(foreign.timm(), "blocks.0.attn.norm.weight"),
        "without the inner norms",
    ),
    "the same twice": (
        {
            **foreign.beit3(),
            "beit3.vision_embed.proj.bias": torch.zeros(32),
            "vision_embed.proj.bias": torch.zeros(32),
        },  # fmt: skip
        "twice",
    ),
    "no value": (
        without(foreign.beit3(), "beit3.encoder.layers.1.self_attn.v_proj.A.bias"),
        "value.bias; the file is incomplete",
    ),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_not_explained_is_an_error(case):
    state, message = STRANGE[case]
    with pytest.raises(CheckpointError, match=message):
        translate(state, "x.pth")


def test_sizes_are_known_by_their_dimensions():
    assert size_of(12, 768, 3072) == "base"
    assert size_of(24, 1024, 4096) == "large"
    assert size_of(6, 256, 1024) == "tiny"
    assert size_of(12, 768, 3073) == ""
