# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Two bags of answers: what is equal within tolerances, and every kind of difference by name."""

from dataclasses import replace

import numpy as np
import pytest

from robollm_core.data import rostypes
from robollm_core.data.answers import (
    TOPICS,
    box_message,
    hypothesis_message,
    write_answer,
)
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.differences import Tolerances, compare
from robollm_core.data.seen import read_seen
from robollm_core.errors import BagError
from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)

IDENTITY = Topic("/pick/identity", rostypes.DETECTIONS)
STATUS = Topic("/pick/status", rostypes.STRING)


def item(box=(8, 8, 40, 40), score=0.9, names=(("x", 0.8), ("y", 0.5)), item_id="x", **change):
    x0, y0, x1, y1 = box
    report = ItemReport(
        Instance(box, np.ones((y1 - y0, x1 - x0), np.bool_), score),
        Identification(names, item_id),
        DefectReport((0.1, 0.8, 0.1), "nominal", 0.2),
    )
    return replace(report, **change)


def frame(stamp, *items, camera="tote"):
    return PerceptionResult(stamp, camera, (96, 128), items)


def bag(path, *frames, topics=TOPICS):
    names = {topic.name for topic in topics}

    class Kept:
        def write(self, topic, log_ns, message):
            if topic in names:
                out.write(topic, log_ns, message)

    with BagWriter(path, topics) as out:
        for each in frames:
            write_answer(Kept(), each)
    return path


@pytest.fixture
def held(tmp_path):
    """Compares frames against frames."""

    def hold(a, b, tolerances=None, **ignored):
        one, other = bag(tmp_path / "a.mcap", *a), bag(tmp_path / "b.mcap", *b)
        return compare(read_seen(one), read_seen(other), tolerances or Tolerances(), **ignored)

    return hold


def kinds(found):
    return sorted(change.what for change in found.changes)


def test_the_same_answers_are_equal(held):
    frames = [frame(index + 1, item(), item((50, 50, 90, 80), 0.7)) for index in range(3)]
    found = held(frames, frames)
    assert kinds(found) == []
    assert found.frames == (3, 3, 3)
    assert found.largest == {"box_px": 0.0, "score": 0.0, "mask_iou": 1.0}


def test_cameras_with_one_stamp_are_not_mixed_up(held):
    frames = [frame(1, item(), camera="left"), frame(1, camera="right")]
    assert kinds(held(frames, frames[::-1])) == []
    assert kinds(held(frames, frames[:1])) == ["missing frame"]


def test_missing_and_extra_frames(held):
    a, b = [frame(1), frame(2)], [frame(2), frame(3)]
    found = held(a, b)
    assert kinds(found) == ["extra frame", "missing frame"]
    assert found.frames == (2, 2, 1)
    assert {change.where for change in found.changes} == {"tote at 1 ns", "tote at 3 ns"}


CHANGED = {
    "missing instance": [],
    "box": [item((8, 8, 41, 40))],
    "score": [item(score=0.91)],
    "name": [item(item_id="")],
    "verdict": [item(defect=DefectReport((0.1, 0.8, 0.1), "multi_pick", 0.2))],
    "probability": [item(defect=DefectReport((0.15, 0.75, 0.1), "nominal", 0.25))],
    "mask": [item(instance=Instance((8, 8, 40, 40), np.eye(32, dtype=np.bool_), 0.9))],
    "class": [item(instance=Instance((8, 8, 40, 40), np.ones((32, 32), np.bool_), 0.9, "tote"))],
}


@pytest.mark.parametrize("what", CHANGED)
def test_every_kind_of_change_is_named(held, what):
    found = held([frame(1, item())], [frame(1, *CHANGED[what])])
    assert what in kinds(found)
    # and the other way round nothing is lost either
    assert held([frame(1, *CHANGED[what])], [frame(1, item())]).changes


def test_an_extra_instance_is_named(held):
    found = held([frame(1, item())], [frame(1, item(), item((60, 60, 90, 90), 0.5))])
    assert kinds(found) == ["extra instance"]


def test_tolerances_are_what_decides(held):
    a, b = [frame(1, item())], [frame(1, item((8, 8, 41, 40), 0.905))]
    wide = Tolerances(box_px=1.0, score=0.01, mask_iou=0.9)
    assert kinds(held(a, b, wide)) == []
    assert kinds(held(a, b, replace(wide, box_px=0.99))) == ["box"]
    assert kinds(held(a, b, replace(wide, score=0.004))) == ["score"]
    assert kinds(held(a, b, replace(wide, mask_iou=0.98))) == ["mask"]


def test_instances_that_swap_places_are_the_same(held):
    one, two = item(score=0.9), item((50, 50, 90, 80), score=0.8999)
    swapped = [frame(1, replace_score(two, 0.9), replace_score(one, 0.8999))]
    assert kinds(held([frame(1, one, two)], swapped)) == []


def replace_score(report, score):
    return replace(report, instance=replace(report.instance, score=score))


def test_candidates_within_the_margin_may_change_places(held):
    near = (("x", 0.8005), ("y", 0.8))
    turned = (("y", 0.8004), ("x", 0.8003))
    a, b = [frame(1, item(names=near))], [frame(1, item(names=turned, item_id="y"))]
    found = held(a, b)
    assert (kinds(found), found.ties) == ([], 1)
    assert kinds(held(a, b, Tolerances(margin=1e-5))) == ["name"]


def test_a_clear_other_name_is_a_change_whatever_the_scores(held):
    a = [frame(1, item(names=(("x", 0.8), ("y", 0.5))))]
    b = [frame(1, item(names=(("y", 0.8), ("x", 0.8)), item_id="y"))]
    assert "name" in kinds(held(a, b, Tolerances(score=1.0, margin=0.0)))


def test_a_verdict_is_never_a_tie(held):
    a = [frame(1, item(defect=DefectReport((0.25, 0.5, 0.25), "nominal", 0.5)))]
    b = [frame(1, item(defect=DefectReport((0.25, 0.5, 0.25), "multi_pick", 0.5)))]
    assert kinds(held(a, b, Tolerances(margin=1.0))) == ["verdict"]


def test_large_scores_are_held_to_a_share(held):
    a = [frame(1, item(names=(("x", 400.0), ("y", 100.0))))]
    b = [frame(1, item(names=(("x", 400.2), ("y", 100.0))))]
    assert kinds(held(a, b)) == []
    assert kinds(held(a, b, Tolerances(score=1e-4))) == ["score"]


def test_a_part_that_only_one_has_is_a_change_unless_ignored(tmp_path):
    whole = bag(tmp_path / "a.mcap", frame(1, item()))
    half = bag(tmp_path / "b.mcap", frame(1, item()), topics=TOPICS[:2])
    a, b = read_seen(whole), read_seen(half)
    assert kinds(compare(a, b, Tolerances())) == ["missing topic"]
    assert kinds(compare(b, a, Tolerances())) == ["extra topic"]
    found = compare(a, b, Tolerances(), ["masks"])
    assert (kinds(found), found.tree()["ignored"]) == ([], ["masks"])


def test_a_frame_that_is_answered_twice_is_a_change(held):
    found = held([frame(1, item())], [frame(1, item()), frame(1, item())])
    assert kinds(found) == ["extra frame"]


def pick_bag(path, answers, states=()):
    with BagWriter(path, [*TOPICS, IDENTITY, STATUS]) as out:
        write_answer(out, frame(1, item()))
        for number, (event, name, score) in enumerate(answers):
            one, header = bag_detection(event, name, score), rostypes.header(5, event)
            message = rostypes.make(rostypes.DETECTIONS, header=header, detections=[one])
            out.write(IDENTITY.name, number + 2, message)
        for event, state, final in states:
            text = f'{{"event_id": "{event}", "state": "{state}", "final": {final}}}'
            out.write(STATUS.name, 9, rostypes.make(rostypes.STRING, data=text))
    return read_seen(path)


def bag_detection(event, name, score):
    return rostypes.make(
        "vision_msgs/msg/Detection2D",
        header=rostypes.header(5, event),
        results=[hypothesis_message(name, score)],
        bbox=box_message((0, 0, 4, 4)),
        id="P-1",
    )


def test_answers_to_picks_are_compared_by_event(tmp_path):
    done = [("e1", "accepted", "false"), ("e1", "done", "true"), ("e2", "done", "true")]
    a = pick_bag(tmp_path / "a.mcap", [("e1", "x", 0.9), ("e2", "y", 0.8)], done)
    same = pick_bag(tmp_path / "b.mcap", [("e2", "y", 0.8), ("e1", "x", 0.9)], done[::-1])
    assert kinds(compare(a, same, Tolerances())) == []
    other = pick_bag(
        tmp_path / "c.mcap",
        [("e1", "unknown", 0.9), ("e3", "y", 0.8)],
        [("e1", "timeout", "true"), ("e2", "done", "true")],
    )
    assert kinds(compare(a, other, Tolerances())) == [
        "extra pick", "missing pick", "pick answer", "pick state",
    ]  # fmt: skip


def test_a_bag_that_lost_its_picks_is_different(tmp_path):
    a = pick_bag(tmp_path / "a.mcap", [("e1", "x", 0.9)])
    b = read_seen(bag(tmp_path / "b.mcap", frame(1, item())))
    assert kinds(compare(a, b, Tolerances())) == ["missing topic"]


def test_nothing_to_compare_is_refused(tmp_path):
    empty = read_seen(pick_only(tmp_path / "a.mcap"))
    with pytest.raises(BagError, match="nothing to compare"):
        compare(empty, empty, Tolerances())


def pick_only(path):
    with BagWriter(path, [*TOPICS, STATUS]) as out:
        text = '{"event_id": "e", "state": "done"}'
        out.write(STATUS.name, 1, rostypes.make(rostypes.STRING, data=text))
    return path


def test_several_nodes_need_a_choice(tmp_path):
    topics = [Topic(f"/{side}/perception/detections", rostypes.DETECTIONS) for side in "lr"]
    with BagWriter(tmp_path / "a.mcap", topics) as out:
        for topic in topics:
            message = rostypes.make(
                rostypes.DETECTIONS, header=rostypes.header(1, "c"), detections=[]
            )
            out.write(topic.name, 1, message)
    with pytest.raises(BagError, match="/l/perception, /r/perception"):
        read_seen(tmp_path / "a.mcap")
    assert len(read_seen(tmp_path / "a.mcap", "/r/perception").frames) == 1
    with pytest.raises(BagError, match="no answers of /x"):
        read_seen(tmp_path / "a.mcap", "/x")


def test_an_input_bag_is_refused(tmp_path):
    texts = Topic("/container/manifest", rostypes.STRING)
    with BagWriter(tmp_path / "a.mcap", [texts]) as out:
        out.write(texts.name, 1, rostypes.make(rostypes.STRING, data="{}"))
    with pytest.raises(BagError, match="Is it an input bag"):
        read_seen(tmp_path / "a.mcap")


@pytest.mark.parametrize("text", ["[]", "no json", '{"state": "done"}'])
def test_a_foreign_status_topic_is_refused(tmp_path, text):
    with BagWriter(tmp_path / "a.mcap", [*TOPICS, STATUS]) as out:
        out.write(STATUS.name, 1, rostypes.make(rostypes.STRING, data=text))
    with pytest.raises(BagError, match="holds no answers"):
        read_seen(tmp_path / "a.mcap")
