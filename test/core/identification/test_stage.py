# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The identification stage and its gallery around a real graph that embeds mean colours."""

import os
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import (
    BOXES,
    COLOURS,
    CROP,
    draw_tote,
    identification,
    manifest_text,
    write_references,
)

from robollm_core.config import IdentificationConfig, RuntimeConfig
from robollm_core.errors import ArtifactError, ManifestError
from robollm_core.identification.gallery import MAX_IMAGE_BYTES, Gallery
from robollm_core.identification.stage import Identifier
from robollm_core.images import CropSpec
from robollm_core.manifests import parse_manifest
from robollm_core.runtime.artifact import Sidecar, load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.types import Frame, Instance, Manifest, ManifestItem


class Counting:
    """A real engine that notes how many images went through it."""

    def __init__(self, engine):
        self._engine = engine
        self.batches = []

    @property
    def spec(self):
        return self._engine.spec

    @property
    def description(self):
        return self._engine.description

    def run(self, inputs):
        self.batches.append(len(inputs["images"]))
        return self._engine.run(inputs)

    @property
    def images(self):
        return sum(self.batches)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = identification(tmp_path_factory.mktemp("net") / "identification.onnx")
    return path, load_artifact(path)[1]


@pytest.fixture
def engine(artifact):
    return Counting(load_engine(artifact[0], RuntimeConfig(threads=1)))


@pytest.fixture
def make(engine, artifact, tmp_path):
    def build(**config):
        config = {"reference_root": str(tmp_path), **config}
        return Identifier(engine, artifact[1], IdentificationConfig(**config))

    return build


@pytest.fixture
def manifest(tmp_path):
    return parse_manifest(manifest_text(write_references(tmp_path)), "x")


def instances(items=tuple(COLOURS)):
    found = []
    for item in items:
        x0, y0, x1, y1 = BOXES[item]
        found.append(Instance((x0, y0, x1, y1), np.ones((y1 - y0, x1 - x0), bool), 0.9))
    return found


def direction(rgb):
    vector = (np.array(rgb, np.float64) - 128) / 128
    return vector / np.linalg.norm(vector)


def test_each_instance_gets_its_item_and_exact_similarities(make, manifest):
    order = ["plum", "apple", "lime"]
    answers = make().identify(Frame(draw_tote()), instances(order), manifest)
    assert [answer.item_id for answer in answers] == order
    for item, answer in zip(order, answers, strict=True):
        # a crop is square: what is outside the item is grey, which does not turn the mean
        expected = {o: float(direction(COLOURS[item]) @ direction(COLOURS[o])) for o in COLOURS}
        assert dict(answer.candidates) == pytest.approx(expected, abs=2e-3)
        scores = [score for _, score in answer.candidates]
        assert scores == sorted(scores, reverse=True)
        assert all(-1.0 <= score <= 1.0 for score in scores)


def test_no_manifest_no_items_no_instances(make, manifest):
    stage, frame = make(), Frame(draw_tote())
    assert stage.identify(frame, [], manifest) == ()
    for empty in (None, Manifest("T", 1, ())):
        answers = stage.identify(frame, instances(), empty)
        assert [(a.candidates, a.item_id) for a in answers] == [((), "")] * 3


def test_a_warm_up_runs_the_network_without_a_manifest(make, engine):
    make().warm_up()
    assert engine.batches == [1]


def test_items_that_are_all_picked_are_no_candidates(make, tmp_path):
    products = write_references(tmp_path)
    products[0] |= {"quantity": 2, "picked": 2}
    manifest = parse_manifest(manifest_text(products), "x")
    (answer,) = make().identify(Frame(draw_tote()), instances(["apple"]), manifest)
    assert {item for item, _ in answer.candidates} == {"lime", "plum"}


def test_thresholds_give_an_honest_none(make, manifest):
    frame = Frame(draw_tote())
    stage = make(min_similarity=0.9)
    assert stage.identify(frame, instances(["lime"]), manifest)[0].item_id == "lime"
    grey = Frame(np.full((96, 128, 3), (150, 150, 40), np.uint8))
    (answer,) = stage.identify(grey, instances(["lime"]), manifest)
    assert answer.item_id == ""
    assert len(answer.candidates) == 3
    close = make(min_margin=1.5)
    assert close.identify(frame, instances(["lime"]), manifest)[0].item_id == ""
    assert make(min_margin=1.0).identify(frame, instances(["lime"]), manifest)[0].item_id == "lime"


def test_a_single_item_has_no_runner_up(make, tmp_path):
    manifest = parse_manifest(manifest_text(write_references(tmp_path, ["plum"])), "x")
    (answer,) = make(min_margin=2.0).identify(Frame(draw_tote()), instances(["plum"]), manifest)
    assert answer.item_id == "plum"


def test_top_k_limits_the_candidates_not_the_margin(make, manifest):
    (answer,) = make(top_k=1, min_margin=1.5).identify(
        Frame(draw_tote()), instances(["lime"]), manifest
    )
    assert [item for item, _ in answer.candidates] == ["lime"]
    assert answer.item_id == ""


def test_an_item_is_as_similar_as_its_best_reference(make, tmp_path):
    products = write_references(tmp_path)
    apple, lime, plum = (product["reference_images"][0] for product in products)
    products = [
        {"product_id": "mixed", "reference_images": [lime, plum, apple]},
        {"product_id": "other", "reference_images": [lime]},
    ]
    manifest = parse_manifest(manifest_text(products), "x")
    (answer,) = make().identify(Frame(draw_tote()), instances(["apple"]), manifest)
    assert answer.candidates[0] == ("mixed", pytest.approx(1.0, abs=1e-5))
    assert len(answer.candidates) == 2  # an item once, however many references


def test_references_are_embedded_once(make, engine, manifest, tmp_path):
    stage, frame = make(), Frame(draw_tote())
    stage.prepare(manifest)
    assert engine.images == 3
    stage.prepare(manifest)
    stage.identify(frame, instances(["lime"]), manifest)
    assert engine.images == 3 + 1
    # a new version of the manifest, and the same photo under another name
    shutil.copy(tmp_path / "references/lime.png", tmp_path / "again.png")
    products = [{"product_id": "L", "reference_images": ["again.png"]}]
    stage.prepare(parse_manifest(manifest_text(products, version=2), "x"))
    assert engine.images == 3 + 1
    retuned = stage.reconfigured(
        IdentificationConfig(reference_root=str(tmp_path), min_similarity=0.5)
    )
    retuned.prepare(manifest)
    assert engine.images == 3 + 1


def test_references_go_through_the_engine_in_batches(make, engine, tmp_path):
    products = []
    for index in range(40):
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), np.full((8, 8, 3), index, np.uint8))
        products.append({"product_id": f"p{index}", "reference_images": [path.name]})
    make().prepare(parse_manifest(manifest_text(products), "x"))
    assert engine.batches == [16, 16, 8]


def test_many_instances_are_embedded_in_batches(make, engine, manifest):
    answers = make().identify(Frame(draw_tote()), instances(["lime"] * 35), manifest)
    assert [answer.item_id for answer in answers] == ["lime"] * 35
    assert engine.batches == [3, 16, 16, 3]


def test_a_folder_is_a_reference_for_all_its_images(make, tmp_path):
    write_references(tmp_path)
    (tmp_path / "Reference_Images/APPLE").mkdir(parents=True)
    for number in (1, 2, 10):
        shutil.copy(
            tmp_path / "references/apple.png", tmp_path / f"Reference_Images/APPLE/{number}.png"
        )
    manifest = parse_manifest('{"APPLE": {"text": "an apple"}}', "x")
    (answer,) = make().identify(Frame(draw_tote()), instances(["apple"]), manifest)
    assert answer.candidates == (("APPLE", pytest.approx(1.0, abs=1e-5)),)


def break_references(folder, how):
    if how == "missing":
        (folder / "references/lime.png").unlink()
    elif how == "truncated":
        whole = (folder / "references/lime.png").read_bytes()
        (folder / "references/lime.png").write_bytes(whole[:-9])
    elif how == "no image":
        (folder / "references/lime.png").write_text("hello")
    elif how == "empty folder":
        (folder / "references/lime.png").unlink()
        (folder / "references/lime.png").mkdir()
    elif how == "pipe":  # reading one would wait for ever
        (folder / "references/lime.png").unlink()
        os.mkfifo(folder / "references/lime.png")
    elif how == "huge":
        os.truncate(folder / "references/lime.png", MAX_IMAGE_BYTES + 1)


@pytest.mark.parametrize(
    "how", ["missing", "truncated", "no image", "empty folder", "pipe", "huge"]
)
def test_an_item_without_references_is_named_and_mending_it_helps(make, tmp_path, how):
    products = write_references(tmp_path)
    break_references(tmp_path, how)
    manifest = parse_manifest(manifest_text(products), "x")
    stage = make()
    with pytest.raises(ManifestError, match="'lime'"):
        stage.prepare(manifest)
    if how == "empty folder":
        (tmp_path / "references/lime.png").rmdir()
    if how == "pipe":
        (tmp_path / "references/lime.png").unlink()
    write_references(tmp_path)
    stage.prepare(manifest)


def test_the_gallery_forgets_the_oldest(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("robollm_core.identification.gallery.MAX_EMBEDDINGS", 2)
    monkeypatch.setattr("robollm_core.identification.gallery.MAX_MANIFESTS", 1)
    write_references(tmp_path)
    gallery = Gallery(engine, CropSpec.from_json(CROP), "model", tmp_path)

    def show(item):
        gallery.references(Manifest("T", 1, (ManifestItem(
            item, reference_images=(f"references/{item}.png",)),)))  # fmt: skip
        return engine.images

    assert [show(item) for item in ("apple", "lime", "apple", "plum")] == [1, 2, 2, 3]
    assert show("apple") == 3  # used later than lime
    assert show("lime") == 4


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"stage": "segmentation"}, "expected an artifact of stage 'identification'"),
        ({"meta": {}}, "meta.crop"),
        ({"meta": {"crop": {"size_px": -1}}}, "meta.crop"),
    ],
)
def test_a_wrong_sidecar_is_refused(engine, artifact, changes, told):
    fields = {name: getattr(artifact[1], name) for name in Sidecar.__slots__}
    with pytest.raises(ArtifactError, match=told):
        Identifier(engine, Sidecar(**{**fields, **changes}), IdentificationConfig())
