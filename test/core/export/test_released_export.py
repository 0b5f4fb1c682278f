# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints as artifacts: converted, exported, measured, on either runtime."""

import foreign_weights as foreign
import numpy as np
import pytest
import small_sets
import torch

pytest.importorskip("onnx")

from robollm_core.beit3.build import SIZES
from robollm_core.cli import main as command
from robollm_core.config import RuntimeConfig
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.samples import cut
from robollm_core.errors import CheckpointError, DatasetError
from robollm_core.evaluation import embedding
from robollm_core.evaluation import identification as measures
from robollm_core.evaluation.outcome import Request
from robollm_core.export.stages import trial_pictures
from robollm_core.identification.model import load_fusion_graph, load_graph
from robollm_core.images import CropSpec
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.training.warm import read_artifact

CROP = {"size_px": 48, "mode": "squash", "blank": False, "margin": 0.0}
PICK1, THREE, NEAREST = "armbenchpick1", "armbench3t1", "armbenchpick1_nearestref"


@pytest.fixture(scope="module", autouse=True)
def nano():
    SIZES["nano"] = foreign.nano
    yield
    del SIZES["nano"]


def export(stage, checkpoint, out, *more):
    words = ["export", stage, "--checkpoint", str(checkpoint), "--out", str(out)]
    return command.main([*words, *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each released layout converted and exported; name to (checkpoint, artifact)."""
    folder, found = tmp_path_factory.mktemp("released"), {}
    for name in (PICK1, THREE, NEAREST, "defection1by1"):
        stage = "defects" if name == "defection1by1" else "identification"
        source = foreign.write(folder / f"{name}.pth", foreign.LAYOUTS[name]())
        weights, out = folder / f"{name}.safetensors", folder / "models" / f"{name}.onnx"
        assert command.main(["convert", str(source), str(weights)]) == 0
        assert export(stage, weights, out, "--keep-checkpoint") == 0
        found[name] = weights, out
    return found


OUTPUTS = {
    PICK1: (["embedding"], {"views": [1]}),
    NEAREST: (["embedding", "reference"], {"views": [1]}),
    THREE: (["reference", "feature"], {"views": [3], "view_order": [
        "OnArmLowRGB", "PickRGB", "ToteWallRGB"]}),
    "defection1by1": (["probabilities"], {"labels": ["multi_pick", "nominal", "package_defect"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_sidecar_says_how_a_released_network_is_asked(made, name):
    weights, out = made[name]
    sidecar = load_artifact(out)[1]
    outputs, told = OUTPUTS[name]
    assert [tensor.name for tensor in sidecar.spec.outputs] == outputs
    assert sidecar.meta == {"crop": CROP, "scoring": "released", **told}
    assert sidecar.source_checkpoint["file"] == weights.name
    # only three views have a second network
    assert out.with_name(f"{name}_fusion.onnx").exists() == (name == THREE)


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_kept_checkpoint_runs_on_torch_and_agrees(made, name):
    pictures = {"images": trial_pictures(3, (48, 48), seed=9)}
    out = made[name][1]
    onnx = load_engine(out, RuntimeConfig("onnx")).run(pictures)
    plain = load_engine(out, RuntimeConfig(name="torch")).run(pictures)
    assert plain.keys() == onnx.keys()
    for key, rows in plain.items():  # the artifact's weights are rounded to half precision
        np.testing.assert_allclose(onnx[key], rows, atol=0.02)


def test_fusion_takes_views_in_the_order_of_the_data(made):
    weights, out = made[THREE]
    features = np.random.default_rng(0).standard_normal((2, 3, foreign.D)).astype(np.float32)
    fusion = load_engine(out.with_name(f"{THREE}_fusion.onnx"), RuntimeConfig("onnx"))
    found = fusion.run({"features": features})["embedding"]
    model = load_graph(weights)
    pick, arm, tote = torch.from_numpy(features).unbind(1)
    with torch.inference_mode():
        first, second, third = model.view_poolers
        wanted = model.fusion(torch.cat((first(arm), second(pick), third(tote)), dim=1))
    np.testing.assert_allclose(found, wanted.numpy(), atol=0.02)


def test_only_three_views_have_a_fusion_path(made):
    with pytest.raises(CheckpointError, match="no 3-view path"):
        load_fusion_graph(made[PICK1][0])


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@torch.inference_mode()
def by_hand(network, picture):
    answer = network(torch.from_numpy(cut(picture, CropSpec.from_json(CROP))[None]))
    return [rows[0] for rows in (answer if isinstance(answer, tuple) else (answer,))]


@pytest.mark.parametrize("name", [PICK1, NEAREST, THREE])
def test_figures_equal_a_ranking_by_raw_products(made, picks, name):
    weights, out = made[name]
    network = load_graph(weights)
    samples = read_identification(picks, "test")
    reference = 0 if name in (PICK1, THREE) else 1
    gallery = {
        item: torch.stack([by_hand(network, picture)[reference] for picture in pictures])
        for item, pictures in samples.references.items()
    }
    places = []
    for pick in measures.sort_picks(samples)["closed"]:
        views = [by_hand(network, pick.views[view]) for view in VIEWS]
        with torch.inference_mode():
            query = views[0][0] if name != THREE else network.fuse(
                torch.stack([feature for _, feature in views])[None])[0]  # fmt: skip
        best = {i: float((gallery[i] @ query).max()) for i in pick.manifest if i in gallery}
        places.append(sum(score >= best[pick.item_id] for score in best.values()))
    section = measures.evaluate(Request(picks, out)).figures
    way = "n3" if name == THREE else "n1"
    assert section[f"recall_at_1_{way}"]["value"] == pytest.approx(np.mean(np.array(places) <= 1))
    assert section[f"recall_at_2_{way}"]["value"] == pytest.approx(np.mean(np.array(places) <= 2))
    other = "n1" if name == THREE else "n3"
    assert f"recall_at_1_{other}" not in section
    assert (VIEWS[0] in section["views"]) == (name != THREE)


def test_thresholds_are_told_in_the_unit_the_stage_compares_in(made, picks):
    samples = read_identification(picks, "test")
    embedded = embedding.embed_samples(samples, Request(picks, made[PICK1][1]))
    assert embedded.unit == foreign.D and embedded.scale == np.inf
    section = measures.evaluate(Request(picks, made[PICK1][1])).figures
    known = measures.sort_picks(samples)["closed"]
    best = [
        max(
            measures.scores_of(embedded.queries[VIEWS[0]][p.pick_id], p.manifest, embedded).values()
        )
        for p in known
    ]
    threshold = section["open_set"][VIEWS[0]]["similarity"]["threshold_at_95"]
    assert min(best) / foreign.D - 1e-5 <= threshold <= max(best) / foreign.D + 1e-5


def test_three_views_need_picks_that_have_them(made, picks, monkeypatch):
    monkeypatch.setattr(embedding, "views_of", lambda samples: VIEWS[:1])
    with pytest.raises(DatasetError, match="asks with three views"):
        measures.evaluate(Request(picks, made[THREE][1]))


def test_a_released_artifact_can_be_trained_from(made):
    weights, out = made[PICK1]
    start = read_artifact(out)
    assert start.recipe["model"]["released"] == PICK1
    wanted = load_graph(weights).encoder.patch_embed.weight
    torch.testing.assert_close(start.tensors["encoder.patch_embed.weight"], wanted, atol=1e-3,
                               rtol=1e-3)  # fmt: skip


def test_an_artifact_never_takes_the_sidecar_of_its_weights(made, capsys):
    weights = made[PICK1][0]
    before = weights.with_suffix(".json").read_bytes()
    assert export("identification", weights, weights.with_suffix(".onnx")) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert weights.with_suffix(".json").read_bytes() == before


def test_weights_of_another_stage_are_refused(made, tmp_path, capsys):
    assert export("defects", made[PICK1][0], tmp_path / "x.onnx") == 2
    assert "holds stage 'identification'" in capsys.readouterr().err
    backbone = foreign.write(tmp_path / "b.pth", foreign.beit3())
    assert export("identification", backbone, tmp_path / "x.onnx") == 2
    assert "holds stage 'backbone'" in capsys.readouterr().err
