# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Frames are answered while references are embedded and a gallery is reloaded."""

import shutil
import threading
import time

import numpy as np
import pytest

pytest.importorskip("onnx")
from colour_cell import COLOURS, CROP, draw_tote, identification
from small_gallery import Cell, digest, named, thing

from robollm_core.config import IdentificationConfig
from robollm_core.crops import FrameCrops
from robollm_core.identification.embedder import network_of
from robollm_core.identification.gallery_edit import fill
from robollm_core.identification.gallery_file import GalleryFile, GalleryItem
from robollm_core.identification.prefetch import Prefetcher
from robollm_core.identification.stage import Identifier
from robollm_core.runtime.artifact import Sidecar
from robollm_core.types import EngineSpec, Frame, Manifest, ManifestItem, TensorSpec


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return identification(tmp_path_factory.mktemp("net") / "identification.onnx")


@pytest.fixture
def cell(artifact, tmp_path):
    return Cell(artifact, tmp_path)


def test_frames_go_on_while_references_are_embedded(cell, tmp_path):
    manifest = cell.manifest()
    stage = cell.stage()
    stage.prepare(manifest)
    held, proceed = threading.Event(), threading.Event()
    main = threading.get_ident()

    def hold():
        if threading.get_ident() != main:
            held.set()
            assert proceed.wait(10)

    cell.engine.before = hold
    shutil.copy(tmp_path / "references/apple.png", tmp_path / "new.png")
    with (tmp_path / "new.png").open("ab") as photo:
        photo.write(b"\0")  # another digest
    products = [{"product_id": "new", "reference_images": ["new.png"]}]
    other = cell.manifest(products)
    embedding = threading.Thread(target=stage.prepare, args=(other,))
    embedding.start()
    assert held.wait(10)
    for _ in range(3):  # under the manifest in force
        assert named(stage, manifest) == list(COLOURS)
    assert stage.gallery_status()["products"] == 3
    proceed.set()
    embedding.join()
    assert stage.gallery_status()["products"] == 1


def test_a_frame_goes_before_the_next_batch_of_references(cell, tmp_path, monkeypatch):
    """An engine that serves one caller at a time, as all of ours do."""
    monkeypatch.setattr("robollm_core.identification.turns.PATIENCE_S", 10)
    manifest = cell.manifest()
    stage = cell.stage()
    stage.prepare(manifest)
    products = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        data = (tmp_path / "references/apple.png").read_bytes() + bytes([number])
        path.write_bytes(data)
        products.append({"product_id": f"p{number}", "reference_images": [path.name]})
    turn, order, main = threading.Lock(), [], threading.get_ident()

    def one_at_a_time():
        with turn:
            order.append("frame" if threading.get_ident() == main else "references")
            time.sleep(0.004)

    class Crops(FrameCrops):
        def cut(self, spec):  # here the frame has its turn, and nothing has run for it yet
            began.append(len(order))
            return super().cut(spec)

    cell.engine.before = one_at_a_time
    began, frame, things = [], Frame(draw_tote()), [thing("lime")]
    embedding = threading.Thread(target=stage.prepare, args=(cell.manifest(products),))
    embedding.start()
    while not order:
        time.sleep(0.0005)
    waited = []
    while embedding.is_alive() and len(waited) < 8:
        stage.identify(frame, things, manifest, Crops(frame, things))
        waited.append(order[began[-1] :].index("frame"))
    embedding.join()
    assert len(waited) >= 2
    assert max(waited) <= 1, order


def test_a_frame_that_is_being_answered_meets_one_state_or_the_other(cell, tmp_path):
    """Reloading all the time, no answer is ever of half a gallery."""
    cell.store()
    manifest = cell.manifest([{"product_id": name} for name in COLOURS])
    stage = cell.stage()
    stage.prepare(manifest)
    ends, failures = time.monotonic() + 0.5, []

    def reload():
        try:
            while time.monotonic() < ends:
                stage.reload()
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    worker = threading.Thread(target=reload)
    worker.start()
    frames = 0
    while worker.is_alive():
        assert named(stage, manifest) == list(COLOURS)
        frames += 1
    worker.join()
    assert failures == []
    assert frames > 3
    assert stage.gallery_status()["version"] > 3


@pytest.mark.slow
def test_a_manifest_of_a_hundred_thousand_items_comes_into_force_beside_the_frames(tmp_path):
    count, dim, rng = 10**5, 256, np.random.default_rng(0)
    stage, rows = large_stage(tmp_path, count, dim, rng)
    small = Manifest("T", 1, (ManifestItem("B000000"),))
    stage.prepare(small)
    in_force, refused = [small], []
    prefetcher = Prefetcher(lambda: stage, in_force.append, refused.append)
    products = ",".join(f'{{"product_id": "B{n:06}"}}' for n in range(count))
    frame, things = Frame(draw_tote()), [thing("lime")] * 20
    stage.identify(frame, things, small)
    prefetcher.start()
    prefetcher.offer(f'{{"container_id": "T", "version": 2, "products": [{products}]}}')
    gaps, begin = [], time.monotonic()
    while prefetcher.busy:
        gaps.append(secs_of(lambda: stage.identify(frame, things, in_force[-1])))
    prefetcher.stop()
    assert refused == []
    assert in_force[-1].version == 2
    took = time.monotonic() - begin
    assert took < 120
    assert len(gaps) > 10
    assert max(gaps) < took / 3, "frames were blocked"
    assert min(secs_of(lambda: stage.identify(frame, things, in_force[-1])) for _ in "123") < 1
    (answer,) = stage.identify(frame, things[:1], in_force[-1])
    query = stage.network.query
    best = np.argsort(-(rows @ query))[:5]
    assert [item for item, _ in answer.candidates] == [f"B{n:06}" for n in best]
    told = stage.gallery_status()
    assert (told["products"], told["embedded"], told["from_file"]) == (count, count, count)


def secs_of(act):
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def large_stage(folder, count, dim, rng):
    """A stage over a file of random embeddings, and these."""

    class Network:
        description = "by hand"
        query = unit(rng.standard_normal((1, dim)))[0]

        def run(self, inputs):
            return {"embedding": np.tile(self.query, (len(inputs["images"]), 1))}

    spec = EngineSpec((), (TensorSpec("embedding", (-1, dim), "float32"),))
    card = Sidecar("identification", spec, sha256="x" * 64, meta={"crop": CROP})
    file = GalleryFile.create(folder / "g.sqlite", network_of(card), "")
    rows = unit(rng.standard_normal((count, dim)))
    file.keep({digest(n): row for n, row in enumerate(rows)})
    items = [GalleryItem(f"B{n:06}", ((f"{n}.jpg", digest(n)),)) for n in range(count)]
    fill(file, items, network_of(card), "")
    network = Network()
    stage = Identifier(network, card, IdentificationConfig(gallery=str(file.path)))
    stage.network = network
    return stage, rows


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
