# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Health adds up: rates, ages, percentiles, refusals."""

import numpy as np
import pytest

from robollm_core.config import Config, update
from robollm_core.types import Frame, Manifest, ManifestItem
from robollm_ros.health import ERROR, MANIFEST, OK, QUIET_S, RECENT_S, WARN, Health

CONFIG = update(Config(), {"input.stale_after_s": 2.0, "health.budget_ms": 100.0})


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def by_name(health, manifest=None, received=0, dropped=0):
    counts = {"received": received, "dropped": dropped}
    return {
        status.name: status for status in health.statuses(CONFIG, manifest, counts, {"masks": 2})
    }


def test_a_new_node_is_not_well_and_says_why(clock):
    found = by_name(Health(clock))
    assert list(found) == [
        "lifecycle", "model", "input", "latency", "output", "errors", "manifest",
    ]  # fmt: skip
    assert found["output"].values == {"masks": 2}
    assert found["lifecycle"].level == WARN
    assert found["lifecycle"].message == "unconfigured"
    assert (found["model"].level, found["model"].message) == (WARN, "not loaded")
    assert found["input"].level == OK
    assert found["manifest"].level == WARN


def test_an_active_node_misses_its_frames(clock):
    health = Health(clock)
    health.state = "active"
    health.restart()
    clock.now += 1.9
    assert by_name(health)["input"].level == OK
    clock.now += 0.2
    assert by_name(health)["input"].level == ERROR
    assert "no frame yet" in by_name(health)["input"].message
    health.arrived()
    assert by_name(health, received=1)["input"].level == OK
    clock.now += 2.1
    late = by_name(health, received=1)["input"]
    assert (late.level, late.message.split()[0]) == (ERROR, "stale")
    assert late.values["age_s"] == pytest.approx(2.1)
    health.state = "inactive"
    assert by_name(health)["input"].level == OK


def test_the_rate_is_that_since_activation(clock):
    health = Health(clock)
    health.state = "active"
    health.restart()
    clock.now += 4.0
    assert by_name(health, received=10, dropped=3)["input"].values["hz"] == 2.5


def test_percentiles_are_those_of_numpy_and_the_budget_is_watched(clock):
    health = Health(clock)
    times = np.random.default_rng(0).uniform(20, 90, 200)
    for value in times:
        health.answered({"total": value, "segment": value / 2})
    latency = by_name(health)["latency"]
    assert latency.level == OK
    for percent in (50, 90, 99):
        expected = np.percentile(times, percent)
        assert latency.values[f"total_p{percent}_ms"] == pytest.approx(expected, abs=1e-3)
        assert latency.values[f"segment_p{percent}_ms"] == pytest.approx(expected / 2, abs=1e-3)
    for _ in range(100):
        health.answered({"total": 150.0})
    latency = by_name(health)["latency"]
    assert latency.level == WARN
    assert "budget of 100 ms" in latency.message
    assert health.processed == 300


def test_a_refusal_is_logged_once_in_a_while_for_each_topic(clock):
    health = Health(clock)
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


def test_a_new_size_is_news_once():
    health = Health()
    small, large = (np.zeros((4, 6, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))
    assert health.described(Frame(small, camera="a")) == ""
    assert health.described(Frame(small, camera="a")) == ""
    assert "from 6x4 to 9x8" in health.described(Frame(large, camera="a"))
    assert health.described(Frame(large, camera="a")) == ""
    assert by_name(health)["input"].values["width"] == 9


def test_restart_forgets_the_counts_but_not_the_model(clock):
    health = Health(clock)
    health.model = {"segmentation": "x"}
    health.answered({"total": 1.0})
    health.refused("image", "bad")
    health.restart()
    assert health.processed == 0
    found = by_name(health)
    assert found["errors"].values["image"] == 0
    assert found["latency"].values == {}
    assert found["model"].level == OK


def test_the_manifest_in_force_is_named(clock):
    manifest = Manifest("T-7", 4, (ManifestItem("A"), ManifestItem("B")), sha256="f" * 64)
    status = by_name(Health(clock), manifest)["manifest"]
    assert status.level == OK
    assert status.values == {
        "container_id": "T-7", "version": 4, "items": 2, "sha256": "f" * 12,
    }  # fmt: skip


def test_a_refused_manifest_is_told_of_until_one_is_accepted(clock):
    manifest = Manifest("T-7", 4, (ManifestItem("A"),))
    health = Health(clock)
    health.refused(MANIFEST, "no JSON.")
    found = by_name(health)["manifest"]
    assert found.level == WARN
    assert found.message == "refused: no JSON; none yet; instances are found but not named"
    clock.now += 100 * RECENT_S
    health.refused("image", "no step")
    health.restart()
    found = by_name(health, manifest)["manifest"]
    assert (found.level, found.message) == (WARN, "refused: no JSON; T-7 v4 stays in force")
    assert found.values["items"] == 1
    health.accepted()
    found = by_name(health, manifest)["manifest"]
    assert (found.level, found.message) == (OK, "1 items")
