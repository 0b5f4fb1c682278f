# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The stage with a gallery file below its memory: what is read, written, widened and reloaded."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import COLOURS, draw_tote, identification, write_references
from small_gallery import Cell, named, run_sql, thing

from robollm_core.errors import ConfigError, GalleryError
from robollm_core.identification.embedder import Network
from robollm_core.identification.gallery_edit import fill, remove
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.types import Frame


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return identification(tmp_path_factory.mktemp("net") / "identification.onnx")


@pytest.fixture
def cell(artifact, tmp_path):
    return Cell(artifact, tmp_path)


def test_embeddings_outlive_the_process_that_made_them(cell, tmp_path):
    manifest = cell.manifest()
    cell.stage().prepare(manifest)
    assert cell.engine.images == 3
    second = cell.stage()  # as after a start
    second.prepare(manifest)
    assert cell.engine.images == 3
    assert named(second, manifest) == list(COLOURS)


def test_embeddings_from_the_file_are_those_of_the_network(cell, tmp_path):
    manifest = cell.manifest()
    first, second = cell.stage(), cell.stage()
    first.prepare(manifest)
    second.prepare(manifest)
    ours, theirs = (stage._gallery.references(manifest).embeddings for stage in (first, second))
    np.testing.assert_array_equal(ours, theirs)


def test_an_image_that_changes_is_embedded_anew(cell, tmp_path):
    products = write_references(tmp_path)
    manifest = cell.manifest(products)
    cell.stage().prepare(manifest)
    shutil.copy(tmp_path / "references/plum.png", tmp_path / "references/apple.png")
    stage = cell.stage()
    stage.prepare(manifest)
    assert cell.engine.images == 3  # the photo of the plum has an embedding
    (answer,) = stage.identify(Frame(draw_tote()), [thing("plum")], manifest)
    assert dict(answer.candidates)["apple"] == dict(answer.candidates)["plum"]


def test_an_item_without_images_comes_from_the_file(cell, tmp_path):
    cell.store()
    shutil.rmtree(tmp_path / "references")  # a cell that has the file alone
    products = [{"product_id": "apple"}, {"product_id": "lime", "reference_images": ["gone.png"]},
                {"product_id": "pear"}]  # fmt: skip
    manifest = cell.manifest(products)
    stage = cell.stage()
    stage.prepare(manifest)
    assert named(stage, manifest, ["apple", "lime"]) == ["apple", "lime"]
    told = stage.gallery_status()
    assert (told["products"], told["embedded"], told["from_file"]) == (3, 2, 2)
    assert told["missing"] == [
        {
            "item_id": "pear",
            "reason": "the manifest names no reference image, and the gallery file does not "
            "know it.",
        }
    ]
    assert cell.engine.images == 2  # the crops alone


def test_images_that_can_be_read_win_over_the_file(cell, tmp_path):
    cell.store()
    shutil.copy(tmp_path / "references/plum.png", tmp_path / "new.png")
    manifest = cell.manifest([{"product_id": "lime", "reference_images": ["new.png"]}])
    (answer,) = cell.stage().identify(Frame(draw_tote()), [thing("plum")], manifest)
    assert answer.candidates == (("lime", pytest.approx(1.0, abs=1e-4)),)


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("complete", [True, False])
def test_the_whole_gallery_is_asked_when_the_manifest_is_empty_or_incomplete(
    cell, tmp_path, left, complete
):
    cell.store(("lime", "plum"))
    products = write_references(tmp_path, ("apple",))
    products[0] |= {"quantity": left}
    manifest = cell.manifest(products, complete)
    alone, wide = cell.stage(), cell.stage(fallback="gallery")
    assert named(alone, manifest) == ["apple" if left else "", "", ""]
    candidates = {"apple"} if left else set()
    if not (complete and left):
        candidates |= {"lime", "plum"}
    for prepared in (False, True):
        if prepared:
            wide.prepare(manifest)
        answers = wide.identify(Frame(draw_tote()), [thing("lime"), thing("plum")], manifest)
        assert {item for item, _ in answers[0].candidates} == candidates
        if "plum" in candidates:
            assert [answer.item_id for answer in answers] == ["lime", "plum"]


def test_an_item_of_manifest_and_file_is_a_candidate_once(cell, tmp_path):
    cell.store()
    manifest = cell.manifest(write_references(tmp_path, ("lime",)), complete=False)
    (answer,) = cell.stage(fallback="gallery").identify(
        Frame(draw_tote()), [thing("lime")], manifest
    )
    assert [item for item, _ in answer.candidates] == ["lime", *sorted(
        ["apple", "plum"], key=lambda name: -dict(answer.candidates)[name])]  # fmt: skip


def test_an_item_that_is_missing_is_still_left_so_nothing_is_widened(cell, tmp_path):
    cell.store()
    manifest = cell.manifest([{"product_id": "pear", "reference_images": ["no.png"]}])
    assert named(cell.stage(fallback="gallery"), manifest) == [""] * 3


def test_without_a_manifest_nothing_is_named_from_the_gallery(cell):
    cell.store()
    assert named(cell.stage(fallback="gallery"), None) == [""] * 3


def test_the_fallback_may_change_while_the_cell_runs(cell, tmp_path):
    cell.store()
    manifest = cell.manifest([])
    stage = cell.stage()
    assert named(stage, manifest) == [""] * 3
    wide = stage.reconfigured(replace(stage.config, fallback="gallery"))
    assert named(wide, manifest) == list(COLOURS)
    assert named(stage, manifest) == [""] * 3


def test_a_fallback_without_a_file_is_refused(cell):
    with pytest.raises(ConfigError, match=r"identification\.gallery names no file"):
        cell.stage(fallback="gallery", gallery="")
    stage = cell.stage(gallery="")
    with pytest.raises(ConfigError, match="gallery build"):
        stage.reconfigured(replace(stage.config, fallback="gallery"))


def test_a_file_that_is_missing_stops_the_cell_before_it_starts(cell, tmp_path):
    with pytest.raises(GalleryError, match=r"no gallery file .*none\.sqlite"):
        cell.stage(gallery=str(tmp_path / "none.sqlite"))


def test_a_reload_sees_what_was_put_in(cell, tmp_path):
    cell.store(("apple",))
    manifest = cell.manifest([{"product_id": name} for name in COLOURS])
    stage = cell.stage()
    stage.prepare(manifest)
    before = stage.gallery_status()
    assert (before["embedded"], before["file_items"], before["version"]) == (1, 1, 0)
    cell.store(("lime", "plum"))
    assert named(stage, manifest) == ["apple", "", ""]
    after = stage.reload()
    assert (after["embedded"], after["file_items"], after["version"]) == (3, 3, 1)
    assert after["sha256"] != before["sha256"]
    assert named(stage, manifest) == list(COLOURS)


def test_a_reload_widens_anew(cell, tmp_path):
    cell.store()
    stage = cell.stage(fallback="gallery")
    manifest = cell.manifest([])
    assert named(stage, manifest, ["lime"]) == ["lime"]
    remove(cell.file, ["lime"])
    assert named(stage, manifest, ["lime"]) == ["lime"]
    stage.reload()
    assert named(stage, manifest, ["lime"]) != ["lime"]


def test_a_reload_that_fails_leaves_everything_as_it_was(cell, tmp_path):
    cell.store()
    manifest = cell.manifest([{"product_id": name} for name in COLOURS])
    stage = cell.stage()
    stage.prepare(manifest)
    whole = cell.file.path.read_bytes()
    cell.file.path.write_bytes(b"junk" * 1000)
    with pytest.raises(GalleryError, match="not a database"):
        stage.reload()
    assert named(stage, manifest) == list(COLOURS)
    assert stage.gallery_status()["version"] == 0
    cell.file.path.write_bytes(whole)
    assert stage.reload()["version"] == 1


def test_a_reload_that_fails_late_leaves_the_whole_gallery_as_it_was(cell):
    cell.store()
    stage, manifest = cell.stage(fallback="gallery"), cell.manifest([])
    stage.prepare(manifest)
    run_sql(cell.file.path, "UPDATE embeddings SET embedding = x'00' WHERE rowid = 2")
    with pytest.raises(GalleryError, match="wrong length"):
        stage.reload()
    assert named(stage, manifest) == list(COLOURS)
    assert stage.gallery_status()["version"] == 0


def test_another_network_in_the_file_fails_the_reload(cell):
    cell.store()
    stage = cell.stage()
    fill(cell.file, [], Network("c" * 64, "{}", 3), "")
    with pytest.raises(GalleryError, match="network cccccccccccc"):
        stage.reload()


def test_a_file_that_breaks_while_the_cell_runs_is_said_and_the_cell_goes_on(
    cell, tmp_path, caplog
):
    stage = cell.stage()
    cell.file.path.write_bytes(b"junk" * 1000)
    manifest = cell.manifest()
    with caplog.at_level(logging.WARNING):
        stage.prepare(manifest)
        stage.prepare(cell.manifest(write_references(tmp_path, ("lime",))))
    assert named(stage, manifest) == list(COLOURS)
    told = stage.gallery_status()
    assert "not a database" in told["note"]
    assert told["writable"] is False
    assert len(caplog.records) == 1  # said once


def test_a_file_that_cannot_be_written_is_read_and_said_once(cell, tmp_path, monkeypatch, caplog):
    cell.store(("apple",))
    monkeypatch.setattr(GalleryFile, "writable", False)
    with caplog.at_level(logging.WARNING):
        stage = cell.stage()
        manifest = cell.manifest()
        stage.prepare(manifest)
    assert named(stage, manifest) == list(COLOURS)
    assert "cannot be written" in stage.gallery_status()["note"]
    assert len(caplog.records) == 1
    assert run_sql(cell.file.path, "SELECT COUNT(*) FROM embeddings") == [(1,)]


def test_what_a_cell_writes_is_of_no_item(cell, tmp_path):
    cell.stage().prepare(cell.manifest())
    tables = ("items", "reference_images", "embeddings")
    counts = [run_sql(cell.file.path, f"SELECT COUNT(*) FROM {table}") for table in tables]
    assert counts == [[(0,)], [(0,)], [(3,)]]
