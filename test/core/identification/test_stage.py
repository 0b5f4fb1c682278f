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
from robollm_core.errors import ArtifactError, ManifestError, NotFiniteError
from robollm_core.identification.embedder import Embedder
from robollm_core.identification.embeddings import Embeddings
from robollm_core.identification.gallery import Gallery
from robollm_core.identification.references import MAX_IMAGE_BYTES, ReferenceRoot
from robollm_core.identification.stage import Identifier, _best, _products
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
    assert engine.batches == [4] * 10  # few, so that a frame need not wait long


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


def mend_references(folder):
    place = folder / "references/lime.png"
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    write_references(folder)


REASONS = {
    "missing": "No such file",
    "truncated": "truncated",
    "no image": "neither JPEG nor PNG",
    "empty folder": "without a JPEG or PNG",
    "pipe": "no regular file",
    "huge": f"more than {MAX_IMAGE_BYTES} bytes",
}


@pytest.mark.parametrize("how", REASONS)
def test_an_item_without_a_readable_reference_cannot_be_matched_and_is_listed(make, tmp_path, how):
    products = write_references(tmp_path)
    break_references(tmp_path, how)
    manifest = parse_manifest(manifest_text(products), "x")
    stage, frame = make(), Frame(draw_tote())
    stage.prepare(manifest)
    told = stage.gallery_status()
    assert (told["products"], told["embedded"], told["references"]) == (3, 2, 2)
    assert (told["missing_count"], told["unreadable"]) == (1, 1)
    (missing,) = told["missing"]
    assert missing["item_id"] == "lime"
    assert REASONS[how] in missing["reason"]
    assert "lime.png" in missing["reason"]
    (answer,) = stage.identify(frame, instances(["apple"]), manifest)
    assert answer.item_id == "apple"
    assert {item for item, _ in answer.candidates} == {"apple", "plum"}
    mend_references(tmp_path)
    stage.prepare(manifest)  # the same manifest, sent again
    assert stage.gallery_status()["missing"] == []
    (answer,) = stage.identify(frame, instances(["lime"]), manifest)
    assert answer.item_id == "lime"


def test_where_nothing_can_be_read_every_answer_is_unknown(make, tmp_path):
    products = [
        {"product_id": f"p{n}", "reference_images": [f"none/{n}.png"]} for n in range(12)
    ] + [{"product_id": "bare"}]
    manifest = parse_manifest(manifest_text(products), "x")
    stage = make()
    stage.prepare(manifest)
    answers = stage.identify(Frame(draw_tote()), instances(), manifest)
    assert [(answer.item_id, answer.candidates) for answer in answers] == [("", ())] * 3
    told = stage.gallery_status(manifest)
    assert (told["products"], told["embedded"], told["missing_count"]) == (13, 0, 13)
    assert len(told["missing"]) == 10  # the first ones
    assert stage.gallery_status(Manifest("other", 1, ()))["products"] == 0


def test_an_item_is_matched_by_the_references_that_can_be_read(make, tmp_path):
    products = write_references(tmp_path)
    products[1]["reference_images"] += ["gone.png", "lost.png"]
    manifest = parse_manifest(manifest_text(products), "x")
    stage = make()
    stage.prepare(manifest)
    told = stage.gallery_status()
    assert (told["embedded"], told["missing_count"], told["unreadable"]) == (3, 0, 2)
    (answer,) = stage.identify(Frame(draw_tote()), instances(["lime"]), manifest)
    assert answer.item_id == "lime"


def test_a_network_that_answers_nan_is_an_error_and_no_answer(make, engine, manifest):
    stage, frame = make(), Frame(draw_tote())
    whole = engine.run
    engine.run = lambda inputs: {k: np.full_like(v, np.nan) for k, v in whole(inputs).items()}
    with pytest.raises(NotFiniteError, match="3 of 3 reference images"):
        stage.prepare(manifest)
    assert stage.gallery_status()["products"] == 0
    engine.run = whole
    stage.prepare(manifest)
    engine.run = lambda inputs: {k: v * np.inf for k, v in whole(inputs).items()}
    with pytest.raises(NotFiniteError, match="2 of 2 crops"):
        stage.identify(frame, instances(["lime", "plum"]), manifest)


def test_the_gallery_forgets_the_oldest(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("robollm_core.identification.embeddings.MAX_EMBEDDINGS", 2)
    monkeypatch.setattr("robollm_core.identification.gallery.MAX_MANIFESTS", 2)
    write_references(tmp_path)
    root = ReferenceRoot(tmp_path)
    gallery = Gallery(Embeddings(Embedder(engine, CropSpec.from_json(CROP)), root), root)

    def show(item, version=1):
        gallery.references(Manifest("T", version, (ManifestItem(
            item, reference_images=(f"references/{item}.png",)),)))  # fmt: skip
        return engine.images

    assert [show(item) for item in ("apple", "lime")] == [1, 2]
    assert show("apple") == 2  # its manifest is remembered
    assert show("apple", version=2) == 2  # its embedding is
    assert show("plum") == 3
    assert show("apple", version=3) == 3  # used later than lime
    assert show("lime", version=3) == 4


def test_manifests_that_are_too_large_together_are_forgotten(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("robollm_core.identification.gallery.MAX_BYTES", 1)
    write_references(tmp_path)
    root = ReferenceRoot(tmp_path)
    gallery = Gallery(Embeddings(Embedder(engine, CropSpec.from_json(CROP)), root), root)
    made = [
        Manifest(item, 1, (ManifestItem(item, reference_images=(f"references/{item}.png",)),))
        for item in COLOURS
    ]
    for manifest in made:
        gallery.references(manifest)
    assert [gallery.known(manifest) is not None for manifest in made] == [False, True, True]


def test_a_manifest_with_too_many_references_is_refused(make, monkeypatch, manifest):
    monkeypatch.setattr("robollm_core.identification.gallery.MAX_REFERENCES", 2)
    with pytest.raises(ManifestError, match="more than 2 reference images"):
        make().prepare(manifest)


def test_an_equal_manifest_from_another_message_is_not_embedded_again(make, engine, tmp_path):
    text = manifest_text(write_references(tmp_path))
    first, second = parse_manifest(text, "x"), parse_manifest(text, "y")
    stage = make()
    stage.prepare(first)
    stage.prepare(second)
    references = stage._gallery.references
    assert references(first) is references(second)
    assert engine.images == 3


@pytest.mark.parametrize(("queries", "rows", "dim"), [(1, 1, 3), (7, 900, 256), (5, 3000, 128)])
def test_products_are_those_of_the_matrices(queries, rows, dim):
    rng = np.random.default_rng(0)
    left = rng.standard_normal((queries, dim)).astype(np.float32)
    right = rng.standard_normal((rows, dim)).astype(np.float32)
    wanted = left.astype(np.float64) @ right.T.astype(np.float64)
    np.testing.assert_allclose(_products(left, right), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kinds", [3, 10**6])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 9, 1000])
def test_the_best_come_first_and_of_equals_the_earlier(size, kinds):
    scores = np.random.default_rng(size).integers(0, kinds, size).astype(np.float32)
    wanted = sorted(range(size), key=lambda place: (-scores[place], place))[:2]
    assert _best(scores, 2).tolist() == wanted


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
