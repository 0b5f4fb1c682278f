# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A split as numbers, against the networks asked picture by picture."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import small_sets

from robollm_core.config import Config, update
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.samples import cut
from robollm_core.errors import ArtifactError, DatasetError
from robollm_core.evaluation.embedding import CACHE, FUSED, embed_split, views_of
from robollm_core.evaluation.outcome import Request
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import crop_spec

MODELS = Path(__file__).parents[3] / "models" / "tiny"
EXACT = update(Config(), {"runtime.name": "onnx"})
"""bfloat16 would tell one batch from another."""


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(scope="module")
def embedded(picks):
    return embed_split(Request(picks, MODELS, config=EXACT))


class ByHand:
    """The shipped networks, asked for one picture at a time."""

    def __init__(self, config):
        path, sidecar = load_artifact(MODELS / "identification.onnx")
        self.single = load_engine(path, config)
        self.fusion = load_engine(MODELS / "identification_fusion.onnx", config)
        self.crop, self.scale = crop_spec(sidecar), sidecar.meta["scale"]

    def ask(self, picture):
        found = self.single.run({"images": cut(picture, self.crop)[None]})
        return found["embedding"][0], found["feature"][0]


def test_every_way_of_asking_is_as_the_networks_say(picks, embedded):
    by_hand = ByHand(EXACT.runtime)
    samples = read_identification(picks, "test")
    assert set(embedded.queries) == {*VIEWS, FUSED} and len(samples.picks) == 12
    for pick in samples.picks:
        views = [by_hand.ask(pick.views[view]) for view in VIEWS]
        for view, (embedding, _) in zip(VIEWS, views, strict=True):
            np.testing.assert_allclose(embedded.queries[view][pick.pick_id], embedding, atol=1e-5)
        features = np.stack([feature for _, feature in views])[None]
        fused = by_hand.fusion.run({"features": features})["embedding"][0]
        np.testing.assert_allclose(embedded.queries[FUSED][pick.pick_id], fused, atol=1e-5)
    assert list(embedded.gallery) == list(samples.references)
    for item, pictures in samples.references.items():
        rows = np.stack([by_hand.ask(picture)[0] for picture in pictures])
        np.testing.assert_allclose(embedded.gallery[item], rows, atol=1e-5)


def test_the_numbers_say_where_they_come_from(embedded):
    names = ("identification.onnx", "identification_fusion.onnx")
    assert embedded.networks == {name: load_artifact(MODELS / name)[1].sha256 for name in names}
    meta = load_artifact(MODELS / names[0])[1].meta
    assert all(f"{name} {value}" in embedded.preparation for name, value in meta["crop"].items())
    assert embedded.unit == 1.0 and embedded.scale == meta["scale"]


def test_a_second_run_takes_its_numbers_from_the_folder(picks, embedded, tmp_path, capsys):
    request = Request(picks, MODELS, work=tmp_path, config=EXACT)
    first, bar = embed_split(request), capsys.readouterr().err
    again, second_bar = embed_split(request), capsys.readouterr().err
    assert (tmp_path / CACHE).exists()
    assert "embed: " in bar and "embed: " not in second_bar
    for other in (again, embedded):
        for way, queries in first.queries.items():
            assert all((other.queries[way][name] == row).all() for name, row in queries.items())
        assert all((other.gallery[item] == rows).all() for item, rows in first.gallery.items())


def test_a_pick_with_a_broken_view_is_asked_in_no_way(picks, embedded, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    view = root / "Picks" / "test-13-1" / "ToteWallRGB.jpg"
    view.write_bytes(view.read_bytes()[:200])
    lost = [root / "Reference_Images" / name for name in ("P12/2.jpg", "P13/1.jpg", "P13/2.jpg")]
    for path in lost:
        path.write_bytes(b"\xff\xd8")
    request = Request(root, MODELS, config=EXACT)
    found = embed_split(request)
    assert {entry.path for entry in request.broken.entries} == set(map(str, (view, *lost)))
    for way, queries in found.queries.items():
        assert queries.keys() == embedded.queries[way].keys() - {"test-13-1"}
        assert all((row == embedded.queries[way][name]).all() for name, row in queries.items())
    assert found.gallery.keys() == embedded.gallery.keys() - {"P13"}
    assert (found.gallery["P12"] == embedded.gallery["P12"][:1]).all()


def test_a_cell_with_one_camera_is_asked_by_that_camera_alone(picks, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    for view in VIEWS[1:]:
        for photo in root.glob(f"Picks/*/{view}.jpg"):
            photo.unlink()
    assert views_of(read_identification(root, "test")) == VIEWS[:1]
    assert set(embed_split(Request(root, MODELS, config=EXACT)).queries) == {VIEWS[0]}


def test_a_split_of_which_nothing_can_be_read_is_refused(picks, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    for photo in root.glob("Picks/test-*/PickRGB.jpg"):
        photo.write_bytes(b"")
    with pytest.raises(DatasetError, match="can be read"):
        embed_split(Request(root, MODELS, config=EXACT))


def test_the_fusion_is_asked_for_where_the_network_has_features(picks, tmp_path):
    for name in ("identification.onnx", "identification.json"):
        shutil.copy(MODELS / name, tmp_path / name)
    with pytest.raises(ArtifactError, match="fusion"):
        embed_split(Request(picks, tmp_path))
