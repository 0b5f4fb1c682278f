# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Released networks: their heads against a second writing, and how the stage scores them."""

import math

import colour_cell
import foreign_weights as foreign
import numpy as np
import pytest
import torch
from colour_cell import BOXES, draw_tote, manifest_text, write_references

from robollm_core.beit3.build import SIZES
from robollm_core.beit3.checkpoint import Checkpoint, load_encoder, load_model
from robollm_core.beit3.translate import translate
from robollm_core.config import IdentificationConfig
from robollm_core.data.armbench_identification import VIEWS
from robollm_core.errors import ArtifactError, ConfigError, ShapeError
from robollm_core.identification.released import OUR_VIEWS, VIEW_ORDER, build_released
from robollm_core.identification.stage import Identifier
from robollm_core.manifests import parse_manifest
from robollm_core.runtime.artifact import Sidecar
from robollm_core.runtime.furniture import scoring
from robollm_core.types import EngineSpec, Frame, Instance, TensorSpec


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    monkeypatch.setitem(SIZES, "nano", foreign.nano)


def network_of(name):
    found = translate(foreign.LAYOUTS[name](), name)
    checkpoint = Checkpoint(found.tensors, found.meta(), name)
    network = build_released(checkpoint.recipe["model"]).eval()
    load_model(network, checkpoint)
    encoder = foreign.nano(48).eval()
    load_encoder(encoder, checkpoint)
    return network, encoder


PICTURES = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
)


@torch.inference_mode()
def tokens_of(encoder):
    """(3, 10, d) float64, the pictures normalised with mean and deviation one half."""
    pixels = (PICTURES.permute(0, 3, 1, 2) / 255.0 - 0.5) / 0.5
    return encoder(pixels).double().numpy()


def layer_norm(rows, state, name):
    rows = rows - rows.mean(-1, keepdims=True)
    rows = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    return rows * number(state, f"{name}.weight") + number(state, f"{name}.bias")


def linear(rows, state, name):
    bias = number(state, f"{name}.bias") if f"{name}.bias" in state else 0.0
    return rows @ number(state, f"{name}.weight").T + bias


def number(state, name):
    return state[name].double().numpy()


def pooled(cls, state, name):
    return np.tanh(linear(layer_norm(cls, state, f"{name}.norm"), state, f"{name}.dense"))


@torch.inference_mode()
def test_one_view_is_the_norm_of_the_mean_patch():
    network, encoder = network_of("armbenchpick1")
    wanted = layer_norm(tokens_of(encoder)[:, 1:].mean(1), foreign.armbenchpick1(), "fc_norm")
    np.testing.assert_allclose(network(PICTURES).numpy(), wanted, atol=1e-4)


@torch.inference_mode()
def test_the_nearest_reference_network_has_a_matrix_for_each_side():
    network, encoder = network_of("armbenchpick1_nearestref")
    state, cls = foreign.armbenchpick1_nearestref(), tokens_of(encoder)[:, 0]
    query, reference = network(PICTURES)
    np.testing.assert_allclose(query.numpy(), linear(cls, state, "vision_head"), atol=1e-4)
    np.testing.assert_allclose(reference.numpy(), linear(cls, state, "ref_head"), atol=1e-4)


@torch.inference_mode()
def test_three_views_go_through_their_own_poolers_in_the_released_order():
    network, encoder = network_of("armbench3t1")
    state = foreign.armbench3t1()
    reference, features = network(PICTURES)
    cls = dict(zip(VIEWS, tokens_of(encoder)[:, 0], strict=True))  # picture i shows view i
    parts = [
        pooled(cls[view], state, f"vision_pooler_{i}")
        for i, view in enumerate(("OnArmLowRGB", "PickRGB", "ToteWallRGB"))
    ]
    inner = linear(layer_norm(np.concatenate(parts), state, "head.norm1"), state, "head.dense1")
    inner = torch.from_numpy(layer_norm(inner, state, "head.norm2"))
    inner = (0.5 * inner * (1 + torch.erf(inner / 2**0.5))).numpy()
    wanted = linear(inner, state, "head.dense2")
    np.testing.assert_allclose(network.fuse(features[None])[0].numpy(), wanted, atol=1e-4)
    wanted = pooled(tokens_of(encoder)[:, 0], state, "ref_vision_pooler")
    np.testing.assert_allclose(reference.numpy(), wanted, atol=1e-4)
    swapped = network.fuse(features[[1, 0, 2]][None])
    assert not torch.allclose(swapped, network.fuse(features[None]), atol=1e-3)
    with pytest.raises(ShapeError, match="3, d"):
        network.fuse(features[None, :2])


def test_views_are_ordered_as_the_data_hands_them_over():
    assert OUR_VIEWS == VIEWS
    assert sorted(OUR_VIEWS) == sorted(VIEW_ORDER) and OUR_VIEWS != VIEW_ORDER


def test_an_unknown_released_network_is_refused():
    with pytest.raises(ConfigError, match="no released network 'x'"):
        build_released({"size": "nano", "img_size": 48, "released": "x"})


class Dots:
    """Embeds the mean colour, as long as it is; references perhaps through another matrix."""

    description = "by hand"

    def __init__(self, turned=False):
        self.turned = turned

    def run(self, inputs):
        mean = (inputs["images"].astype(np.float32).mean((1, 2)) - 128) / 10
        return {"embedding": mean, "reference": mean[:, [1, 2, 0]] if self.turned else mean}


def sidecar(names=("embedding",), **meta):
    outputs = tuple(TensorSpec(name, (-1, 3), "float32") for name in names)
    spec = EngineSpec((), outputs)
    meta = {
        "crop": {**colour_cell.CROP, "mode": "squash", "blank": False},
        "scoring": "released",
        **meta,
    }
    return Sidecar(stage="identification", spec=spec, sha256="x", meta=meta)


def answer(folder, engine, card, item="apple", **config):
    manifest = parse_manifest(manifest_text(write_references(folder)), "x")
    stage = Identifier(engine, card, IdentificationConfig(reference_root=str(folder), **config))
    x0, y0, x1, y1 = BOXES[item]
    thing = Instance((x0, y0, x1, y1), np.ones((y1 - y0, x1 - x0), bool), 0.9)
    return stage.identify(Frame(draw_tote()), [thing], manifest)[0]


def test_raw_dot_products_are_told_whole(tmp_path):
    found = answer(tmp_path, Dots(), sidecar())
    apple = (np.array(colour_cell.COLOURS["apple"]) - 128.0) / 10
    assert found.item_id == "apple"
    assert found.candidates[0] == ("apple", pytest.approx(float(apple @ apple), rel=1e-3))
    assert found.candidates[0][1] > 100


def test_a_stage_says_how_its_scores_are_to_be_read():
    released = Identifier(Dots(), sidecar(), IdentificationConfig())
    assert (released.unit, released.scale) == (3.0, math.inf)
    native = Identifier(Dots(), sidecar(scoring="native", scale=7.5), IdentificationConfig())
    assert (native.unit, native.scale) == (1.0, 7.5)


def test_thresholds_are_of_the_dot_product_by_dimension(tmp_path):
    apple = (np.array(colour_cell.COLOURS["apple"]) - 128.0) / 100
    share = float(apple @ apple) / 3

    class Small(Dots):
        def run(self, inputs):
            return {name: rows / 10 for name, rows in super().run(inputs).items()}

    assert share < 1.0
    for least, item in ((share - 0.01, "apple"), (share + 0.01, "")):
        assert answer(tmp_path, Small(), sidecar(), min_similarity=least).item_id == item


def test_references_come_from_their_own_output(tmp_path):
    # turned by one channel: what looks like an apple has the embedding of a lime's reference
    found = answer(tmp_path, Dots(turned=True), sidecar(("embedding", "reference")))
    assert found.item_id == "lime"


def test_a_network_of_three_views_is_refused_by_the_stage():
    with pytest.raises(ArtifactError, match="three views together"):
        Identifier(Dots(), sidecar(("reference", "feature")), IdentificationConfig())


def test_a_sidecar_names_its_scoring():
    assert scoring(sidecar()) == "released"
    assert scoring(Sidecar(stage="identification", spec=EngineSpec((), ()))) == "native"
    with pytest.raises(ArtifactError, match="'cosine'"):
        scoring(sidecar(scoring="cosine"))
    with pytest.raises(ArtifactError, match="belongs to native"):
        scoring(sidecar(scale=14.0))
