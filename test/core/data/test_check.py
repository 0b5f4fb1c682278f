# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The check of data sets, on whole ones and on ones with a fault put in."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
import small_sets

from robollm_core.data.check import check_dataset, describe, find_layouts
from robollm_core.errors import DatasetError


def found(ledger, kind):
    """Paths of the findings of one kind, in alphabetical order."""
    return sorted(finding.path for finding in ledger.findings if finding.kind == kind)


def write_totes(root, count=6, subset="mix-object-tote"):
    """Two boxes an image, in test and in train."""
    images = root / subset / "images"
    images.mkdir(parents=True)
    for split in ("train", "test"):
        tree = {
            "categories": [{"id": 1, "name": "Object"}, {"id": 2, "name": "Tote"}],
            "images": [],
            "annotations": [],
        }
        for number in range(count):
            pixels = np.random.default_rng([number, len(split)]).integers(0, 255, (24, 32, 3))
            name = f"{split}{number}.jpg"
            cv2.imwrite(str(images / name), pixels.astype(np.uint8))
            tree["images"].append({"id": number, "file_name": name, "height": 24, "width": 32})
            for part in range(2):
                x = 2 + 15 * part
                tree["annotations"].append(
                    {
                        "id": 2 * number + part,
                        "image_id": number,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [x, 3, 9, 9],
                        "segmentation": [[x, 3, x + 9, 3, x + 9, 12, x, 12]],
                    }
                )
        (root / subset / f"{split}.json").write_text(json.dumps(tree))
    return root


def change_coco(root, change, split="test"):
    path = root / "mix-object-tote" / f"{split}.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def change_split(root, change):
    path = root / "train-test-split.pickle"
    tree = pickle.loads(path.read_bytes())
    change(tree)
    path.write_bytes(pickle.dumps(tree))


@pytest.fixture
def totes(tmp_path):
    return write_totes(tmp_path / "totes")


@pytest.fixture
def picks(tmp_path):
    root = small_sets.write_picks(tmp_path / "picks")
    for path in root.glob("Reference_Images/*/2.jpg"):  # which the small set has alike
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    return root


@pytest.fixture
def defects(tmp_path):
    return small_sets.write_defects(tmp_path / "defects", {"train": 8, "test": 24})


@pytest.mark.parametrize("decode", [False, True])
def test_whole_sets_are_whole(totes, picks, defects, decode):
    for root, layout, samples in (
        (totes, "segmentation", [6, 6]),
        (picks, "identification", [16, 8, 12]),
        (defects, "defects", [8, 24]),
    ):
        ledger = check_dataset(root, decode=decode)
        assert list(ledger.facts["layouts"]) == [layout]
        assert [tally.samples for tally in ledger.tallies.values()] == samples
        assert not any(tally.broken for tally in ledger.tallies.values())
        assert ledger.usable and set(ledger.counts()) <= {"no references", "not on manifest"}
        assert describe(ledger)[-1] == "can be used"


def test_one_split_is_checked_when_asked(picks):
    ledger = check_dataset(picks, "val")
    assert list(ledger.tallies) == ["identification val"]
    with pytest.raises(DatasetError, match="no split 'all'; it has test, train, val"):
        check_dataset(picks, "all")


def test_what_has_no_layout_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no layout.*train-test-split\.pickle"):
        check_dataset(tmp_path)


def test_a_subset_alone_is_a_layout_too(totes):
    ledger = check_dataset(totes / "mix-object-tote", "test")
    assert ledger.facts["layouts"] == {"segmentation": ["test"]}
    assert ledger.tallies["segmentation mix-object-tote test"].samples == 6


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_faults_of_pictures_of_totes(totes):
    images = totes / "mix-object-tote" / "images"
    (images / "test0.jpg").unlink()
    cut_short(images / "test1.jpg")
    (images / "test2.jpg").write_bytes(b"")
    cv2.imwrite(str(images / "test3.jpg"), np.zeros((20, 32, 3), np.uint8))
    shutil.copy(images / "test4.jpg", images / "train0.jpg")
    ledger = check_dataset(totes)
    under = "mix-object-tote/images/"
    assert found(ledger, "missing") == [f"{under}test0.jpg"]
    assert found(ledger, "broken") == [f"{under}test1.jpg", f"{under}test2.jpg"]
    assert found(ledger, "size disagrees") == [f"{under}test3.jpg"]
    assert found(ledger, "duplicate bytes") == [f"{under}test4.jpg"]
    assert ledger.tallies["segmentation mix-object-tote test"].broken == 4
    assert ledger.tallies["segmentation mix-object-tote train"].broken == 0
    assert not ledger.usable
    assert "cannot be used" in describe(ledger)[-1]


def test_faults_of_lists_of_totes(totes):
    def change(tree):
        notes = tree["annotations"]
        notes[0]["bbox"][2] = 0
        notes[1]["segmentation"] = {"size": [24, 32], "counts": [24 * 32]}
        notes[2]["segmentation"] = [[1, 2, 3, 4]]
        notes[4]["category_id"] = 9
        notes[6]["image_id"] = 77
        notes[7]["image_id"] = ["x"]
        notes[8]["id"] = notes[9]["id"]
        tree["categories"].append({"id": 3, "name": "Label"})
        tree["images"].append({**tree["images"][5], "file_name": "train1.jpg"})
        tree["images"].append({"id": 40, "file_name": "train2.jpg", "height": 24, "width": 32})
        tree["images"].append({"id": 41, "file_name": "../x.jpg", "height": 24, "width": 32})

    change_coco(totes, change)
    ledger = check_dataset(totes)
    file = "mix-object-tote/test.json"
    assert found(ledger, "empty") == [
        "mix-object-tote/images/test3.jpg",
        "mix-object-tote/images/train2.jpg",
        f"{file}, annotation 0",
        f"{file}, annotation 1",
    ]
    assert found(ledger, "broken") == [f"{file}, annotation 2"]
    assert found(ledger, "unknown class") == [file, f"{file}, annotation 4"]
    assert found(ledger, "duplicate id") == [file, file]
    assert found(ledger, "in two splits") == ["mix-object-tote/images/train2.jpg"]
    assert found(ledger, "missing") == [
        "mix-object-tote/images/../x.jpg",
        f"{file}, annotation 6",
        f"{file}, annotation 7",
    ]
    # images 1 (mask), 2 (class), 5 (twice) and the one outside its folder
    assert ledger.tallies["segmentation mix-object-tote test"].broken == 4


def test_a_broken_list_is_no_sample_at_all(totes):
    (totes / "mix-object-tote" / "test.json").write_text('{"images": [')
    ledger = check_dataset(totes, "test")
    assert found(ledger, "broken") == ["mix-object-tote/test.json"]
    assert not ledger.usable


def spoil_picks(root):
    folder = root / "Picks"
    (folder / "test-12-0" / "container.json").unlink()
    shutil.rmtree(folder / "test-12-1")
    (folder / "test-13-0" / "annotation.json").write_text("{")
    (folder / "test-13-1" / "container.json").write_text("{}")
    (folder / "test-14-0" / "ToteWallRGB.jpg").unlink()
    cut_short(folder / "test-14-1" / "PickRGB.jpg")
    cut_short(root / "Reference_Images" / "P15" / "1.jpg")
    note = json.loads((folder / "test-15-0" / "annotation.json").read_text())
    note["PickRGB"] = [[0, 0, 200, 0, 200, 60]]
    (folder / "test-15-0" / "annotation.json").write_text(json.dumps(note))
    (folder / "test-15-1" / "annotation.json").write_text('{"GT_ID": "P15"}')
    shutil.copy(folder / "test-16-0" / "PickRGB.jpg", folder / "test-16-1" / "PickRGB.jpg")

    def change(tree):
        tree["testset"] += ["test-12-0", "train-00-0"]
        tree["trainset-objects"].append("P12")

    change_split(root, change)


def test_faults_of_picks(picks):
    spoil_picks(picks)
    ledger = check_dataset(picks)
    wanted = {
        "missing": ["Picks/test-12-0", "Picks/test-12-1"],
        "broken": [
            "Picks/test-13-0",
            "Picks/test-14-1/PickRGB.jpg",
            "Reference_Images/P15/1.jpg",
        ],
        "empty": ["Picks/test-13-1"],
        "not on manifest": ["Picks/test-13-1", "Picks/test-17-0", "Picks/test-17-1"],
        "no references": ["Reference_Images/P16"],
        "size disagrees": ["Picks/test-15-0/PickRGB.jpg"],
        "duplicate bytes": ["Picks/test-16-0/PickRGB.jpg"],
        "duplicate id": ["test-12-0"],
        "in two splits": ["P12", "train-00-0"],
    }
    assert {kind: found(ledger, kind) for kind in ledger.counts()} == wanted
    tally = ledger.tallies["identification test"]
    assert (tally.samples, tally.broken) == (13, 4)
    shares = {name: (share.count, share.of) for name, share in ledger.shares.items()}
    assert shares["picks without ToteWallRGB"] == (1, 34)
    assert shares["picks without FarTrayRGB"] == (34, 34)
    assert shares["picks without an outline (whole pictures)"] == (1, 34)
    assert shares["picks whose item has no reference"] == (2, 34)
    assert shares["items without a reference"] == (1, 18)


def test_faults_of_defects(defects):
    data, ids = defects / "data", [f"induct{number:03d}" for number in range(8, 32)]

    def note(number, **change):
        path = data / ids[number] / f"{ids[number]}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    shutil.rmtree(data / ids[0])
    (data / ids[1] / f"{ids[1]}.jpg").unlink()
    note(2, label="open")
    note(3, bbox=[5, 5, 0, 10])
    note(4, bbox=[20, 20, 300, 60])
    note(5, bbox=[0, 0, 0, 0])
    (data / ids[6] / f"{ids[6]}.json").write_text("[")
    cut_short(data / ids[7] / f"{ids[7]}.jpg")
    (data / ids[8] / "more.jpg").write_bytes(b"\xff\xd8")
    (defects / "test.csv").write_text("\n".join([*ids, ids[9], "induct000"]) + "\n")
    ledger = check_dataset(defects)
    assert found(ledger, "missing") == [
        f"data/{ids[0]}",
        f"data/{ids[1]}/{ids[1]}.json",
        f"data/{ids[8]}/more.jpg",
    ]
    assert found(ledger, "unknown class") == [f"data/{ids[2]}/{ids[2]}.json"]
    assert found(ledger, "empty") == [f"data/{ids[3]}/{ids[3]}.json"]
    assert found(ledger, "size disagrees") == [f"data/{ids[4]}/{ids[4]}.jpg"]
    assert found(ledger, "broken") == [
        f"data/{ids[6]}/{ids[6]}.json",
        f"data/{ids[7]}/{ids[7]}.jpg",
    ]
    assert found(ledger, "duplicate id") == [ids[9]]
    assert found(ledger, "in two splits") == ["induct000"]
    tally = ledger.tallies["defects test"]
    assert (tally.samples, tally.broken) == (25, 5)
    share = ledger.shares["images without an outline (taken whole)"]
    assert (share.count, share.of) == (2, 29)  # ids 3 and 5, of those that can be read


def to_class_folders(root):
    """What convert_to_imagenet.py does, links included."""
    for split in ("train", "test"):
        for label in ("multi_pick", "nominal", "package_defect"):
            (root / "imagenet" / split / label).mkdir(parents=True, exist_ok=True)
        for name in (root / f"{split}.csv").read_text().split():
            label = json.loads((root / "data" / name / f"{name}.json").read_text())["label"]
            link = root / "imagenet" / split / label / f"{name}.jpg"
            link.symlink_to(root / "data" / name / f"{name}.jpg")
        (root / f"{split}.csv").unlink()
    return root


def test_faults_of_class_folders(defects):
    to_class_folders(defects)
    assert find_layouts(defects) == {"class folders": ("train", "test")}
    whole = check_dataset(defects)
    assert whole.usable and not whole.findings
    assert [tally.samples for tally in whole.tallies.values()] == [8, 24]
    test = defects / "imagenet" / "test"
    shutil.rmtree(defects / "data" / "induct008")
    (test / "open").mkdir()
    (test / "nominal" / "x.tiff").write_bytes(b"II")
    shutil.rmtree(test / "package_defect")
    shutil.copy(test / "nominal" / "induct010.jpg", test / "nominal" / "induct000.jpg")
    ledger = check_dataset(defects, "")
    under = "imagenet/test/"
    assert found(ledger, "missing") == [f"{under}nominal/induct008.jpg"]
    assert found(ledger, "unknown class") == [f"{under}open"]
    assert found(ledger, "broken") == [f"{under}nominal/x.tiff"]
    assert found(ledger, "empty") == [f"{under}package_defect"]
    assert found(ledger, "in two splits") == ["induct000"]
    assert found(ledger, "duplicate bytes") == [f"{under}nominal/induct000.jpg"]


def spoil(path):
    """Break the inside of a JPEG and leave its start, header and end."""
    data = bytearray(path.read_bytes())
    at = data.find(b"\xff\xc4") + 5  # the first Huffman table
    data[at : at + 16] = b"\xff" * 16
    path.write_bytes(data)


def test_only_decoding_finds_what_is_broken_inside(totes):
    path = totes / "mix-object-tote" / "images" / "test0.jpg"
    spoil(path)
    assert cv2.imread(str(path)) is None, "the picture must be beyond OpenCV"
    assert not check_dataset(totes).counts()
    assert found(check_dataset(totes, decode=True), "broken") == [
        "mix-object-tote/images/test0.jpg"
    ]


def test_bytes_behind_the_end_of_a_picture_do_no_harm(totes):
    path = totes / "mix-object-tote" / "images" / "test0.jpg"
    path.write_bytes(path.read_bytes() + b"written on by the camera")
    assert not check_dataset(totes).counts()


def test_alike_at_both_ends_is_not_alike(totes):
    images = totes / "mix-object-tote" / "images"
    pixels = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    cv2.imwrite(str(images / "a.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    data = bytearray((images / "a.png").read_bytes())
    data[len(data) // 2] ^= 1
    (images / "b.png").write_bytes(data)

    def change(tree):
        for number, name in enumerate(("a.png", "b.png")):
            size = {"height": 240, "width": 320}
            tree["images"].append({"id": 50 + number, "file_name": name, **size})

    change_coco(totes, change)
    assert "duplicate bytes" not in check_dataset(totes).counts()


def test_five_in_a_hundred_may_be_broken_and_no_more(tmp_path):
    root = write_totes(tmp_path, 20)
    images = root / "mix-object-tote" / "images"
    (images / "test0.jpg").unlink()
    assert check_dataset(root, "test").usable
    (images / "test1.jpg").unlink()
    assert not check_dataset(root, "test").usable
    tree = check_dataset(root).to_json()  # 2 of 40
    assert tree["usable"] and tree["counts"] == {"missing": 2}
    assert len(tree["findings"]) == 2
    json.dumps(tree)
