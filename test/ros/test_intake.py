# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What is let in, what is dropped and why; on clocks that the test moves."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from robollm_ros.cameras import Camera
from robollm_ros.health import Health
from robollm_ros.intake import Intake, message_stamp

pytestmark = pytest.mark.ros
S = 10**9


def image(stamp_ns):
    sec, nanosec = divmod(stamp_ns, S)
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="tote")
    return bytes(serialize_message(Image(header=header, height=1, width=1, encoding="mono8",
                                         step=1, data=b"\0")))  # fmt: skip


@pytest.fixture
def make():
    """An open intake, the clock it compares stamps with, the clock of rates, and its log."""

    def build(*cameras):
        now, steady, logged, back = SimpleNamespace(ns=1000 * S), SimpleNamespace(s=50.0), [], []
        intake = Intake(
            cameras or (Camera(),), Health(), now_ns=lambda: now.ns,
            log=lambda topic, text: logged.append((topic, text)), clock=lambda: steady.s,
        )  # fmt: skip
        intake.on_back = back.append
        intake.open()
        return SimpleNamespace(intake=intake, now=now, steady=steady, logged=logged, back=back)

    return build


def counts(bench, camera="camera"):
    found = bench.intake.mailboxes.counts()[camera]
    return {name: value for name, value in found.items() if value}


def turn(bench):
    """Take the next frame; whether it is still wanted."""
    taken = bench.intake.mailboxes.take()
    wanted = bench.intake.welcome(taken, bench.intake.mailboxes)
    if wanted:
        bench.intake.mailboxes.settle(taken, "processed")
    return wanted


@pytest.mark.parametrize(("age_ms", "wanted"), [(0, True), (99, True), (101, False)])
def test_a_frame_that_is_too_old_when_its_turn_comes_is_dropped(make, age_ms, wanted):
    bench = make(Camera(max_age_ms=100.0))
    bench.intake.put("camera", image(1000 * S))
    bench.now.ns += age_ms * 10**6
    assert turn(bench) == wanted
    fate = "processed" if wanted else "dropped_age"
    assert counts(bench) == {"received": 1, fate: 1}


def test_without_a_limit_no_frame_is_too_old(make):
    bench = make()
    bench.intake.put("camera", image(1 * S))
    assert turn(bench)


@pytest.mark.parametrize(
    ("stamp_ns", "word"), [(0, "are zero"), (1001 * S, "lie in the future")], ids=["zero", "future"]
)
def test_a_stamp_that_tells_no_age_is_answered_and_warned_of_once(make, stamp_ns, word):
    bench = make(Camera(max_age_ms=1.0))
    for _ in range(3):
        assert bench.intake.put("camera", image(stamp_ns)) == stamp_ns
        assert turn(bench)
    ((topic, text),) = bench.logged
    assert topic == "image"
    assert word in text
    assert bench.intake.age_ms(stamp_ns) is None


def test_a_clock_that_simulation_has_not_told_yet_is_nobodys_fault(make):
    bench = make(Camera(max_age_ms=1.0))
    bench.now.ns = 0
    bench.intake.put("camera", image(5 * S))
    assert turn(bench)
    assert bench.logged == []


@pytest.mark.parametrize(("camera_hz", "limit_hz"), [(30, 10), (30, 20), (10, 10), (5, 10), (9, 7)])
def test_the_rate_is_met_and_never_passed(make, camera_hz, limit_hz):
    bench = make(Camera(max_rate_hz=float(limit_hz)))
    for number in range(10 * camera_hz):
        bench.steady.s = 50.0 + number / camera_hz
        bench.intake.put("camera", image((1 + number) * S))
        if counts(bench).get("waiting"):
            turn(bench)
    answered = counts(bench)["processed"]
    assert min(camera_hz, limit_hz) * 10 - 1 <= answered <= limit_hz * 10 + 1
    assert answered + counts(bench).get("dropped_rate", 0) == 10 * camera_hz


def test_after_a_pause_one_period_is_made_up_for_and_no_more(make):
    bench = make(Camera(max_rate_hz=1.0))
    let_in = []
    for at in (0.0, 100.0, 100.1, 100.2, 101.1):
        bench.steady.s = 50.0 + at
        bench.intake.put("camera", image(S))
        let_in.append(counts(bench).get("waiting", 0))
        if let_in[-1]:
            turn(bench)
    assert let_in == [1, 1, 1, 0, 1]


def test_a_stream_that_is_off_drops_what_arrives_and_what_still_waits(make):
    bench = make()
    bench.intake.put("camera", image(1 * S))
    bench.intake.enabled = False
    bench.intake.put("camera", image(2 * S))
    assert not turn(bench)
    assert counts(bench) == {"received": 2, "dropped_disabled": 2}
    assert bench.intake.newest["camera"].stamp_ns == 2 * S
    bench.intake.enabled = True
    bench.intake.put("camera", image(3 * S))
    assert turn(bench)


def test_stamps_that_begin_again_clear_what_waits_of_that_camera_alone(make):
    bench = make(Camera("top", "top/image"), Camera("wall", "wall/image"))
    bench.intake.put("wall", image(900 * S))
    for second in (900, 901):
        bench.intake.put("top", image(second * S))
    for second in (5, 6, 7):  # a bag that begins again
        bench.intake.put("top", image(second * S))
    assert bench.back == ["top"]
    found = counts(bench, "top")
    # 900 was overwritten, 901 by the first of the new round, which the second made stale
    assert found == {"received": 5, "dropped_mailbox": 3, "dropped_jump": 1, "waiting": 1}
    assert counts(bench, "wall") == {"received": 1, "waiting": 1}


def test_one_odd_stamp_is_no_jump(make):
    bench = make()
    for second in (900, 5, 901, 4, 902, 0, 903):
        bench.intake.put("camera", image(second * S))
    assert bench.back == []


def test_a_clock_that_goes_back_clears_all_cameras(make):
    bench = make(Camera("top", "top/image"), Camera("wall", "wall/image"))
    for name in ("top", "wall"):
        bench.intake.put(name, image(900 * S))
    bench.intake.went_back()
    assert bench.back == [None]
    assert bench.intake.newest == {}
    for name in ("top", "wall"):
        assert counts(bench, name) == {"received": 1, "dropped_jump": 1}
        bench.intake.put(name, image(3 * S))  # stamps of the new time are no second jump
        bench.intake.put(name, image(4 * S))
    assert bench.back == [None]


def test_a_stamp_is_read_from_both_kinds_of_message_and_none_from_rubbish():
    assert message_stamp(image(7 * S + 3)) == 7 * S + 3
    jpeg = CompressedImage(header=Header(stamp=Time(sec=7, nanosec=3)))
    assert message_stamp(jpeg) == 7 * S + 3
    for rubbish in (b"", b"\0", b"\0\1\0\0abc"):
        assert message_stamp(rubbish) is None


def test_rubbish_is_let_in_for_the_worker_to_refuse_and_tells_no_age(make):
    bench = make(Camera(max_age_ms=1.0))
    assert bench.intake.put("camera", b"") is None
    assert turn(bench)
    assert bench.logged == []
