# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that raise, give no numbers, or never answer: told, and ended as the operator chose."""

import json
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from broken_cell import IMAGE, SECOND, BrokenCell, named_of
from outside_probe import stamp_of, values

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ITEMS = ["apple", "lime", "plum"]
EXIT_FATAL_IS_NOT = (0, 2, -signal.SIGKILL)
WORDS = {"raise": "illegal memory", "nan": "NaN", "hang": "hang"}


@pytest.fixture
def broken(domain, cell, tmp_path):
    made = BrokenCell(domain, cell[1], tmp_path)
    yield made
    made.close()


def start(broken, how, tmp_path, on_fatal):
    trigger = tmp_path / "trigger"
    settings = {"health__error_after": 3, "health__hang_s": 0.5, "health__on_fatal": on_fatal}
    node = broken.faulty(how, trigger, **settings)
    broken.named()
    broken.answered_as(ITEMS)
    return node, trigger


def show(broken, first, count=12):
    """Frames that the sick network gets, spaced so that each is looked at."""
    stamps = [first + number * 50_000_000 for number in range(count)]
    for stamp in stamps:
        broken.probe.show(IMAGE, stamp)
        time.sleep(0.05)
    return stamps


def text_of(broken, level=b"\x02"):
    """All that statuses of this level have said."""
    return " | ".join(
        f"{status.name}: {status.message}"
        for message in list(broken.probe.heard["/diagnostics"])
        for status in message.status
        if status.level == level
    )


@pytest.mark.parametrize("how", ["raise", "nan", "hang"])
def test_by_default_the_node_stops_answering_and_says_why(broken, tmp_path, how):
    node, trigger = start(broken, how, tmp_path, "deactivate")
    trigger.touch()
    show(broken, 5000 * SECOND)
    broken.probe.wait(lambda: broken.probe.state() == "inactive", "the node to deactivate")
    assert WORDS[how].lower() in text_of(broken).lower()
    assert any("on_fatal" in line or "fatal" in line.lower() for line in node.errors)
    # it lives, tells its state, and works again once the cause is gone
    trigger.unlink()
    if how == "hang":
        time.sleep(0.3)
    assert broken.probe.transition("activate")
    broken.probe.meet()
    broken.answered_as(ITEMS)
    assert node.end(signal.SIGINT, timeout=10) == 0


@pytest.mark.parametrize("how", ["raise", "hang"])
def test_a_node_that_is_to_exit_ends_with_a_code_of_its_own(broken, tmp_path, how):
    node, trigger = start(broken, how, tmp_path, "exit")
    trigger.touch()
    show(broken, 5000 * SECOND)
    code = node.end(timeout=20)
    assert code not in EXIT_FATAL_IS_NOT
    assert code > 0
    # whoever started it starts it again, on a network that is well
    trigger.unlink()
    broken.start()
    broken.answered_as(ITEMS)


@pytest.mark.parametrize("how", ["raise", "nan", "hang"])
def test_a_node_that_is_to_go_on_answers_again_when_the_network_does(broken, tmp_path, how):
    node, trigger = start(broken, how, tmp_path, "continue")
    trigger.touch()
    sick = show(broken, 5000 * SECOND)
    broken.probe.wait(lambda: WORDS[how].lower() in text_of(broken).lower(), "an error")
    assert broken.probe.state() == "active"
    trigger.unlink()
    broken.answered_as(ITEMS)
    # nothing that is no number was ever told
    for message in list(broken.probe.heard["perception/detections"]):
        for detection in message.detections:
            box = detection.bbox
            numbers = [box.center.position.x, box.size_x, *(r.hypothesis.score
                       for r in detection.results)]  # fmt: skip
            assert all(number == number for number in numbers)
    if how != "hang":
        # a frame that the network failed on has no detections made up for it
        told = [m for m in broken.probe.heard["perception/detections"] if stamp_of(m) in sick]
        assert all(not message.detections for message in told)
    assert node.end(signal.SIGINT, timeout=10) == 0


def test_a_pick_is_answered_though_the_network_hangs(broken, tmp_path):
    _, trigger = start(broken, "hang", tmp_path, "continue")
    trigger.touch()
    show(broken, 5000 * SECOND, count=2)
    begun = time.monotonic()
    final = broken.picked("while it hangs", deadline_ms=800)
    assert time.monotonic() - begun < 3.0
    assert final["state"] in ("timeout", "error")
    trigger.unlink()
    broken.answered_as(ITEMS)
    assert broken.picked("afterwards")["state"] == "done"


def test_a_node_whose_network_hangs_still_ends_within_two_seconds_when_asked(broken, tmp_path):
    node, trigger = start(broken, "hang", tmp_path, "continue")
    trigger.touch()
    show(broken, 5000 * SECOND, count=2)
    begun = time.monotonic()
    code = node.end(signal.SIGTERM, timeout=20)
    assert time.monotonic() - begun < 2.0
    assert code == 0


def test_a_slow_network_drops_frames_and_counts_every_one(broken, tmp_path):
    node, trigger = start(broken, "slow", tmp_path, "continue")
    before = counts(broken)
    trigger.touch()
    stamps = show(broken, 5000 * SECOND, count=40)
    # the newest frame is never the one that is dropped
    broken.probe.wait(
        lambda: any(stamp_of(m) == stamps[-1] for m in broken.probe.heard["perception/detections"]),
        "the answer to the newest frame",
    )
    trigger.unlink()
    broken.answered_as(ITEMS)
    after = counts(broken)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["dropped_mailbox"] > 20
    drops = sum(grown[name] for name in grown if name.startswith("dropped_"))
    assert grown["received"] == grown["processed"] + drops + grown["decode_errors"]
    assert node.end(signal.SIGINT, timeout=10) == 0


def counts(broken):
    """The counters of the camera once they stand still."""
    seen = []

    def still(status):
        seen.append({k: int(v) for k, v in values(status).items() if v.isdecimal()})
        return len(seen) > 1 and seen[-1]["received"] == seen[-2]["received"]

    broken.probe.status("input/camera", still)
    names = ("received", "processed", "decode_errors")
    return {k: v for k, v in seen[-1].items() if k in names or k.startswith("dropped_")}


def test_timing_tells_the_age_of_an_answer(broken):
    broken.start()
    broken.named()
    # stamps of the probe are not times of this machine: an age that is no age is not told
    answer = broken.answered()
    assert named_of(answer)
    now = time.time_ns()
    broken.probe.show_until_answered(IMAGE, now)

    def ages():
        told = [json.loads(m.data) for m in broken.probe.heard["perception/timing"]]
        return [one["ms"]["age"] for one in told if abs(one["stamp_ns"] - now) < 10 * SECOND
                and "age" in one["ms"]]  # fmt: skip

    broken.probe.wait(ages, "the times of the answer, which come after it")
    assert all(-1000 < age < 10_000 for age in ages())
