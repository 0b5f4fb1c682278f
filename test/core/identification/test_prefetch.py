# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests come into force in the background, the newest wins, and each refusal is told."""

import json
import threading
import time

import pytest

from robollm_core.errors import RuntimeFailedError
from robollm_core.identification import prefetch
from robollm_core.identification.prefetch import Prefetcher
from robollm_core.types import Manifest

TIMEOUT_S = 10


class Stage:
    """Embeds nothing, and takes as long as it is told."""

    def __init__(self):
        self.prepared, self.slow, self.broken = [], {}, set()
        self.entered = {}

    def hold(self, *versions):
        for version in versions:
            self.slow[version], self.entered[version] = threading.Event(), threading.Event()

    def prepare(self, manifest):
        self.prepared.append(manifest.version)
        if manifest.version in self.slow:
            self.entered[manifest.version].set()
            assert self.slow[manifest.version].wait(TIMEOUT_S)
        if manifest.version in self.broken:
            raise RuntimeFailedError("the engine failed")


class Cell:
    def __init__(self):
        self.stage, self.ready, self.refused = Stage(), [], []
        self.prefetcher = Prefetcher(
            lambda: self.stage, lambda m: self.ready.append(m.version), self.refused.append, "topic"
        )

    def tell(self, version, container="T"):
        tree = {"container_id": container, "version": version, "products": []}
        self.prefetcher.offer(json.dumps(tree))

    def wait(self, done, what):
        end = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < end, f"waited {TIMEOUT_S} s for {what}"
            time.sleep(0.002)

    def idle(self):
        self.wait(lambda: not self.prefetcher.busy, "the end of the work")


@pytest.fixture
def cell():
    made = Cell()
    made.prefetcher.start()
    yield made
    for event in made.stage.slow.values():
        event.set()
    made.prefetcher.stop()


def test_a_manifest_is_ready_once_its_references_are_embedded(cell):
    cell.stage.hold(1)
    cell.tell(1)
    assert cell.stage.entered[1].wait(TIMEOUT_S)
    assert cell.prefetcher.busy
    assert cell.prefetcher.pending.version == 1
    assert cell.ready == []
    cell.stage.slow[1].set()
    cell.idle()
    assert cell.ready == [1]
    assert cell.prefetcher.pending is None


def test_of_the_versions_that_wait_only_the_newest_is_embedded(cell):
    cell.stage.hold(1)
    cell.tell(1)
    assert cell.stage.entered[1].wait(TIMEOUT_S)
    for version in range(2, 20):
        cell.tell(version)
    cell.wait(lambda: not cell.prefetcher._messages, "the reading")
    cell.stage.slow[1].set()
    cell.idle()
    assert cell.stage.prepared == [1, 19]
    assert cell.ready == [1, 19]
    assert cell.refused == []


def test_every_refusal_is_told_also_while_something_is_embedded(cell):
    cell.stage.hold(3)
    cell.tell(3)
    assert cell.stage.entered[3].wait(TIMEOUT_S)
    cell.prefetcher.offer("{no JSON")
    cell.tell(2)
    cell.prefetcher.offer(b"[]")
    cell.wait(lambda: len(cell.refused) == 3, "three refusals")
    first, second, third = map(str, cell.refused)
    assert first.startswith("topic is not JSON")
    assert "version 3, got the older 2" in second
    assert third.startswith("topic: $: [] is not of type 'object'")
    assert cell.ready == []
    cell.stage.slow[3].set()
    cell.idle()
    assert cell.ready == [3]


def test_what_the_network_fails_on_may_be_sent_again_and_nothing_older(cell):
    cell.tell(4)
    cell.idle()
    cell.stage.broken = {6}
    cell.tell(6)
    cell.idle()
    assert [str(error) for error in cell.refused] == ["the engine failed"]
    cell.tell(3)
    cell.idle()
    assert "version 4, got the older 3" in str(cell.refused[1])
    cell.stage.broken = set()
    cell.tell(6)
    cell.idle()
    assert cell.ready == [4, 6]


def test_a_manifest_that_was_read_already_is_taken_too(cell):
    cell.prefetcher.offer(Manifest("T", 8, ()))
    cell.idle()
    assert cell.ready == [8]


def test_what_is_offered_before_the_start_waits_for_it():
    cell = Cell()
    cell.tell(1)
    time.sleep(0.02)
    assert cell.ready == []
    cell.prefetcher.start()
    cell.idle()
    assert cell.ready == [1]
    cell.prefetcher.stop()


def test_what_is_embedded_at_the_stop_comes_into_force_at_the_next_start(cell):
    cell.stage.hold(1)
    cell.tell(1)
    assert cell.stage.entered[1].wait(TIMEOUT_S)
    cell.prefetcher.stop(timeout_s=0.05)
    cell.stage.slow[1].set()
    cell.wait(lambda: cell.prefetcher.pending is None, "the end of the embedding")
    assert cell.ready == []
    cell.prefetcher.start()
    cell.idle()
    assert cell.ready == [1]


def test_a_stop_does_not_wait_for_a_network_that_hangs(cell):
    cell.stage.hold(1)
    cell.tell(1)
    assert cell.stage.entered[1].wait(TIMEOUT_S)
    begin = time.monotonic()
    cell.prefetcher.stop(timeout_s=0.05)
    assert time.monotonic() - begin < 1
    cell.prefetcher.start()
    cell.tell(2)  # a new thread serves it
    cell.wait(lambda: cell.ready == [2], "version 2")


def test_threads_do_not_pile_up(cell):
    before = threading.active_count()
    for _ in range(5):
        cell.prefetcher.stop()
        cell.prefetcher.start()
    assert threading.active_count() == before


def test_a_flood_of_messages_is_bounded_and_told(monkeypatch):
    monkeypatch.setattr(prefetch, "MAX_WAITING", 3)
    cell = Cell()
    for version in range(5):
        cell.tell(version)
    assert ["more than 3 messages" in str(error) for error in cell.refused] == [True, True]
    cell.prefetcher.start()
    cell.idle()
    assert cell.ready[-1] == 4
    cell.prefetcher.stop()


def test_a_reload_is_done_between_two_manifests_and_says_what_came_of_it(cell, monkeypatch):
    class Reloaded(Stage):
        def reload(self):
            return {"version": 3}

    monkeypatch.setattr(prefetch, "Identifier", Reloaded)
    cell.stage = Reloaded()
    assert cell.prefetcher.reload().result(TIMEOUT_S) == {"version": 3}
    cell.stage.reload = lambda: [][1]
    with pytest.raises(IndexError):
        cell.prefetcher.reload().result(TIMEOUT_S)
    cell.tell(1)
    cell.idle()
    assert cell.ready == [1]
    cell.prefetcher.stop()
    assert cell.prefetcher.reload().cancelled()
