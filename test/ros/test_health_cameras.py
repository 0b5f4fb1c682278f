# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Each camera has a status of its own, and each reason for silence a sentence of its own."""

import pytest

from robollm_core.config import Config, update
from robollm_ros.health import Health
from robollm_ros.status import ERROR, OK, RECENT_S, WARN, CameraFacts, Facts, Mismatch

MISMATCH = Mismatch(1, "QoS mismatch on /a/image: nothing of /driver arrives")


@pytest.fixture
def health(clock):
    made = Health(clock)
    made.restart(("a", "b"))
    made.state = "active"
    return made


def status(health, name="a", publishers=1, bad=None, stale_after_s=2.0, **counts):
    facts = {
        camera: CameraFacts(f"/{camera}/image", stale_after_s, counts, publishers)
        for camera in ("a", "b")
    }
    mismatches = {"/a/image": bad} if bad else {}
    found = health.statuses(Facts(facts, {}, mismatches=mismatches))
    return next(each for each in found if each.name == f"input/{name}")


def test_a_camera_is_missed_after_its_own_time(health, clock):
    clock.now += 1.9
    assert status(health).level == OK
    clock.now += 0.2
    assert status(health).level == ERROR
    assert status(health, stale_after_s=60.0).level == OK
    health.arrived("a")
    assert status(health).level == OK
    assert status(health, "b").level == ERROR
    clock.now += 2.1
    late = status(health)
    assert (late.level, late.message.split()[0]) == (ERROR, "stale")
    assert late.values["silent_s"] == pytest.approx(2.1)
    health.state = "inactive"
    assert (status(health).level, status(health).message) == (OK, "not listening")


def test_the_reasons_for_silence_have_sentences_of_their_own(health, clock):
    clock.now += 3.0
    nobody = status(health, publishers=0).message
    mute = status(health, publishers=1).message
    unfit = status(health, publishers=1, bad=MISMATCH).message
    one_fits = status(health, publishers=2, bad=MISMATCH).message
    assert "nobody publishes /a/image" in nobody
    assert "1 publisher(s), which send nothing that arrives" in mute
    assert unfit == f"no frame yet for 3.0 s: {MISMATCH.text}"
    assert "2 publisher(s)" in one_fits


def test_a_mismatch_beside_a_camera_that_fits_is_a_warning(health):
    health.arrived("a")
    found = status(health, publishers=2, bad=MISMATCH)
    assert (found.level, found.message) == (WARN, MISMATCH.text)
    assert found.values["incompatible_qos"] == 1


def test_the_rate_is_that_of_the_last_seconds(health, clock):
    for _ in range(40):
        clock.now += 0.1
        health.arrived("a")
    assert status(health).values["hz"] == pytest.approx(10.0)
    clock.now += 5.0
    assert status(health).values["hz"] == pytest.approx(40 / 9.0, abs=1e-3)
    for _ in range(300):
        clock.now += 0.05
        health.arrived("a")
    # the slow beginning has left the window
    assert status(health).values["hz"] == pytest.approx(20.0, abs=0.2)
    clock.now += 60.0
    assert status(health).values["hz"] == 0.0
    assert status(health).values["silent_s"] == pytest.approx(60.0)


def test_ages_are_those_that_are_known(health):
    for age in (None, 10.0, 30.0, None):
        health.arrived("a", age)
    values = status(health).values
    assert values["age_p50_ms"] == 20.0
    assert values["age_p99_ms"] == pytest.approx(29.8)
    assert "age_p50_ms" not in status(health, "b").values


def test_ages_from_before_a_jump_are_forgotten(health):
    for camera in ("a", "b"):
        health.arrived(camera, 5e6)
    health.jumped("a")
    assert "age_p50_ms" not in status(health).values
    assert status(health, "b").values["age_p50_ms"] == 5e6
    health.arrived("a", 4.0)
    assert status(health).values["age_p50_ms"] == 4.0
    health.jumped(None)
    assert "age_p50_ms" not in status(health, "b").values


def test_images_that_are_refused_are_an_error_of_their_camera(health, clock):
    health.arrived("a")
    health.refused("a/image", "encoding 'foo' is not supported")
    found = status(health)
    assert found.level == ERROR
    assert found.message == "frames arrive and are refused: encoding 'foo' is not supported"
    assert "refused" not in status(health, "b").message
    clock.now += 0.1
    health.arrived("a")
    health.answered("a", {"total": 1.0})
    assert status(health).level == OK


def test_a_later_answer_ends_a_refusal_and_an_earlier_one_does_not(health, clock):
    health.arrived("a")
    health.answered("a", {"total": 1.0})
    clock.now += 0.1
    health.refused("a/image", "bad")
    assert status(health).level == ERROR
    clock.now += 0.1
    health.answered("a", {"total": 1.0})
    assert status(health).level == OK


def test_a_refusal_is_forgotten_after_a_while(health, clock):
    health.refused("a/image", "bad")
    clock.now += RECENT_S
    health.arrived("a")
    assert status(health).level == OK


@pytest.mark.parametrize(
    "topic", ["tote/image", "/cell/tote/image", "image", "camera", "/cell/tote/image/"]
)
def test_a_camera_is_meant_by_the_end_of_its_topic_or_by_its_name(clock, topic):
    health = Health(clock)
    health.state = "active"
    health.restart(("camera", "other"))
    health.refused(topic, "bad")
    cameras = {
        "camera": CameraFacts("/cell/tote/image", 2.0, {}, 1),
        "other": CameraFacts("/cell/wall/picture", 2.0, {}, 1),
    }
    found = {each.name: each for each in health.statuses(Facts(cameras, {}))}
    assert (found["input/camera"].level == ERROR) == (not topic.endswith("/"))
    assert found["input/other"].level == OK


def test_frames_that_are_all_too_old_are_a_warning(health):
    health.arrived("a", 900.0)
    found = status(health, received=9, processed=0, dropped_age=9)
    assert found.level == WARN
    assert "clocks of camera and node" in found.message
    assert status(health, received=9, processed=1, dropped_age=8).level == OK


def test_a_stream_that_is_switched_off_is_said_to_be(health):
    health.config = update(Config(), {"input.enabled": False})
    health.arrived("a")
    found = status(health, received=1, dropped_disabled=1)
    assert (found.level, found.message) == (OK, "frames arrive; the stream is switched off")


def test_counts_of_the_worker_are_shown_as_they_are(health):
    counts = {"received": 9, "processed": 3, "dropped_mailbox": 4, "dropped_age": 1,
              "dropped_rate": 1, "decode_errors": 0}  # fmt: skip
    values = status(health, **counts).values
    assert {name: values[name] for name in counts} == counts
    assert values["topic"] == "/a/image"
