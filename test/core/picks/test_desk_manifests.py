# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""An event keeps its manifest, and a post_pick what its pre_pick has seen."""

import pytest
from pick_bench import TORN, Bench, exact, manifest

from robollm_core.picks.desk import KEPT_PICKS


@pytest.fixture
def bench():
    made = Bench()
    made.manifests.put(manifest(7))
    return made


@pytest.mark.parametrize(
    "asked, bound",
    [
        ({}, (7, "newest")),
        ({"container_id": "T-1"}, (7, "newest")),
        ({"container_id": "T-1", "manifest_version": 6}, (6, "version")),
        ({"container_id": "T-1", "manifest_version": 9}, (7, "newest")),
        ({"container_id": "T-2"}, (0, "none")),
        ({"container_id": "T-2", "manifest_version": 7}, (0, "none")),
    ],
)
def test_an_event_is_bound_to_the_manifest_it_names(asked, bound):
    bench = Bench()
    bench.manifests.put(manifest(6))
    bench.manifests.put(manifest(7))
    bench.ask(**asked)
    bench.manifests.put(manifest(8))  # changes nothing for an event that is on its way
    bench.show("top", 1)
    version = bench.jobs[0].manifest.version if bench.jobs[0].manifest else 0
    bench.work(tea=0.5)
    told = bench.status["manifest"]
    assert (version, told["by"]) == (told["version"], told["by"]) == bound


def test_an_event_waits_for_its_manifest_when_one_is_on_its_way(bench):
    bench.desk.coming = lambda: True
    bench.show("top", 1)
    bench.ask(views=[exact("top", 1)], container_id="T-1", manifest_version=8, deadline_ms=800)
    assert bench.jobs == []
    bench.wait(100)
    assert bench.jobs == []
    bench.manifests.put(manifest(8))
    bench.do(bench.desk.manifest_came())
    assert bench.jobs[0].manifest.version == 8
    bench.work(tea=0.5)
    assert bench.status["manifest"] | {"sha256": ""} == {
        "container_id": "T-1", "version": 8, "sha256": "", "by": "version",
    }  # fmt: skip


def test_half_of_its_time_an_event_waits_for_its_manifest_and_then_takes_the_newest(bench):
    bench.desk.coming = lambda: True
    bench.show("top", 1)
    bench.ask(views=[exact("top", 1)], container_id="T-1", manifest_version=8, deadline_ms=800)
    assert bench.desk.next_due() == pytest.approx(bench.now + 0.4)
    bench.wait(399)
    assert bench.jobs == []
    bench.wait(1)
    assert bench.jobs[0].manifest.version == 7
    bench.manifests.put(manifest(8))
    assert bench.desk.manifest_came() == []  # too late


def test_a_frame_that_comes_while_the_manifest_is_waited_for_is_kept_for_it(bench):
    bench.desk.coming = lambda: True
    bench.ask(views=[exact("top", 1), exact("wall", 1)], container_id="T-2")
    bench.show("top", 1)
    bench.show("wall", 1)
    assert bench.jobs == []
    bench.manifests.put(manifest(1, "T-2"))
    bench.do(bench.desk.manifest_came())
    assert [job.index for job in bench.jobs] == [0, 1]
    assert {job.manifest.container_id for job in bench.jobs} == {"T-2"}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"container_id": "T-1"},
        {"container_id": "T-1", "manifest_version": 7},
    ],
)
def test_an_event_whose_manifest_is_there_waits_for_none(bench, asked):
    bench.desk.coming = lambda: True
    bench.show("top", 1)
    bench.ask(**asked)
    assert bench.jobs[0].manifest.version == 7


def pick(bench, event_id, phase, camera="top", ms=1, defect=None, **scores):
    bench.ask(event_id, phase=phase, views=[exact(camera, ms)])
    bench.show(camera, ms)
    bench.work(**({"defect": defect} if defect else {}), **scores)
    return bench.last


def test_after_the_grasp_the_views_before_it_have_a_say_on_the_item_but_not_on_defects(bench):
    pick(bench, "e-1", "pre_pick", tea=0.2, mug=0.6, defect=TORN)
    answer = pick(bench, "e-2", "post_pick", "arm", tea=0.5, mug=0.4)
    assert answer.identity.item_id == "mug"
    assert answer.identity.candidates[0][1] == pytest.approx(0.5)
    assert answer.defect.label == "nominal"
    assert len(answer.views) == 1
    assert bench.status["pre_pick"] == {"event_id": "e-1", "views": 1}


def test_after_the_grasp_the_manifest_before_it_holds_unless_one_is_named(bench):
    pick(bench, "e-1", "pre_pick", tea=0.5)
    bench.manifests.put(manifest(8))
    pick(bench, "e-2", "post_pick", "arm", tea=0.5)
    assert (bench.status["manifest"]["version"], bench.status["manifest"]["by"]) == (7, "pre_pick")
    bench.ask("e-3", phase="post_pick", container_id="T-1", manifest_version=8)
    assert bench.told[-1].status["manifest"]["version"] == 8


@pytest.mark.parametrize("end", ["cancel", "clear", "another pick"])
def test_views_of_a_pick_that_was_given_up_have_no_say(bench, end):
    pick(bench, "e-1", "pre_pick", tea=0.2, mug=0.9)
    if end == "cancel":
        bench.ask("c-1", phase="cancel")
    if end == "clear":
        bench.do(bench.desk.clear("x"))
    pick_id = "P-2" if end == "another pick" else "P-1"
    bench.ask("e-2", pick_id, "post_pick", views=[exact("arm", 1)])
    bench.show("arm", 1)
    bench.work(tea=0.5, mug=0.4)
    assert bench.last.identity.item_id == "tea"
    assert bench.status["pre_pick"] is None


def test_so_many_picks_are_kept_for_what_follows(bench):
    for number in range(KEPT_PICKS + 1):
        bench.ask(f"e-{number}", f"P-{number}", views=[exact("top", number)])
        bench.show("top", number)
        bench.work(tea=0.5)
    bench.ask("x-0", "P-0", "post_pick", views=[exact("arm", 0)], deadline_ms=1)
    bench.wait(1)
    assert bench.status["pre_pick"] is None
    bench.ask("x-1", "P-1", "post_pick", views=[exact("arm", 0)], deadline_ms=1)
    bench.wait(1)
    assert bench.status["pre_pick"]["event_id"] == "e-1"
