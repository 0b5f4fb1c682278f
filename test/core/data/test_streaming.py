# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of the readers does not grow with what the samples hold."""

import json
import pickle
import tracemalloc

import pytest

from robollm_core.data.armbench_defects import iterate_defects
from robollm_core.data.armbench_identification import iterate_picks
from robollm_core.data.armbench_segmentation import iterate_coco
from robollm_core.data.check import check_dataset
from robollm_core.data.released_index import iterate_indexed

FEW = 12
POINTS = [float(number % 97) for number in range(1000)]
"""An outline: 1000 floats, 32 kB as Python objects."""
PICTURE = b"\xff\xd8\xff\xd9"


def write_picks(root, count):
    names = [f"pick-{number:05d}" for number in range(count)]
    for name in names:
        folder = root / "Picks" / name
        folder.mkdir(parents=True)
        (folder / "PickRGB.jpg").write_bytes(PICTURE + name.encode())
        (folder / "annotation.json").write_text(json.dumps({"GT_ID": "A", "PickRGB": [POINTS]}))
        manifest = {f"item-{part}": {"text": "x" * 50} for part in range(100)}
        (folder / "container.json").write_text(json.dumps(manifest))
    (root / "train-test-split.pickle").write_bytes(pickle.dumps({"testset": names}))
    return lambda: iterate_picks(root, "test")


def write_index(root, count):
    tree = {}
    for number in range(count):
        name = f"pick-{number:05d}"
        (root / "Picks" / name).mkdir(parents=True)
        (root / "Picks" / name / "PickRGB.jpg").write_bytes(PICTURE + name.encode())
        ids = [f"item-{part}" for part in range(200)]
        tree[name] = {
            "pickimg_paths": ["PickRGB.jpg"],
            "ref_id": ids[0],
            "ref_gallary_ids": ids,
            "ref_gallary_paths": [f"{item}\\1.jpg" for item in ids],
        }
    (root / "all_test_data.json").write_text(json.dumps(tree))
    return lambda: iterate_indexed(root, "test")


def write_defects(root, count):
    names = [f"id-{number:05d}" for number in range(count)]
    for name in names:
        folder = root / "data" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.jpg").write_bytes(PICTURE + name.encode())
        note = {"id": name, "label": "nominal", "polygons": [POINTS]}
        (folder / f"{name}.json").write_text(json.dumps(note))
    (root / "test.csv").write_text("\n".join(names))
    return lambda: iterate_defects(root, "test")


def write_coco(root, count):
    folder = root / "mix-object-tote"
    (folder / "images").mkdir(parents=True)
    tree = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Object"}]}
    for number in range(count):
        name = f"{number:05d}.jpg"
        (folder / "images" / name).write_bytes(PICTURE + name.encode())
        tree["images"].append({"id": number, "file_name": name, "height": 100, "width": 100})
        tree["annotations"] += [
            {
                "id": 15 * number + part,
                "image_id": count - 1 - number,
                "category_id": 1,
                "bbox": [0, 0, 9, 9],
                "segmentation": [POINTS[2 * part : 200]],
            }
            for part in range(15)
        ]
    (folder / "test.json").write_text(json.dumps(tree))
    return lambda: iterate_coco(folder / "test.json", folder / "images")


def peak_of(samples):
    """Most bytes held at once while going through, and how many there were."""
    for _ in samples():  # imports and caches come once
        break
    tracemalloc.start()
    try:
        count = sum(1 for _ in samples())
        return tracemalloc.get_traced_memory()[1], count
    finally:
        tracemalloc.stop()


def held(samples):
    """Bytes that the samples take when they are kept."""
    tracemalloc.start()
    try:
        kept = list(samples())
        return tracemalloc.get_traced_memory()[0] if kept else 0
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [write_picks, write_index, write_defects, write_coco])
def test_four_times_the_samples_take_no_more_memory(tmp_path, write):
    few, many = write(tmp_path / "few", FEW), write(tmp_path / "many", 4 * FEW)
    (small, counted), (large, recounted) = peak_of(few), peak_of(many)
    assert (counted, recounted) == (FEW, 4 * FEW)
    more = held(many) - held(few)
    assert more > 3 * FEW * 4000, "the samples must be large enough to be seen"
    # ids and file names of 3 x FEW more samples are held, and nothing of their content
    assert large - small < 3 * FEW * 2000


@pytest.mark.parametrize("write", [write_picks, write_defects, write_coco])
def test_a_check_of_four_times_the_samples_takes_no_more_memory(tmp_path, monkeypatch, write):
    monkeypatch.setattr("robollm_core.data.check_ledger.decode_image", lambda *_: Whole)
    write(tmp_path / "few", FEW)
    write(tmp_path / "many", 4 * FEW)
    peaks = []
    for name in ("few", "few", "many"):  # the first brings imports and caches
        tracemalloc.start()
        ledger = check_dataset(tmp_path / name, decode=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert not any(tally.broken for tally in ledger.tallies.values())
    assert peaks[2] - peaks[1] < 3 * FEW * 2000


class Whole:
    """A picture of the size that all of these lists say."""

    shape = (100, 100, 3)
