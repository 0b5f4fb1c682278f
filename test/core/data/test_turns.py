# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""In the time of a recording frames wait, are overtaken and are answered as in the node."""

import json
import random

import pytest

from robollm_core.config import InputConfig
from robollm_core.data import rostypes
from robollm_core.data.bag import ImageEvent
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.turns import (
    SERVICE,
    ServiceTimes,
    Turns,
    answer_times,
    read_service_times,
)
from robollm_core.errors import BagError, ConfigError

MS = 1_000_000


def play(arrivals, service_ms, limits=None, bad=()):
    """Let frames arrive at (camera, ms); returns what was answered, and the counts."""
    answered = []

    def serve(turn):
        if turn.event.stamp_ns in bad:
            turns.counts[turn.camera].decode_errors += 1
            return False
        turns.counts[turn.camera].processed += 1
        answered.append((turn.camera, turn.event.stamp_ns // MS, turn.begun_ns // MS))
        return True

    turns = Turns(limits or InputConfig(), ServiceTimes([{SERVICE: service_ms}]), serve)
    for camera, ms in arrivals:
        turns.advance(ms * MS)
        turns.arrive(camera, ImageEvent(ms * MS, ms * MS, camera, b"", lambda: None), ms * MS)
    turns.advance(None)
    return answered, {name: counts.tree() for name, counts in turns.counts.items()}


def every(period_ms, count, camera="a", start=1000):
    return [(camera, start + period_ms * index) for index in range(count)]


def test_a_worker_that_keeps_up_drops_nothing():
    answered, counts = play(every(100, 20), 99)
    assert [stamp for _, stamp, _ in answered] == [1000 + 100 * i for i in range(20)]
    assert counts["a"]["dropped"] == 0
    assert counts["a"]["received"] == counts["a"]["processed"] == 20


def test_the_newest_frame_wins_when_the_worker_is_late():
    # by hand: taken at 1000; busy to 1240, where 1100 was overtaken by 1200; busy to 1480 ...
    answered, counts = play(every(100, 6), 240)
    assert answered == [("a", 1000, 1000), ("a", 1200, 1240), ("a", 1400, 1480), ("a", 1500, 1720)]
    assert counts["a"]["dropped_mailbox"] == counts["a"]["dropped"] == 2


def test_a_frame_that_comes_as_the_worker_gets_free_is_the_newest():
    answered, _ = play([("a", 1000), ("a", 1100), ("a", 1200)], 200)
    assert answered == [("a", 1000, 1000), ("a", 1200, 1200)]


def test_cameras_take_turns_though_one_is_ten_times_faster():
    fast, slow = every(10, 100, "fast"), every(100, 10, "slow")
    answered, counts = play(sorted(fast + slow, key=lambda each: each[1]), 45)
    assert counts["slow"]["dropped"] == 0
    assert counts["fast"]["processed"] >= 10
    order = [camera for camera, _, _ in answered]
    # nobody waits while another is served twice
    assert not any(order[i : i + 3] == ["slow"] * 3 for i in range(len(order)))


def test_a_rate_limit_reaches_its_mean_and_counts_the_rest():
    answered, counts = play(every(30, 100), 1, InputConfig(max_rate_hz=10.0))
    seconds = 30 * 100 / 1000
    assert abs(len(answered) - 10 * seconds) <= 1
    assert counts["a"]["dropped_rate"] == 100 - len(answered)
    gaps = [b[1] - a[1] for a, b in zip(answered, answered[1:], strict=False)]
    assert min(gaps) >= 60


def test_an_old_frame_is_dropped_when_its_turn_comes():
    # two cameras, 400 ms a frame: the second waits 400 ms
    arrivals = [("a", 1000), ("b", 1000)]
    answered, counts = play(arrivals, 400, InputConfig(max_age_ms=300.0))
    assert answered == [("a", 1000, 1000)]
    assert counts["b"]["dropped_age"] == 1
    assert len(play(arrivals, 400, InputConfig(max_age_ms=400.0))[0]) == 2


def test_a_stream_that_is_off_is_counted():
    answered, counts = play(every(100, 3), 1, InputConfig(enabled=False))
    assert not answered
    assert counts["a"]["dropped_disabled"] == counts["a"]["received"] == 3


def test_a_broken_frame_takes_no_time():
    answered, counts = play([("a", 1000), ("a", 1100)], 500, bad={1000 * MS})
    assert answered == [("a", 1100, 1100)]
    assert counts["a"]["errors"] == counts["a"]["decode_errors"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_accounted_for(seed):
    rng = random.Random(seed)
    arrivals = sorted(
        ((rng.choice("abc"), rng.randrange(1000, 4000)) for _ in range(200)), key=lambda a: a[1]
    )
    limits = InputConfig(max_age_ms=rng.choice([0.0, 50.0]), max_rate_hz=rng.choice([0.0, 15.0]))
    answered, counts = play(arrivals, rng.choice([1, 20, 90]), limits)
    for camera in counts:
        own = counts[camera]
        assert own["received"] == own["processed"] + own["dropped"] + own["errors"]
        assert own["processed"] == sum(name == camera for name, _, _ in answered)
    begun = [start for _, _, start in answered]
    assert begun == sorted(begun)


def test_stamps_that_fall_back_empty_the_slot_once_it_is_sure():
    told = []

    def serve(turn):
        turns.counts[turn.camera].processed += 1
        return True

    turns = Turns(InputConfig(), ServiceTimes([{SERVICE: 1000.0}]), serve, told.append)
    # the worker is busy with the first; of those behind it two in a row are 10 s older
    for ms, stamp in ((20000, 20000), (20100, 20100), (20200, 10000), (20300, 20200),
                      (20400, 10100), (20500, 10200), (20600, 10300)):  # fmt: skip
        turns.advance(ms * MS)
        turns.arrive("a", ImageEvent(ms * MS, stamp * MS, "a", b"", lambda: None), ms * MS)
    turns.advance(None)
    own = turns.counts["a"].tree()
    assert told == ["a"]
    assert (own["dropped_jump"], own["dropped_mailbox"], own["processed"]) == (1, 4, 2)


def test_work_that_goes_first_delays_the_frames_behind_it():
    begun = []

    def serve(turn):
        begun.append(turn.begun_ns // MS)
        return True

    turns = Turns(InputConfig(), ServiceTimes([{SERVICE: 50.0}]), serve)
    assert [turns.occupy(1000 * MS) // MS for _ in range(3)] == [1050, 1100, 1150]
    turns.arrive("a", ImageEvent(1001 * MS, 1, "a", b"", lambda: None), 1001 * MS)
    turns.advance(None)
    assert begun == [1150]


def test_draws_follow_the_seed():
    rows = [{SERVICE: float(ms)} for ms in range(100)]

    def draws(seed):
        times = ServiceTimes(rows, seed)
        return [times.draw()[SERVICE] for _ in range(50)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_times_of_a_json_list(tmp_path):
    path = tmp_path / "times.json"
    path.write_text("[10, 20.5]")
    assert read_service_times(path) == [{SERVICE: 10.0}, {SERVICE: 20.5}]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '["x"]', "[-1]", "[NaN]", "[1e999]", "[true]", "[null]", "[[1]]"]
)
def test_a_list_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "times.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="JSON list of milliseconds"):
        read_service_times(path)


def say_timing(path, texts):
    topic = Topic("/left/perception/timing", rostypes.STRING)
    with BagWriter(path, [topic]) as bag:
        for index, text in enumerate(texts):
            bag.write(topic.name, index + 1, rostypes.make(rostypes.STRING, data=text))
    return path


def test_times_of_a_recorded_node(tmp_path):
    ms = {"queue": 30.0, "age": 99.0, "decode": 2.0, "segment": 5.0, "total": 9.0, "publish": 1.0,
          "answer": 42.0}  # fmt: skip
    path = say_timing(tmp_path / "a.mcap", [json.dumps({"stamp_ns": 1, "ms": ms})])
    (row,) = read_service_times(path)
    assert row.pop(SERVICE) == 12.0
    assert row == {"decode": 2.0, "segment": 5.0, "total": 9.0, "publish": 1.0}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"ms": 3}', '{"ms": {"answer": "x"}}', '{"ms": {"answer": NaN}}',
             '{"ms": {"answer": 1, "queue": 5}}']
)  # fmt: skip
def test_times_of_something_else_are_refused(tmp_path, text):
    with pytest.raises(BagError, match="no times of a perception node"):
        read_service_times(say_timing(tmp_path / "a.mcap", [text]))


def test_a_bag_without_times_is_refused(tmp_path):
    with pytest.raises(BagError, match="no ~/timing topic"):
        read_service_times(say_timing(tmp_path / "a.mcap", []))


def test_the_times_of_an_answer_are_those_of_the_recording():
    turns = []

    def serve(turn):
        turns.append(turn)
        return True

    row = {SERVICE: 40.0, "segment": 30.0}
    node = Turns(InputConfig(), ServiceTimes([row]), serve)
    for ms in (1000, 1010):
        node.advance(ms * MS)
        node.arrive("a", ImageEvent(ms * MS, ms * MS, "a", b"", lambda: None), ms * MS)
    node.advance(None)
    assert answer_times(turns[1]) == {"queue": 30.0, "segment": 30.0, "answer": 70.0}
