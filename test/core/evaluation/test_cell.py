# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Matching and counting by hand."""

import itertools

import numpy as np
import pytest
from colour_cell import COLOURS, truth, write_bag
from hypothesis import given
from hypothesis import strategies as st

from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.errors import BagError, ManifestError
from robollm_core.evaluation.cell import (
    FrameTruth,
    Score,
    TruthInstance,
    match,
    read_scenes,
    score,
)
from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)

HW = (20, 30)


def thing(x0, x1, item="a"):
    mask = np.zeros(HW, bool)
    mask[:, x0:x1] = True
    return TruthInstance(item, "nominal", mask)


def answer(x0, x1, item="a", grade=0.9):
    mask = np.ones((HW[0], x1 - x0), bool)
    return ItemReport(
        Instance((x0, 0, x1, HW[0]), mask, grade),
        Identification(((item, 0.5),), item),
        DefectReport((0.0, 1.0, 0.0), "nominal", 0.0),
    )


def frame(things, answers, items=("a", "b")):
    return (
        PerceptionResult(1, "c", HW, tuple(answers)),
        FrameTruth(1, "c", tuple(things), frozenset(items)),
    )


def test_half_an_overlap_is_enough_and_less_is_not():
    assert match(*frame([thing(0, 10)], [answer(0, 5)])) == [0]
    assert match(*frame([thing(0, 10)], [answer(0, 4)])) == [None]
    assert match(*frame([thing(0, 10)], [answer(0, 20)])) == [0]
    assert match(*frame([thing(0, 10)], [answer(0, 21)])) == [None]


def test_an_answer_serves_one_thing_and_the_best_overlap_wins():
    assert match(*frame([thing(0, 10), thing(0, 9)], [answer(0, 9)])) == [None, 0]
    assert match(*frame([thing(0, 10)], [answer(0, 6), answer(0, 9)])) == [1]
    assert match(*frame([], [answer(0, 6)])) == []
    assert match(*frame([thing(0, 4)], [])) == [None]


def test_an_answer_without_visible_pixels_matches_nothing():
    empty = ItemReport(
        Instance((0, 0, 5, 5), np.zeros((5, 5), bool), 0.9),
        Identification(),
        DefectReport((0.0, 1.0, 0.0), "nominal", 0.0),
    )
    assert match(*frame([thing(0, 10)], [empty])) == [None]


@given(st.integers(0, 2**32 - 1))
def test_matching_pairs_one_to_one_above_the_threshold(seed):
    rng = np.random.default_rng(seed)
    spans = [sorted(rng.choice(31, 2, replace=False).tolist()) for _ in range(7)]
    things = [thing(*span) for span in spans[:4]]
    answers = [answer(*span) for span in spans[4:]]
    pairs = match(*frame(things, answers))
    used = [index for index in pairs if index is not None]
    assert len(used) == len(set(used))

    def iou(a, b):
        both = max(0, min(a[1], b[1]) - max(a[0], b[0]))
        return both / ((a[1] - a[0]) + (b[1] - b[0]) - both)

    for row, index in enumerate(pairs):
        if index is not None:
            assert iou(spans[row], spans[4 + index]) >= 0.5
    # no pair above the threshold is left while both its sides are free
    for row, column in itertools.product(range(4), range(3)):
        if pairs[row] is None and column not in used:
            assert iou(spans[row], spans[4 + column]) < 0.5


def test_counts():
    pairs = [
        frame(
            [thing(0, 5, "a"), thing(5, 10, "b"), thing(10, 15, "off"), thing(20, 25, "a")],
            [answer(0, 5, "a"), answer(5, 10, "a"), answer(10, 15, "a")],
        ),
        frame([thing(0, 5, "b")], [answer(0, 5, "b"), answer(10, 20, "a")]),
    ]
    got = score(pairs)
    # 5 things, 4 found; "off" is not on the manifest; of a, b, b two are right
    assert got == Score(instances_truth=5, instances_found=4, on_manifest=3, named_right=2)
    assert got.found == pytest.approx(0.8)
    assert got.recall_at_1 == pytest.approx(2 / 3)


def test_nothing_counts_as_nothing():
    got = score([])
    assert got == Score(0, 0, 0, 0)
    assert (got.found, got.recall_at_1) == (0.0, 0.0)


def test_none_of_these_is_not_the_right_item():
    refused = ItemReport(
        answer(0, 5).instance, Identification((("a", 0.9),), ""), answer(0, 5).defect
    )
    assert score([frame([thing(0, 5, "a")], [refused])]).named_right == 0


def test_of_a_frame_without_an_answer_nothing_is_found():
    answered = frame([thing(0, 5, "a")], [answer(0, 5, "a")])
    _, truth = frame([thing(0, 5, "a"), thing(6, 9, "b")], [])
    assert score([answered, (None, truth)]) == Score(3, 1, 1, 1)


def test_scenes_of_a_bag(tmp_path):
    with BagReader(write_bag(tmp_path / "cell.mcap", frames=2)) as bag:
        images, truths = read_scenes(bag)
    assert list(images) == list(truths) == [2 * 10**9, 3 * 10**9 + 1]
    first = truths[2 * 10**9]
    assert first.camera == "tote_camera"
    assert first.item_ids == set(COLOURS)
    assert [i.item_id for i in first.instances] == list(COLOURS)
    assert np.count_nonzero(first.instances[0].mask) == 32 * 32


@pytest.mark.parametrize("change", [{"instances": [{"item_id": "a"}]}, {"stamp_ns": "x"}])
def test_a_truth_of_another_form_is_refused(tmp_path, change):
    import json

    from colour_cell import draw_tote, image_message

    topics = [Topic("/cam", rostypes.COMPRESSED), Topic("/ground_truth", rostypes.STRING)]
    with BagWriter(tmp_path / "a.mcap", topics) as bag:
        bag.write("/cam", 1, image_message(draw_tote(), 1))
        text = json.dumps({**truth(1), **change})
        bag.write("/ground_truth", 1, rostypes.make(rostypes.STRING, data=text))
    with BagReader(tmp_path / "a.mcap") as bag, pytest.raises(BagError, match="ground truth"):
        read_scenes(bag)


def test_a_wrong_manifest_is_refused(tmp_path):
    from colour_cell import draw_tote, image_message

    topics = [Topic("/cam", rostypes.COMPRESSED), Topic("/container/manifest", rostypes.STRING)]
    with BagWriter(tmp_path / "a.mcap", topics) as bag:
        bag.write("/container/manifest", 1, rostypes.make(rostypes.STRING, data="{"))
        bag.write("/cam", 2, image_message(draw_tote(), 2))
    with BagReader(tmp_path / "a.mcap") as bag, pytest.raises(ManifestError):
        read_scenes(bag)
