# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The defect reader."""

import json

import pytest
import small_sets

from robollm_core.data.armbench_defects import iterate_defects, read_defects
from robollm_core.data.armbench_identification import is_validation
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import DatasetError


@pytest.fixture
def images(tmp_path):
    return small_sets.write_defects(tmp_path)


def test_the_splits_follow_their_csv(images):
    samples = read_defects(images, "test")
    assert [s.induct_id for s in samples] == [f"induct{n:03d}" for n in range(36, 48)]
    assert [s.label for s in samples[:4]] == ["nominal", "multi_pick", "nominal", "package_defect"]
    region = samples[0].picture.region
    assert region is not None and region.box_xyxy_px == (28, 18, 92, 78)
    assert len(read_defects(images, "train")) == 24 and len(read_defects(images, "val")) == 12


def test_without_a_val_csv_train_gives_one(images):
    ids = [f"induct{n:03d}" for n in range(48)]
    (images / "val.csv").unlink()
    (images / "train.csv").write_text("\n".join(ids))
    held = [i for i in ids if is_validation(i)]
    assert held, "the fixture must have an id that the hash sends to val"
    assert [s.induct_id for s in read_defects(images, "val")] == held
    assert len(read_defects(images, "train")) == 48 - len(held)


def test_a_folder_may_hold_several_images_and_a_csv_a_header(images):
    folder = images / "data" / "induct036"
    (folder / "b.jpg").write_bytes((folder / "induct036.jpg").read_bytes())
    note = {"id": "b.jpg", "label": "package_defect", "bbox": [0, 0, 0, 0]}
    (folder / "b.json").write_text(json.dumps(note))
    (images / "test.csv").write_text("id\ninduct036\n\ninduct036\n")
    samples = read_defects(images, "test")
    assert [s.picture.path.name for s in samples] == ["b.jpg", "induct036.jpg"]
    assert samples[0].picture.region is None  # a box of zeros is the whole image


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"id": "induct036"}',
        '{"id": "induct036", "label": "open"}',
        '{"id": "induct036", "label": ["nominal"]}',
        '{"id": "../x", "label": "nominal"}',
        '{"id": "induct036", "label": "nominal", "bbox": "all"}',
    ],
)
def test_malformed_notes_are_refused_by_name(images, text):
    (images / "data" / "induct036" / "induct036.json").write_text(text)
    with pytest.raises(DatasetError, match="induct036"):
        read_defects(images, "test")


def test_what_is_missing_is_named(images):
    (images / "data" / "induct037" / "induct037.jpg").unlink()
    with pytest.raises(DatasetError, match="induct037"):
        read_defects(images, "test")
    (images / "test.csv").write_text("nothing-there\n")
    with pytest.raises(DatasetError, match="nothing-there"):
        read_defects(images, "test")
    (images / "test.csv").write_text("../secrets\n")
    with pytest.raises(DatasetError, match="folder"):
        read_defects(images, "test")
    (images / "test.csv").write_text("")
    with pytest.raises(DatasetError, match="empty"):
        read_defects(images, "test")
    (images / "test.csv").unlink()
    with pytest.raises(DatasetError, match=r"test\.csv"):
        read_defects(images, "test")


def convert(root):
    """The (image name, label) pairs that the official converter would sort into folders."""
    found = []
    for line in (root / "test.csv").read_text().splitlines():
        for note in sorted((root / "data" / line.strip()).glob("*.json")):
            tree = json.loads(note.read_text())
            name = tree["id"] if tree["id"].endswith(".jpg") else tree["id"] + ".jpg"
            if (note.parent / name).is_file():
                found.append((name, tree["label"]))
    return found


def test_the_real_form_of_several_images_an_id_reads_as_the_official_converter_does(images):
    for induct in ("induct036", "induct037"):
        folder = images / "data" / induct
        tree = json.loads((folder / f"{induct}.json").read_text())
        pixels = (folder / f"{induct}.jpg").read_bytes()
        for path in folder.iterdir():
            path.unlink()
        for number in range(3):
            name = f"{induct}_{number}"
            (folder / f"{name}.jpg").write_bytes(pixels)
            note = tree | {"id": name + (".jpg" if number else "")}
            (folder / f"{name}.json").write_text(json.dumps(note))
    samples = read_defects(images, "test")
    assert [(s.picture.path.name, s.label) for s in samples] == convert(images)
    assert len(samples) == 16


def test_broken_samples_are_left_out_and_noted(images):
    whole = [s.induct_id for s in iterate_defects(images, "test")]
    data = images / "data"
    (data / whole[0] / f"{whole[0]}.json").write_text("{")
    (data / whole[1] / f"{whole[1]}.jpg").unlink()
    (images / "test.csv").write_text("\n".join([*whole, "gone"]))
    broken = BrokenFiles()
    assert [s.induct_id for s in read_defects(images, "test", broken)] == whole[2:]
    paths = [entry.path for entry in broken.entries]
    assert paths == [
        *(str(data / name / f"{name}.json") for name in whole[:2]),
        str(data / "gone"),
    ]
    (images / "test.csv").write_text("gone")
    with pytest.raises(DatasetError, match="empty"):
        read_defects(images, "test", BrokenFiles())
