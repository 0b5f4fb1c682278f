# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from robollm_core.errors import ConfigError, DatasetError
from robollm_core.images import decode_image
from robollm_core.synthetic.products import catalogue_seeds, make_catalogue
from robollm_core.synthetic.references import REFERENCE_PX, fetch, photograph, sources
from robollm_core.synthetic.scans import Scan


@pytest.fixture(scope="module")
def products():
    return make_catalogue("val", 21, 5)


@pytest.fixture(scope="module")
def entries(products):
    return photograph(products, 0)


def pictures(entry):
    return [decode_image(photo, "a reference") for photo in entry.photos]


def test_a_product_has_six_square_photos_and_its_card(products, entries):
    assert len(entries) == len(products)
    for product, entry in zip(products, entries, strict=True):
        assert [each.shape for each in pictures(entry)] == [(REFERENCE_PX, REFERENCE_PX, 3)] * 6
        assert entry.card.item_id == product.item_id
        assert entry.card.text == product.text
        assert entry.card.weight_kg == product.weight_kg
        assert np.allclose(entry.card.dims_m, product.dims_m, atol=5e-4)


def test_the_background_is_plain_and_the_item_fills_the_frame(entries):
    for entry in entries:
        levels = set()
        for picture in pictures(entry):
            border = np.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
            assert border.std(axis=0).max() < 3
            level = round(float(border.mean()))
            levels.add(round(level / 16))
            item = np.abs(picture.astype(int) - level).max(axis=2) > 25
            span = max(item.any(axis=0).sum(), item.any(axis=1).sum())
            assert span > 0.6 * REFERENCE_PX
        assert len(levels) == 1  # one background a product


def test_the_front_photo_shows_the_front(products, entries):
    """The front's print is more alike the front photo than any other product's print is."""
    fronts = []
    for product in products:
        a, b, c = (product.mesh.vertices[product.mesh.faces[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        ahead = normal[:, 2] > 0.9 * np.linalg.norm(normal, axis=1)
        corners = product.mesh.uv[product.mesh.faces[ahead]].reshape(-1, 2)
        height, width = product.texture.shape[:2]
        x0, y0 = (corners.min(axis=0) * (width, height)).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0) * (width, height)).astype(int)
        fronts.append(product.texture[y0:y1, x0:x1])

    def histogram(picture):
        counts, _ = np.histogramdd(picture.reshape(-1, 3) // 64, bins=(4, 4, 4), range=[(0, 4)] * 3)
        return counts.reshape(-1) / counts.sum()

    own = []
    for number, entry in enumerate(entries):
        middle = cv2.getRectSubPix(pictures(entry)[0], (120, 120), (112, 112))
        likeness = [np.minimum(histogram(front), histogram(middle)).sum() for front in fronts]
        own.append(int(np.argmax(likeness)) == number)
    assert np.mean(own) >= 0.6


def test_photos_belong_to_the_product_not_to_its_lot(products, entries):
    (alone,) = photograph(products[3:4], 0)
    assert alone == entries[3]
    (other,) = photograph(products[3:4], 1)
    assert other.photos != alone.photos


def test_sources_are_seeds_then_the_scans_of_the_split(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02d}").mkdir()
        (tmp_path / f"{number:02d}" / "mesh.obj").write_text("v 0 0 0\n")
    parts = {split: sources(split, 3, 4, tmp_path) for split in ("train", "val", "test")}
    assert parts["train"][:4] == catalogue_seeds("train", 3, 4)
    assert [len(each) for each in parts.values()] == [4 + 16, 4 + 2, 4 + 2]
    assert len({source for each in parts.values() for source in each}) == 12 + 20
    scans = [each for part in parts.values() for each in part if isinstance(each, Scan)]
    assert len({scan.name for scan in scans}) == 20
    assert sources("val", 3, 4, None) == catalogue_seeds("val", 3, 4)


def test_bad_sources_are_refused(tmp_path):
    with pytest.raises(ConfigError):
        sources("exam", 0, 4, None)
    with pytest.raises(DatasetError):
        sources("train", 0, 4, tmp_path)
    with pytest.raises(DatasetError):
        fetch(Scan(tmp_path / "none.obj", "none"))


def test_a_seed_is_fetched_as_its_product(products):
    assert fetch(catalogue_seeds("val", 21, 1)[0]).item_id == products[0].item_id
