# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Health adds up: levels, percentiles, refusals, and the sentences that say what to do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from robollm_core.config import Config, update
from robollm_core.types import Frame, Manifest, ManifestItem
from robollm_ros.health import MANIFEST, QUIET_S, Health
from robollm_ros.status import ERROR, OK, RECENT_S, WARN, CameraFacts, Facts, Mismatch, PickFacts

CONFIG = update(
    Config(), {"health.budget_ms": 100.0, "health.error_after": 3, "input.stale_after_s": 2.0}
)
MS = {"total": 10.0}


@pytest.fixture
def health(clock):
    made = Health(clock)
    made.config = CONFIG
    return made


def camera(topic="/image", publishers=1, **counts):
    return CameraFacts(topic, 2.0, {"received": 0, "processed": 0, **counts}, publishers)


def by_name(health, cameras=None, **facts):
    known = Facts(cameras or {"camera": camera()}, facts.pop("listeners", {"masks": 2}), **facts)
    return {status.name: status for status in health.statuses(known)}


def activate(health, *cameras):
    health.restart(cameras or ("camera",))
    health.state = "active"


def test_a_new_node_is_not_well_and_says_why(health):
    found = by_name(health)
    assert list(found) == [
        "lifecycle", "model", "input/camera", "latency", "gallery", "pick", "output", "errors",
        "manifest",
    ]  # fmt: skip
    assert found["output"].values == {"masks": 2}
    assert found["lifecycle"].level == WARN
    assert found["lifecycle"].message == "unconfigured"
    assert (found["model"].level, found["model"].message) == (WARN, "not loaded")
    assert found["input/camera"].level == OK
    assert found["manifest"].level == WARN
    assert (found["pick"].level, found["pick"].message) == (OK, "not listening")


def test_a_transition_that_takes_long_says_what_it_does_and_for_how_long(health, clock):
    health.state, health.doing = "configuring", "building engine"
    clock.now += 35.2
    status = by_name(health)["lifecycle"]
    assert (status.level, status.message) == (WARN, "configuring: building engine, 35 s")
    health.state, health.doing = "active", ""
    clock.now += 2.0
    status = by_name(health)["lifecycle"]
    assert (status.level, status.message) == (OK, "active")
    assert (status.values["uptime_s"], status.values["state_s"]) == (37.2, 2.0)


def test_a_transition_that_failed_says_why_until_one_succeeds(health):
    health.trouble = "cannot configure: models/x.onnx is missing"
    status = by_name(health)["lifecycle"]
    assert status.level == ERROR
    assert status.message == "unconfigured: cannot configure: models/x.onnx is missing"
    health.trouble = ""
    assert by_name(health)["lifecycle"].message == "unconfigured"


def test_percentiles_are_those_of_numpy(health):
    times = np.random.default_rng(0).uniform(20, 90, 200)
    for value in times:
        health.answered("camera", {"total": value, "segment": value / 2})
    latency = by_name(health)["latency"]
    assert latency.level == OK
    for percent in (50, 90, 99):
        expected = np.percentile(times, percent)
        assert latency.values[f"total_p{percent}_ms"] == pytest.approx(expected, abs=1e-3)
        assert latency.values[f"segment_p{percent}_ms"] == pytest.approx(expected / 2, abs=1e-3)
    assert latency.values["total_max_ms"] == pytest.approx(times.max(), abs=1e-3)
    assert health.processed == 200


def test_one_slow_frame_is_a_warning_and_so_many_in_a_row_are_an_error(health):
    for _ in range(20):
        health.answered("camera", MS)
    levels = []
    for total in (150.0, 150.0, 150.0, 150.0, 10.0):
        health.answered("camera", {"total": total})
        levels.append(by_name(health)["latency"].level)
    # error_after is 3; p90 of the window is over the budget as well after 4 of 25
    assert levels == [WARN, WARN, ERROR, ERROR, WARN]
    for _ in range(30):
        health.answered("camera", MS)
    assert by_name(health)["latency"].level == OK


def test_the_error_names_the_row_the_budget_and_what_to_do(health):
    for _ in range(4):
        health.answered("camera", {"total": 150.0})
    message = by_name(health)["latency"].message
    assert message.startswith("4 frames in a row took longer than the budget of 100 ms")
    assert "health.budget_ms" in message


def test_a_budget_changed_live_counts_from_then_on(health):
    health.config = update(CONFIG, {"health.budget_ms": 5.0})
    health.answered("camera", MS)
    assert by_name(health)["latency"].level == WARN


def test_a_refusal_is_logged_once_in_a_while_for_each_topic(health, clock):
    assert health.refused("image", "no step")
    assert not health.refused("image", "no step")
    assert health.refused("container/manifest", "no JSON")
    clock.now += QUIET_S
    assert health.refused("image", "no step")
    status = by_name(health)["errors"]
    assert status.level == ERROR
    assert status.message == "image: no step"
    assert (status.values["image"], status.values["container/manifest"]) == (3, 1)
    clock.now += RECENT_S
    assert by_name(health)["errors"].level == OK


def test_networks_that_fail_in_a_row_are_an_error_of_the_model(health):
    health.model = {"segmentation": "x"}
    levels = []
    for _ in range(3):
        health.failed("image", "scores hold NaN")
        levels.append(by_name(health)["model"].level)
    assert levels == [WARN, WARN, ERROR]
    assert "failed 3 times in a row: image: scores hold NaN" in by_name(health)["model"].message
    assert health.errors["image"] == 3
    health.answered("camera", MS)
    assert by_name(health)["model"].level == OK


def test_a_pick_that_was_looked_at_ends_a_row_of_failures(health):
    # a cell that answers picks alone has no frames that could end it
    for _ in range(2):
        health.failed("pick/event", "NaN")
    health.worked()
    health.failed("pick/event", "NaN")
    assert health.failures == 1
    assert health.processed == 0


def test_what_the_watchdog_found_stays_until_the_next_activation(health):
    health.model = {"segmentation": "x"}
    health.fatal = "the networks hang"
    status = by_name(health, busy=("image", 12.0))["model"]
    assert (status.level, status.message) == (ERROR, "the networks hang")
    assert (status.values["busy"], status.values["busy_s"]) == ("image", 12.0)
    health.restart()
    assert by_name(health)["model"].level == OK


def test_a_new_size_is_news_once_and_for_its_camera(health):
    small, large = (np.zeros((4, 6, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))
    assert health.described("a", Frame(small, camera="cam_a"), "rgb8") == ""
    assert health.described("a", Frame(small, camera="cam_a"), "rgb8") == ""
    assert health.described("b", Frame(large, camera="cam_b"), "rgb8") == ""
    assert "from 6x4 to 9x8" in health.described("a", Frame(large, camera="cam_a"), "bgr8")
    assert health.described("a", Frame(large, camera="cam_a"), "bgr8") == ""
    values = by_name(health, {"a": camera("/a/image")})["input/a"].values
    assert (values["size"], values["encoding"], values["frame_id"]) == ("9x8", "bgr8", "cam_a")


def test_restart_forgets_the_counts_but_not_the_model(health):
    health.model = {"segmentation": "x"}
    health.answered("camera", MS)
    health.refused("image", "bad")
    health.restart()
    assert health.processed == 0
    found = by_name(health)
    assert found["errors"].values == {"last": ""}
    assert found["latency"].values == {"over_budget_in_a_row": 0}
    assert found["model"].level == OK


def test_the_manifest_in_force_is_named(health):
    manifest = Manifest("T-7", 4, (ManifestItem("A"), ManifestItem("B")), sha256="f" * 64)
    status = by_name(health, manifest=manifest)["manifest"]
    assert status.level == OK
    assert status.values == {
        "container_id": "T-7", "version": 4, "items": 2, "sha256": "f" * 12,
    }  # fmt: skip


def test_a_refused_manifest_is_told_of_until_one_is_accepted(health, clock):
    manifest = Manifest("T-7", 4, (ManifestItem("A"),))
    health.refused(MANIFEST, "no JSON.")
    found = by_name(health)["manifest"]
    assert found.level == WARN
    assert found.message == "refused: no JSON; none yet; instances are found but not named"
    clock.now += 100 * RECENT_S
    health.refused("image", "no step")
    health.restart()
    found = by_name(health, manifest=manifest)["manifest"]
    assert (found.level, found.message) == (WARN, "refused: no JSON; T-7 v4 stays in force")
    assert found.values["items"] == 1
    health.accepted()
    found = by_name(health, manifest=manifest)["manifest"]
    assert (found.level, found.message) == (OK, "1 items")


def gallery(embedded, missing=(), **more):
    """As Identifier.gallery_status tells it."""
    return {
        "container_id": "T-7", "container_version": 4, "products": embedded + len(missing),
        "embedded": embedded, "from_file": 0, "references": embedded, "missing": [
            {"item_id": item, "reason": "no such file"} for item in missing
        ], "missing_count": len(missing), "unreadable": 0, "file": "", "file_items": 0,
        "sha256": "a" * 64, "writable": False, "model": "b" * 64, "note": "", "version": 0, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "level", "said"),
    [
        (gallery(3), OK, "3 products embedded"),
        (gallery(0), OK, "nothing to embed yet"),
        (gallery(2, ["B0"]), WARN, "1 of 3 products cannot be matched, for want of a reference"),
        (gallery(0, ["A0", "B0"]), ERROR, "2 of 2 products cannot be matched"),
        (gallery(3, note="the file is of another network"), WARN, "the file is of another"),
        (gallery(3, unreadable=2), WARN, "2 reference images cannot be read"),
        (None, OK, "not loaded"),
    ],
)
def test_a_gallery_says_which_products_cannot_be_matched(health, status, level, said):
    found = by_name(health, gallery=status)["gallery"]
    assert found.level == level
    assert found.message.startswith(said)


def test_missing_products_are_listed_with_a_reason(health):
    found = by_name(health, gallery=gallery(2, ["B0", "C0"]))["gallery"]
    assert found.message.endswith("B0: no such file")
    assert found.values["missing"] == "B0, C0"
    assert (found.values["sha256"], found.values["model"]) == ("a" * 12, "b" * 12)


@pytest.mark.parametrize(
    ("recent", "level", "said"),
    [
        ({"done": 4}, OK, "9 answered"),
        ({"done": 4, "cancelled": 1}, OK, "9 answered"),
        ({"timeout": 2}, WARN, "2 ended in timeout in the last minute"),
        ({"timeout": 1, "error": 3}, ERROR, "3 failed in the last minute"),
    ],
)
def test_picks_that_end_badly_are_told_of_for_a_minute(health, recent, level, said):
    counts = {"requests": 12, "done": 9, "pending": 1, "timeout": 2}
    status = by_name(health, picks=PickFacts(counts, recent, [4.0, 8.0]))["pick"]
    assert status.level == level
    assert status.message.startswith(said)
    assert status.values["answer_p50_ms"] == 6.0
    assert status.values["requests"] == 12


def test_a_listener_that_cannot_hear_makes_the_output_a_warning(health):
    bad = {"/perception/detections": Mismatch(1, "QoS mismatch on /perception/detections")}
    found = by_name(health, mismatches=bad)
    assert found["output"].level == WARN
    assert "/perception/detections" in found["output"].message
    assert found["output"].values == {"masks": 2}
    assert found["input/camera"].level == OK


def test_a_long_silence_of_the_clock_of_the_world_changes_nothing(clock):
    # ages come from the clock that is given, never from the wall
    health = Health(clock)
    activate(health)
    assert by_name(health)["input/camera"].message == "no frame yet"


def test_threads_that_tell_at_once_lose_nothing():
    health = Health()
    activate(health, "a", "b")

    def tell(name):
        for number in range(400):
            health.arrived(name, 1.0)
            health.answered(name, {"total": 1.0, f"stage{number % 40}": 2.0})
            health.refused(f"{name}/image", "bad")

    with ThreadPoolExecutor(4) as pool:
        told = [pool.submit(tell, name) for name in "abab"]
        while not all(each.done() for each in told):
            by_name(health, {name: camera(f"/{name}/image") for name in "ab"})
    for each in told:
        each.result()
    assert health.processed == 1600
    assert health.errors == {"a/image": 800, "b/image": 800}
