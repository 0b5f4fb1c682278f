# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from robollm_core.errors import DatasetError
from robollm_core.evaluation.precision import (
    IOUS,
    Found,
    Judged,
    accumulate,
    average_precision,
    bootstrap_interval,
    from_json,
    match,
    precision_of,
    pruned,
    row,
    summarize,
    to_json,
)


def block(x, y, w, h):
    mask = np.zeros((60, 80), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return coco_mask.encode(mask)


def random_images(count, seed):
    """Truths, found a little displaced, with misses, duplicates and false alarms."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        truths, found = [], []
        for _ in range(int(rng.integers(0, 7))):
            x, y = int(rng.integers(0, 55)), int(rng.integers(0, 40))
            truths.append(block(x, y, 20, 15))
            for _ in range(int(rng.integers(0, 3))):
                dx, dy = rng.integers(0, 5, 2)
                found.append(Found(block(x + dx, y + dy, 20, 15), round(float(rng.random()), 2)))
        for _ in range(int(rng.integers(0, 3))):
            found.append(Found(block(int(rng.integers(0, 50)), 5, 9, 9), float(rng.random())))
        crowd = tuple(bool(rng.random() < 0.1) for _ in truths)
        images.append(Judged(tuple(truths), crowd, tuple(found)))
    return images


def pycocotools_stats(images, kind):
    """The plain use of pycocotools, from a dataset dictionary to its own summary."""
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
    answers = []
    for number, image in enumerate(images, 1):
        truth["images"].append({"id": number, "height": 60, "width": 80})
        for rle, crowd in zip(image.truths, image.crowd, strict=True):
            entry = {"image_id": number, "category_id": 1, "segmentation": rle}
            entry["bbox"] = list(coco_mask.toBbox(rle))
            entry["area"], entry["iscrowd"] = float(coco_mask.area(rle)), int(crowd)
            truth["annotations"].append({**entry, "id": len(truth["annotations"]) + 1})
        for one in image.found:
            entry = {"image_id": number, "category_id": 1, "score": one.score}
            area = {"bbox": list(coco_mask.toBbox(one.rle))} if kind == "bbox" else {}
            answers.append({**entry, "segmentation": one.rle, **area})
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = truth
        index.createIndex()
        judge = COCOeval(index, index.loadRes(answers), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_pycocotools_own_summary(kind, seed):
    images = random_images(40, seed)
    records = match(images, kind)
    expected = pycocotools_stats(images, kind)
    assert 0.05 < expected[0] < 0.95  # else the test says nothing
    assert average_precision(records, IOUS) == pytest.approx(expected[0], abs=1e-12)
    assert average_precision(records, [0.5]) == pytest.approx(expected[1], abs=1e-12)
    assert average_precision(records, [0.75]) == pytest.approx(expected[2], abs=1e-12)


def test_perfect_and_empty_answers():
    truths = (block(2, 2, 20, 20), block(40, 30, 20, 20))
    perfect = Judged(truths, (False, False), tuple(Found(rle, 0.9) for rle in truths))
    nothing = Judged(truths, (False, False), ())
    assert average_precision(match([perfect], "segm")) == pytest.approx(1.0)
    assert average_precision(match([nothing], "segm")) == 0.0
    assert np.isnan(average_precision(match([Judged((), (), ())], "segm")))
    # recall one half, all of it right: 51 of the 101 recalls are reached
    half = average_precision(match([perfect, nothing], "segm"), [0.5])
    assert half == pytest.approx(51 / 101)


def test_a_found_box_counts_instead_of_the_masks_extent():
    truth = block(10, 10, 20, 20)
    right = Found(block(10, 10, 5, 5), 0.9, (10.0, 10.0, 30.0, 30.0))
    records = match([Judged((truth,), (False,), (right,))], "bbox")
    assert average_precision(records) == pytest.approx(1.0)


def test_the_interval_is_seeded_and_holds_the_value():
    records = match(random_images(60, 3), "segm")
    first = bootstrap_interval(records, iou=0.5, resamples=100, seed=1)
    assert first == bootstrap_interval(records, iou=0.5, resamples=100, seed=1)
    assert first != bootstrap_interval(records, iou=0.5, resamples=100, seed=2)
    assert first[0] < average_precision(records, [0.5]) < first[1]
    assert 0.02 < first[1] - first[0] < 0.4


def test_more_images_narrow_the_interval():
    few, many = match(random_images(20, 4), "segm"), match(random_images(200, 4), "segm")
    widths = [
        np.diff(bootstrap_interval(records, iou=0.5, resamples=100, seed=0))[0]
        for records in (few, many)
    ]
    assert widths[1] < 0.6 * widths[0]


def test_the_twelve_statistics_are_pycocotools_own():
    images = random_images(40, 6)
    rows = [row(record) for record in match(images, "segm")]
    stats = summarize(accumulate([rows], max_detections=(1, 10, 100)), [0])
    expected = pycocotools_stats(images, "segm")
    assert stats[[0, 1, 2, 6, 7, 8]].tolist() == expected[[0, 1, 2, 6, 7, 8]].tolist()
    assert stats[3] == -1.0  # nothing was matched by size


def test_detections_below_every_hit_change_nothing():
    low = Judged((), (), (Found(block(50, 5, 9, 9), -1.0),))
    records = match([*random_images(40, 5), low], "segm")
    short = pruned(records)
    assert sum(len(one.scores) for one in short) < sum(len(one.scores) for one in records)
    rng = np.random.default_rng(0)
    for _ in range(5):
        chosen = rng.integers(len(records), size=len(records))
        whole, cut = (
            summarize(accumulate([[row(of[i]) for i in chosen]], max_detections=(1, 10, 100)), [0])
            for of in (records, short)
        )
        assert whole.tolist() == cut.tolist()
    nothing = match([Judged((block(2, 2, 9, 9),), (False,), (Found(block(40, 40, 9, 9), 0.5),))],
                    "segm")  # fmt: skip
    assert [len(one.scores) for one in pruned(nothing)] == [0]


def test_records_come_back_from_json_and_give_the_same_precision():
    records = match(random_images(30, 7), "segm")
    trees = [json.loads(json.dumps(to_json(record))) for record in records]
    for before, tree in zip(records, trees, strict=True):
        after = from_json(tree)
        assert after.scores.tolist() == before.scores.tolist()
        assert (after.hits == before.hits).all()
        assert (after.ignored == before.ignored).all()
        assert after.positives == before.positives
    for ious in (IOUS, [0.5], [0.75]):
        assert precision_of(trees, ious) == average_precision(records, ious)
    twice = [*trees, *trees[:5]]
    assert precision_of(twice) == average_precision([*records, *records[:5]])
    assert np.isnan(precision_of([to_json(match([Judged((), (), ())], "segm")[0])]))


@pytest.mark.parametrize(
    "change",
    [{"scores": "?"}, {"scores": None}, {"hits": ""}, {"ignored": "AAAA"}, {"positives": "many"}],
)
def test_a_record_of_another_form_is_refused(change):
    images = random_images(10, 8)
    tree = max((to_json(one) for one in match(images, "segm")), key=lambda one: len(one["scores"]))
    with pytest.raises(DatasetError, match="expected base64"):
        precision_of([{**tree, **change}])
    for name in change:
        with pytest.raises(DatasetError, match="expected base64"):
            from_json({key: value for key, value in tree.items() if key != name})
