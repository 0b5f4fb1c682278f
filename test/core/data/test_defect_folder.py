# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Defect images in a folder a class, sorted as the official converter does."""

import json
import os

import pytest
import small_sets

from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import is_validation
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.defect_folder import find_defect_folder, read_defect_folder
from robollm_core.errors import DatasetError
from robollm_core.types import DEFECT_LABELS


def convert(root, out, splits=("train", "test")):
    """The official conversion, re-stated: a link an image in the folder of its label."""
    for split in splits:
        for label in ("nominal", "multi_pick", "package_defect"):
            (out / split / label).mkdir(parents=True)
        for line in (root / f"{split}.csv").read_text().splitlines():
            for note in (root / "data" / line.strip()).glob("*.json"):
                tree = json.loads(note.read_text())
                name = tree["id"] if tree["id"].endswith(".jpg") else tree["id"] + ".jpg"
                (out / split / tree["label"] / name).symlink_to(note.parent / name)


def image_folder(root):
    """(path, class name) in the order of torchvision's ImageFolder."""
    found = []
    for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
        for folder, _, files in sorted(os.walk(root / name, followlinks=True)):
            for file in sorted(files):
                if file.lower().endswith((".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp")):
                    found.append((f"{folder}/{file}", name))
    return found


@pytest.fixture
def images(tmp_path):
    root = small_sets.write_defects(tmp_path / "set", {"train": 16, "test": 12})
    convert(root, root / "imagenet")
    return root


def test_the_order_is_that_of_imagefolder(images):
    samples = read_defect_folder(images, "test")
    found = [(str(sample.picture.path), sample.label) for sample in samples]
    assert found == image_folder(images / "imagenet" / "test")
    assert [label for _, label in found] == sorted(label for _, label in found)
    assert len(found) == 12 and set(DEFECT_LABELS) == {label for _, label in found}
    assert all(sample.picture.region is None for sample in samples)
    assert read_defect_folder(images / "imagenet", "test") == samples


def test_the_csv_is_preferred_and_the_folders_hold_the_same(images):
    listed = read_defects(images, "test")
    assert any(sample.picture.region for sample in listed)
    for split in ("train", "test"):
        (images / f"{split}.csv").unlink()
    folders = read_defects(images, "test")
    assert folders == read_defect_folder(images, "test")
    assert {(s.induct_id, s.label) for s in folders} == {(s.induct_id, s.label) for s in listed}


def test_images_of_one_id_stay_on_one_side_of_val(images):
    folder = images / "imagenet" / "train" / "nominal"
    names = [f"x{number}_{turn}.jpg" for number in range(60) for turn in range(3)]
    source = next(folder.iterdir()).read_bytes()
    for name in names:
        (folder / name).write_bytes(source)
    train, val = (read_defect_folder(images, split) for split in ("train", "val"))
    held = {sample.induct_id for sample in val}
    assert held and all(is_validation(name) for name in held)
    assert not held & {sample.induct_id for sample in train}
    assert len(train) + len(val) == 16 + len(names)
    assert {sample.induct_id for sample in (*train, *val)} >= {f"x{n}" for n in range(60)}


def test_a_val_folder_of_its_own_is_val(images):
    small = small_sets.write_defects(images / "more", {"val": 4})
    convert(small, images / "imagenet", ("val",))
    assert len(read_defect_folder(images, "val")) == 4
    assert len(read_defect_folder(images, "train")) == 16


def test_links_that_lead_nowhere_are_refused_or_noted(images):
    samples = read_defect_folder(images, "test")
    gone = samples[3].picture.path
    gone.resolve().unlink()
    with pytest.raises(DatasetError, match="link that leads nowhere"):
        read_defect_folder(images, "test")
    (gone.parent / "a.tiff").write_bytes(b"II")
    (gone.parent / "notes.txt").write_text("no image")
    broken = BrokenFiles()
    left = read_defect_folder(images, "test", broken)
    assert left == samples[:3] + samples[4:]
    assert {entry.path for entry in broken.entries} == {str(gone), str(gone.parent / "a.tiff")}


def test_what_is_no_such_folder_is_refused(images, tmp_path):
    assert find_defect_folder(tmp_path / "nothing") is None
    with pytest.raises(DatasetError, match="convert_to_imagenet"):
        read_defect_folder(tmp_path, "test")
    (images / "imagenet" / "test" / "open").mkdir()
    with pytest.raises(DatasetError, match="open is no class"):
        read_defect_folder(images, "test")
    for path in (images / "imagenet" / "train").glob("*/*"):
        path.unlink()
    with pytest.raises(DatasetError, match="empty"):
        read_defect_folder(images, "train")
