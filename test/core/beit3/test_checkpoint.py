# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints: the known layouts, and files that lie."""

import argparse
import os

import numpy as np
import pytest
import torch

from robollm_core.beit3.build import build, encoder_from
from robollm_core.beit3.checkpoint import load_encoder, load_model, model_settings, read_checkpoint
from robollm_core.beit3.encoder import Encoder, EncoderShape
from robollm_core.defects.model import DefectModel, build_defects
from robollm_core.errors import CheckpointError, ConfigError

SHAPE = EncoderShape(depth=2, width=16, heads=2, ffn=24, image_hw=(48, 48))


def foreign(prefix="beit3.", seed=0):
    """A multiway state dict with the published names; only what vision needs, and some B."""
    generator = torch.Generator().manual_seed(seed)
    d, f = SHAPE.width, SHAPE.ffn
    sizes = {
        "text_embed.weight": (9, d),
        "vision_embed.mask_token": (1, 1, d),
        "vision_embed.cls_token": (1, 1, d),
        "vision_embed.proj.weight": (d, 3, 16, 16),
        "vision_embed.proj.bias": (d,),
        "encoder.embed_positions.A.weight": (12, d),
        "encoder.layer_norm.A.weight": (d,),
        "encoder.layer_norm.A.bias": (d,),
        "encoder.layer_norm.B.bias": (d,),
    }
    for i in range(SHAPE.depth):
        for part, out, into in [
            *((f"self_attn.{p}_proj.A", d, d) for p in ("q", "k", "v", "out")),
            ("ffn.A.fc1", f, d),
            ("ffn.A.fc2", d, f),
            ("ffn.B.fc1", f, d),
        ]:
            sizes[f"encoder.layers.{i}.{part}.weight"] = (out, into)
            sizes[f"encoder.layers.{i}.{part}.bias"] = (out,)
        for part, size in [
            ("self_attn.inner_attn_ln.A", d),
            ("self_attn_layer_norm.A", d),
            ("final_layer_norm.A", d),
            ("ffn.A.ffn_layernorm", f),
        ]:
            sizes[f"encoder.layers.{i}.{part}.weight"] = (size,)
            sizes[f"encoder.layers.{i}.{part}.bias"] = (size,)
    return {prefix + k: torch.randn(v, generator=generator) for k, v in sizes.items()}


def save(folder, content):
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("container", ["model", "module", ""])
@pytest.mark.parametrize("prefix", ["beit3.", ""])
def test_foreign_layouts_are_read(tmp_path, container, prefix):
    state = foreign(prefix)
    content = {container: state, "args": argparse.Namespace(lr=1.0), "epoch": 3}
    encoder = Encoder(SHAPE)
    load_encoder(encoder, read_checkpoint(save(tmp_path, content if container else state)))
    own = encoder.state_dict()
    layer = prefix + "encoder.layers.1."
    qkv = [state[f"{layer}self_attn.{p}_proj.A.weight"] for p in "qkv"]
    assert torch.equal(own["blocks.1.attention.qkv.weight"], torch.cat(qkv))
    assert torch.equal(
        own["blocks.1.ffn.inner_norm.bias"], state[f"{layer}ffn.A.ffn_layernorm.bias"]
    )
    assert torch.equal(own["blocks.1.ffn_norm.weight"], state[f"{layer}final_layer_norm.A.weight"])
    # rows 0 and 1 are unused, row 2 is CLS
    assert torch.equal(own["positions"][0], state[prefix + "encoder.embed_positions.A.weight"][2:])


def test_positions_follow_the_grid_of_the_encoder(tmp_path):
    path = save(tmp_path, foreign())
    wide = Encoder(EncoderShape(depth=2, width=16, heads=2, ffn=24, image_hw=(64, 96)))
    load_encoder(wide, read_checkpoint(path))
    assert wide.positions.shape == (1, 25, 16)
    rows = foreign()["beit3.encoder.embed_positions.A.weight"]
    assert torch.equal(wide.positions[0, 0], rows[2])
    corner = wide.positions[0, 1]
    # the resized corner lies near the old corner, not near another patch
    nearest = (rows[3:] - corner).norm(dim=1).argmin()
    assert int(nearest) == 0


def test_a_foreign_head_fills_a_network_that_has_one(tmp_path):
    state = foreign()
    state |= {"fc_norm.weight": torch.ones(16), "fc_norm.bias": torch.zeros(16)}
    state |= {"head.weight": torch.randn(3, 16), "head.bias": torch.randn(3)}
    model = DefectModel(Encoder(SHAPE))
    load_model(model, read_checkpoint(save(tmp_path, state)))
    assert torch.equal(model.head.weight, state["head.weight"])


def test_own_checkpoints_come_back_whole(tmp_path):
    settings = {"size": "tiny", "img_size": 32}
    model = build_defects(settings)
    content = {"format": 1, "stage": "defects", "recipe": {"model": settings}, "step": 7}
    checkpoint = read_checkpoint(save(tmp_path, {**content, "model": model.state_dict()}))
    assert checkpoint.meta["step"] == 7 and model_settings(checkpoint) == settings
    again = build_defects(model_settings(checkpoint))
    load_model(again, checkpoint)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    detector = build("tiny", (64, 96), detection=True)
    load_encoder(detector, checkpoint)  # the warm start of the segmenter
    assert torch.equal(detector.cls_token, model.encoder.cls_token)


class Code:
    """Runs a command when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    path = save(tmp_path, {**foreign(), "extra": Code(marker)})
    with pytest.raises(CheckpointError, match="safely"):
        read_checkpoint(path)
    assert not marker.exists()


def without(name):
    state = foreign()
    del state["beit3." + name]
    return state


def changed(name, tensor):
    return {**foreign(), "beit3." + name: tensor}


Q = "encoder.layers.1.self_attn.q_proj.A.weight"
P = "encoder.embed_positions.A.weight"
HOSTILE = {
    "no query": (without(Q), "query.weight.*incomplete"),
    "no value": (without(Q.replace("q_", "v_")), "value.weight.*incomplete"),
    "no norm": (without("encoder.layer_norm.A.bias"), "missing: norm.bias"),
    "no positions": (without(P), "missing: positions"),
    "wrong width": (
        changed("encoder.layers.0.ffn.A.fc1.weight", torch.zeros(24, 9)),
        "wrong shape",
    ),
    "flat positions": (changed(P, torch.zeros(12)), r"must be \(3 \+ patches, width\)"),
    "few positions": (changed(P, torch.zeros(3, 16)), r"must be \(3 \+ patches, width\)"),
    "uneven positions": (changed(P, torch.zeros(3 + 7, 16)), "wrong shape"),
    "not finite": (changed("vision_embed.proj.bias", torch.full((16,), np.nan)), "not finite"),
    "one layer more": (changed("encoder.layers.2.ffn.A.fc1.bias", torch.zeros(24)), "unknown"),
    "not a tensor": ({**foreign(), "beit3.encoder.x": 3}, "is a int"),
    "a list": ([1, 2], "holds a list"),
    "an empty model": ({"model": {}}, "not empty"),
    "another format": ({"format": 99, "model": foreign()}, "format 99"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_checkpoints_are_refused_and_change_nothing(tmp_path, case):
    content, message = HOSTILE[case]
    encoder = Encoder(SHAPE)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_encoder(encoder, read_checkpoint(save(tmp_path, content)))
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a zip", b"\x80\x02K\x01."])
def test_damaged_files_are_refused(tmp_path, data):
    path = tmp_path / "broken.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = save(tmp_path, foreign())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*none\.pth"):
        read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize(
    "settings",
    [
        {"size": "tiny"},
        {"size": "huge", "img_size": 32},
        {"size": "tiny", "img_size": "32"},
        {"size": "tiny", "img_size": 32, "colour": 1},
        {"size": "tiny", "img_size": 10**9},
        {"size": "tiny", "img_size": 32, "drop_path": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        encoder_from(settings)
