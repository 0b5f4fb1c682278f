# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Identification figures through real artifacts, and against a ranking by hand."""

import json
import shutil

import numpy as np
import pytest
import small_sets
import torch

pytest.importorskip("onnx")

from robollm_core.cli import main as command
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.samples import cut
from robollm_core.errors import ArtifactError, DatasetError
from robollm_core.evaluation.identification import (
    Embedded,
    evaluate,
    rank_of,
    ranks,
    scores_of,
    sort_picks,
)
from robollm_core.evaluation.outcome import Request
from robollm_core.identification.model import build_identification
from robollm_core.images import CropSpec
from robollm_core.training.checkpoint import save_checkpoint

SPEC = CropSpec(32, "pad", True, 0.05)


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny-sized network of random weights, exported as any other."""
    folder = tmp_path_factory.mktemp("artifact")
    settings = {"size": "tiny", "img_size": 32, "embedding": 32, "fusion": 512}
    torch.manual_seed(0)
    network = build_identification(settings).eval()
    content = {
        "stage": "identification",
        "recipe": {"model": settings, "crop": SPEC.to_json()},
        "model": network.state_dict(),
        "step": 1,
    }
    save_checkpoint(folder / "best.pt", content)
    path = folder / "identification.onnx"
    words = ["export", "identification", "--checkpoint", str(folder / "best.pt")]
    assert command.main([*words, "--out", str(path)]) == 0
    return path, network


def measure(path, data, **options):
    return evaluate(Request(data, path, options=options))


def embed_by_hand(network, picture):
    with torch.inference_mode():
        embedding, feature = network(torch.from_numpy(cut(picture, SPEC)[None]))
    return embedding[0].numpy(), feature[0]


def test_the_figures_equal_a_ranking_by_hand(picks, exported):
    path, network = exported
    samples = read_identification(picks, "test")
    gallery = {
        name: np.stack([embed_by_hand(network, picture)[0] for picture in pictures])
        for name, pictures in samples.references.items()
    }
    places = {"n1": [], "n3": []}
    for pick in samples.picks:
        if pick.item_id in ("P16", "P17"):
            continue
        views = [embed_by_hand(network, pick.views[view]) for view in VIEWS]
        with torch.inference_mode():
            fused = network.fuse(torch.stack([feature for _, feature in views])[None])[0].numpy()
        for way, query in (("n1", views[0][0]), ("n3", fused)):
            best = {name: max(gallery[name] @ query) for name in pick.manifest if name in gallery}
            order = sorted(best, key=lambda name: -best[name])
            places[way].append(1 + order.index(pick.item_id))
    section = measure(path, picks).figures
    for way, found in places.items():
        assert len(found) == 8
        for k in (1, 2, 3, 5):
            figure = section[f"recall_at_{k}_{way}"]
            assert figure["n"] == 8
            assert figure["value"] == pytest.approx(np.mean(np.array(found) <= k))


def test_every_pick_is_counted_once(picks, exported):
    section = measure(exported[0], picks).figures
    counted = {"closed": 8, "not_on_manifest": 2, "no_reference": 2, "lacks_views": 0, "broken": 0}
    assert section["picks"] == counted
    assert section["gallery"]["mean"] == 4 and section["all_references"]["items"] == 5
    for way in (VIEWS[0], "fused"):
        for score in ("similarity", "margin"):
            figures = section["open_set"][way][score]
            assert figures["auroc"]["n"] == 10 and figures["fpr_at_95"]["n"] == 2
    json.dumps(section, allow_nan=False)


def test_an_item_counts_once_by_its_best_reference():
    gallery = {
        "a": np.array([[1.0, 0.0], [0.6, 0.8]], np.float32),
        "b": np.array([[0.0, 1.0]], np.float32),
    }
    query = np.array([1.0, 0.0], np.float32)
    scores = scores_of(query, ["b", "a", "gone", "b"], Embedded({}, gallery))
    assert scores == {"b": 0.0, "a": 1.0}
    softer = scores_of(query, ["b", "a"], Embedded({}, gallery, scale=10.0))
    assert softer["b"] == 0.0 and 0.8 < softer["a"] < 1.0
    assert scores_of(query, ["gone"], Embedded({}, gallery)) == {}


def test_a_tie_counts_against_the_network():
    assert rank_of("a", {"a": 0.5, "b": 0.5, "c": 0.4}) == 2
    assert rank_of("c", {"a": 0.5, "b": 0.5, "c": 0.4}) == 3
    flat = {name: np.ones((1, 2), np.float32) for name in "abcd"}

    class Pick:
        pick_id, item_id, manifest = "p", "a", tuple("abcd")

    embedded = Embedded({"fused": {"p": np.ones(2, np.float32)}}, flat)
    assert ranks([Pick], embedded, "fused").tolist() == [4]


def test_a_pick_that_lacks_a_view_is_set_apart(tmp_path):
    root = small_sets.write_picks(tmp_path)
    (root / "Picks" / "test-12-0" / "OnArmLowRGB.jpg").unlink()
    groups = sort_picks(read_identification(root, "test"))
    assert [pick.pick_id for pick in groups["lacks_views"]] == ["test-12-0"]
    assert len(groups["closed"]) == 7


def test_without_the_fusion_beside_it_the_artifact_is_refused(picks, exported, tmp_path):
    for name in ("identification.onnx", "identification.json"):
        (tmp_path / name).write_bytes((exported[0].parent / name).read_bytes())
    with pytest.raises(ArtifactError, match="fusion"):
        measure(tmp_path / "identification.onnx", picks)


def test_a_split_without_a_known_item_is_refused(tmp_path, exported):
    root = small_sets.write_picks(tmp_path)
    for folder in (root / "Picks").glob("test-*"):
        (folder / "container.json").write_text(json.dumps({"P01": {}}))
    with pytest.raises(DatasetError, match="known item"):
        measure(exported[0], root)


def test_a_cell_with_one_camera_is_asked_by_that_camera_alone(picks, exported, tmp_path):
    path, _ = exported
    one = shutil.copytree(picks, tmp_path / "one")
    for view in VIEWS[1:]:
        for photo in one.glob(f"Picks/*/{view}.jpg"):
            photo.unlink()
    three, alone = measure(path, picks).figures, measure(path, one).figures
    names = [name for name in three if name.startswith("recall_at_")]
    assert len(names) == 8
    for name in names:
        assert alone.get(name) == (three[name] if name.endswith("_n1") else None)
    assert set(alone["views"]) == {VIEWS[0], "protocol"}
    assert alone["views"][VIEWS[0]] == three["views"][VIEWS[0]]
    assert alone["picks"] == three["picks"]
    assert set(alone["open_set"]) == {VIEWS[0], "protocol"}
    assert alone["open_set"][VIEWS[0]] == three["open_set"][VIEWS[0]]


def test_a_split_without_the_first_view_is_refused(picks, exported, tmp_path):
    blind = shutil.copytree(picks, tmp_path / "blind")
    for photo in blind.glob(f"Picks/*/{VIEWS[0]}.jpg"):
        photo.unlink()
    with pytest.raises(DatasetError, match=f"no pick with {VIEWS[0]}"):
        measure(exported[0], blind)
