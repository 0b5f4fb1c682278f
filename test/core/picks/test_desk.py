# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The desk takes pick events on, has their views looked at, and answers."""

import pytest
from pick_bench import TORN, Bench, event_text, exact, manifest

from robollm_core.config import Config, update
from robollm_core.picks.desk import KEPT_ANSWERS, MAX_PENDING
from robollm_core.picks.fuse import UNKNOWN


@pytest.fixture
def bench():
    made = Bench()
    made.manifests.put(manifest(7))
    return made


def test_an_event_whose_frame_is_there_is_answered_when_it_was_looked_at(bench):
    bench.show("top", 100)
    bench.ask(views=[exact("top", 100)], container_id="T-1", manifest_version=7)
    assert [one.status["state"] for one in bench.told] == ["accepted"]
    assert not bench.told[0].status["final"]
    assert bench.answers == []
    bench.now += 0.05
    job = bench.work(tea=0.5, mug=0.3)
    assert (job.frame.payload, job.manifest.version) == ("top100", 7)
    answer, status = bench.last, bench.status
    assert (answer.event_id, answer.pick_id, answer.state) == ("e-1", "P-1", "done")
    assert answer.identity.item_id == "tea"
    assert answer.defect.label == "nominal"
    assert answer.stamp_ns == 100_000_000
    assert (status["state"], status["final"], status["reason"]) == ("done", True, "")
    assert status["manifest"] == {
        "container_id": "T-1", "version": 7, "sha256": "sha-T-1-7", "by": "version",
    }  # fmt: skip
    assert status["identity"]["candidates"][0]["similarity"] == 0.5
    assert status["identity"]["margin"] == pytest.approx(0.2)
    assert 0.8 < status["identity"]["candidates"][0]["score"] < 0.9
    assert (status["views_used"], status["views_missing"]) == (["top"], [])
    assert status["views"][0]["ms"]["seen"] == pytest.approx(50)
    assert status["answer_ms"] == pytest.approx(50)
    assert status["models"] == {"defects": "d"}


def test_an_event_waits_for_its_views_and_each_is_looked_at_at_once(bench):
    bench.ask(views=[exact("top", 100), exact("wall", 200), exact("arm", 300)])
    assert bench.told[0].status["state"] == "waiting_views"
    for camera, ms in (("top", 100), ("wall", 200), ("arm", 300)):
        assert bench.answers == []
        bench.show(camera, ms)
        assert len(bench.jobs) == 1
        bench.work(tea=0.5)
    assert bench.status["views_used"] == ["top", "wall", "arm"]
    assert len(bench.last.views) == len(bench.last.identities) == 3


def test_at_the_deadline_the_views_that_came_answer(bench):
    bench.ask(views=[exact("top", 100), exact("wall", 200)], deadline_ms=800)
    bench.show("top", 100)
    bench.work(tea=0.5)
    bench.wait(799)
    assert bench.answers == []
    bench.wait(1)
    assert (bench.last.state, bench.last.identity.item_id) == ("done", "tea")
    assert bench.status["views_missing"] == ["wall"]
    assert bench.status["reason"] == "answered at the deadline."


def test_without_enough_views_the_deadline_is_a_timeout_and_the_answer_unknown(bench):
    bench.ask(views=[exact("top", 100), exact("wall", 200)], min_views=2, deadline_ms=800)
    bench.show("top", 100)
    bench.work(tea=0.5, defect=TORN)
    bench.wait(800)
    assert bench.last.state == "timeout"
    assert bench.last.identity.hypotheses() == ((UNKNOWN, 0.0),)
    assert bench.last.defect is None
    assert bench.status["reason"] == "1 of 2 needed views. wall: no frame came"
    # what was seen is told all the same
    assert bench.last.identities[0].item_id == "tea"


def test_a_worker_that_hangs_does_not_hold_the_deadline_up(bench):
    bench.show("top", 100)
    bench.ask(deadline_ms=800)
    bench.wait(800)
    assert bench.last.state == "timeout"
    assert "not looked at in time" in bench.status["reason"]
    assert not bench.desk.wanted(bench.jobs[0])
    assert bench.desk.seen(bench.jobs[0], None, None) == []
    assert bench.desk.failed(bench.jobs[0], "late") == []
    assert len(bench.answers) == 1


def test_the_settings_hold_for_events_that_say_nothing_and_may_change():
    bench = Bench(picks__deadline_ms=100.0, picks__min_views=2)
    bench.ask()
    bench.wait(100)
    assert (bench.status["deadline_ms"], bench.status["min_views"]) == (100, 2)
    bench.desk.config = update(Config(), {"picks.deadline_ms": 50.0, "picks.min_views": 1})
    bench.ask("e-2")
    bench.wait(50)
    assert (bench.status["deadline_ms"], bench.status["min_views"]) == (50, 1)


def test_the_desk_says_when_it_wants_to_be_asked_next(bench):
    assert bench.desk.next_due() is None
    bench.ask(deadline_ms=800)
    bench.ask("e-2", views=[exact("top", 0, match="nearest", tol_ms=30)], deadline_ms=500)
    assert bench.desk.next_due() == pytest.approx(bench.now + 0.030)
    bench.wait(31)
    assert bench.desk.next_due() == pytest.approx(bench.now + 0.469)
    bench.wait(800)
    assert bench.desk.next_due() is None


def test_a_frame_just_before_the_time_is_taken_when_none_comes_behind_it(bench):
    bench.show("top", 90)
    bench.ask(views=[exact("top", 100, match="nearest", tol_ms=30)])
    assert bench.jobs == []
    bench.wait(30)
    assert bench.jobs[0].frame.payload == "top90"


def test_a_view_that_was_overtaken_is_not_waited_for(bench):
    bench.ask(views=[exact("top", 100), exact("wall", 100)])
    bench.show("wall", 100)
    bench.work(tea=0.5)
    bench.show("top", 200)
    assert bench.last.state == "done"
    assert bench.status["views"][0]["state"] == "lost"
    assert bench.status["views_missing"] == ["top"]


def test_an_event_of_which_nothing_can_come_is_a_timeout_at_once(bench):
    bench.show("top", 200)
    bench.ask(views=[exact("top", 100)])
    assert (bench.last.state, bench.last.identity.item_id) == ("timeout", "")
    assert "newer frames came" in bench.status["reason"]


def test_a_broken_view_leaves_the_others_and_fails_the_event_without_them(bench):
    bench.show("top", 100)
    bench.show("wall", 100)
    bench.ask(views=[{"camera": "top"}, {"camera": "wall"}])
    bench.fail("the image is truncated.")
    bench.work(tea=0.5)
    assert bench.last.state == "done"
    assert bench.status["views"][0] | {"ms": None} == bench.status["views"][0] | {
        "ms": None, "state": "failed", "reason": "the image is truncated.",
    }  # fmt: skip
    bench.ask("e-2")
    bench.fail("the network gave NaN")
    assert bench.last.state == "error"
    assert bench.status["reason"] == "0 of 1 needed views. top: the network gave NaN"


def test_a_fault_of_the_fusion_does_not_cost_the_answer(bench, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("robollm_core.picks.answers.fuse_identity", broken)
    bench.show("top", 100)
    bench.ask()
    bench.work(tea=0.5)
    assert (bench.last.state, bench.last.identity.item_id) == ("error", "")
    assert "ZeroDivisionError('oops')" in bench.status["reason"]
    assert bench.desk.counts()["error"] == 1


def test_a_view_that_shows_nothing_is_looked_at_but_names_nothing(bench):
    bench.show("arm", 100)
    bench.ask(views=[{"camera": "arm", "role": "post"}])
    bench.work(defect=None)
    assert bench.last.state == "done"
    assert bench.last.identity.hypotheses() == ((UNKNOWN, 0.0),)
    assert bench.status["views"][0]["state"] == "empty"
    assert "0 of 1 needed views show anything" in bench.status["reason"]
    assert bench.status["defect"] is None


def test_a_second_event_of_the_same_name_gets_the_first_ones_answer(bench):
    bench.show("top", 100)
    bench.ask()
    bench.ask()  # still open: it will be answered once
    assert bench.answers == []
    bench.work(tea=0.5)
    first = bench.last
    bench.ask()
    assert len(bench.answers) == 2
    assert bench.last.identity is first.identity
    assert bench.last.status == {**first.status, "replayed": True, "conflict": False}
    bench.ask(pick_id="P-9")
    assert bench.last.status == {**first.status, "replayed": True, "conflict": True}
    assert bench.desk.counts()["replayed"] == 2
    assert bench.desk.counts()["requests"] == 1


def test_so_many_answers_are_kept(bench):
    for number in range(KEPT_ANSWERS + 1):
        bench.ask(f"e-{number}", views=[exact("top", 1)], deadline_ms=1)
        bench.wait(1)
    bench.ask("e-1", views=[exact("top", 1)], deadline_ms=1)
    assert bench.last.status["replayed"]
    bench.ask("e-0", views=[exact("top", 1)], deadline_ms=1)
    assert bench.told[-1].status["event_id"] == "e-0"
    bench.wait(1)
    assert not bench.last.status["replayed"]


def test_a_cancel_ends_what_waits_of_its_pick_and_is_answered_itself(bench):
    bench.ask("e-1", "P-1")
    bench.ask("e-2", "P-1")
    bench.ask("e-3", "P-2")
    bench.ask("c-1", "P-1", "cancel")
    ended = [(one.event_id, one.state) for one in bench.answers]
    assert ended == [("e-1", "cancelled"), ("e-2", "cancelled"), ("c-1", "done")]
    assert bench.status["cancelled"] == ["e-1", "e-2"]
    assert all(one.identity.hypotheses() == ((UNKNOWN, 0.0),) for one in bench.answers)
    bench.ask("c-1", "P-1", "cancel")
    assert bench.last.status["replayed"]
    counts = bench.desk.counts()
    assert (counts["cancelled"], counts["pending"], counts["cancels"]) == (2, 1, 1)


def test_a_cancel_under_the_name_of_an_event_ends_that_one_alone(bench):
    bench.ask("e-1", "P-1")
    bench.ask("e-2", "P-1")
    bench.ask("e-1", "P-1", "cancel")
    assert [(one.event_id, one.state) for one in bench.answers] == [("e-1", "cancelled")]


def test_a_cancel_comes_too_late_for_what_was_answered(bench):
    bench.show("top", 100)
    bench.ask()
    bench.work(tea=0.5)
    bench.ask("c-1", "P-1", "cancel")
    assert bench.status["cancelled"] == []
    assert [one.state for one in bench.answers] == ["done", "done"]


def test_a_node_that_goes_idle_cancels_and_then_rejects(bench):
    bench.show("top", 100)
    bench.ask("e-1")
    bench.do(bench.desk.close("the node was deactivated."))
    assert (bench.last.state, bench.status["reason"]) == ("cancelled", "the node was deactivated.")
    bench.work(tea=0.5)  # comes too late
    assert len(bench.answers) == 1
    bench.ask("e-2")
    assert (bench.last.state, bench.status["reason"]) == ("rejected", "the node is not active.")
    bench.show("top", 200)
    bench.desk.open()
    assert bench.desk.kept() == {"frames": 0, "bytes": 0}
    bench.ask("e-1")
    assert bench.last.status["replayed"]


def test_a_jump_of_time_cancels_and_forgets_the_frames(bench):
    bench.show("top", 100)
    bench.ask(views=[exact("wall", 100)])
    bench.do(bench.desk.clear("time has jumped back."))
    assert (bench.last.state, bench.status["reason"]) == ("cancelled", "time has jumped back.")
    bench.ask("e-2")
    assert bench.jobs == []
    bench.show("top", 1)
    assert bench.jobs[0].frame.payload == "top1"


def test_more_events_than_wait_at_most_are_rejected(bench):
    for number in range(MAX_PENDING):
        bench.ask(f"e-{number}")
    assert bench.answers == []
    bench.ask("e-x")
    assert bench.last.state == "rejected"
    assert str(MAX_PENDING) in bench.status["reason"]
    assert bench.desk.counts()["pending"] == MAX_PENDING


def test_a_text_that_is_no_event_is_rejected_under_its_name(bench):
    bench.ask("e-1", colour="red")
    assert (bench.last.event_id, bench.last.state) == ("e-1", "rejected")
    assert "'colour' was unexpected" in bench.status["reason"]
    bench.ask("e-1")
    assert bench.last.status["replayed"]
    bench.ask("e-2", views=[{"camera": "moon"}])
    assert "'moon' is no camera of this node; there are arm, top, wall" in bench.status["reason"]


def test_a_text_without_a_name_gets_a_receipt_alone(bench):
    bench.do(bench.desk.receive("nonsense"))
    assert bench.answers == []
    assert bench.told[-1].status["state"] == "rejected"
    assert bench.told[-1].status["final"]
    assert bench.desk.counts()["rejected"] == 1


def test_a_broken_text_under_the_name_of_an_event_neither_ends_nor_doubles_it(bench):
    bench.show("top", 100)
    bench.ask("e-1")
    bench.ask("e-1", colour="red")
    assert bench.answers == []
    bench.work(tea=0.5)
    bench.ask("e-1", colour="red")
    assert [one.state for one in bench.answers] == ["done", "done"]
    assert bench.last.status["conflict"]


def test_a_camera_may_be_called_by_the_frame_of_its_images(bench):
    bench.ask("e-1", views=[{"camera": "top_optical"}])
    assert bench.last.state == "rejected"  # nobody has seen such an image yet
    bench.show("top", 100)
    bench.ask("e-2", views=[{"camera": "top_optical"}])
    assert bench.jobs[0].frame.payload == "top100"


def test_a_frame_name_that_two_cameras_use_names_neither(bench):
    for camera in ("top", "wall"):
        bench.desk.on_frame(camera, 1, "x", size=1, frame_id="shared")
    bench.ask(views=[{"camera": "shared"}])
    assert bench.last.state == "rejected"


def test_names_that_change_with_every_frame_do_not_pile_up(bench):
    for number in range(1000):
        bench.desk.on_frame("top", number, "x", size=1, frame_id=f"f{number}")
    assert len(bench.desk._names.known()) < 100


def test_the_counts_add_up_and_the_recent_ones_fade(bench):
    bench.show("top", 100)
    bench.ask("e-1")
    bench.work(tea=0.5)
    bench.ask("e-2", views=[exact("wall", 1)], deadline_ms=10)
    bench.wait(10)
    bench.ask("e-3", views=[exact("wall", 1)])
    bench.do(bench.desk.receive("{"))
    counts = bench.desk.counts()
    assert counts == {
        "requests": 4, "done": 1, "timeout": 1, "cancelled": 0, "rejected": 1, "error": 0,
        "replayed": 0, "cancels": 0, "pending": 1,
    }  # fmt: skip
    assert bench.desk.recent() == {"done": 1, "timeout": 1, "rejected": 1}
    assert bench.desk.answer_ms() == (0.0, pytest.approx(10.0))
    bench.now += 61
    assert bench.desk.recent() == {}


def test_an_event_text_reads_back():
    # the bench of these tests says what it should
    assert '"phase": "cancel"' in event_text(phase="cancel")
    assert "views" not in event_text(phase="cancel")
