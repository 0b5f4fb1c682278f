# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in whatever order: every event is answered once and in time, and counted."""

import json
import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pick_bench import CAMERAS, TORN, Bench, event_text, exact, manifest

from robollm_core.picks import desk as desk_module
from robollm_core.picks.answers import FINAL, PickAnswer
from robollm_core.picks.pending import ViewJob

IDS = [f"e-{number}" for number in range(12)]
PICKS = ["P-1", "P-2"]
DEADLINES_MS = st.sampled_from([5, 50, 500])
VIEWS = st.lists(
    st.one_of(
        st.builds(exact, st.sampled_from(CAMERAS), st.integers(1, 20)),
        st.builds(
            lambda camera, match, role: {"camera": camera, "match": match, "role": role},
            st.sampled_from(CAMERAS),
            st.sampled_from(["latest", "next", "nearest"]),
            st.sampled_from(["pick", "post"]),
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=json.dumps,
)


class Cell(RuleBasedStateMachine):
    """A cell that asks, shows, cancels, stops and jumps, and a worker that may do anything."""

    @initialize(most=st.integers(2, 4))
    def begin(self, most):
        self.bench = Bench(picks__history_frames=2)
        self.most, desk_module.MAX_PENDING = desk_module.MAX_PENDING, most
        self.asked, self.deadlines, self.version = set(), {}, 0
        self.expected_replays = 0

    def teardown(self):
        if not hasattr(self, "bench"):
            return
        self.bench.do(self.bench.desk.close("the end"))
        desk_module.MAX_PENDING = self.most
        finals = Counter(one.event_id for one in self.firsts())
        assert finals == Counter(self.asked)
        assert self.bench.desk.counts()["pending"] == 0

    def firsts(self):
        return [one for one in self.bench.answers if not one.status["replayed"]]

    def send(self, text, event_id):
        answered = {one.event_id for one in self.bench.answers}
        before = len(self.bench.answers)
        self.bench.do(self.bench.desk.receive(text))
        if event_id in answered:
            self.expected_replays += 1
            (again,) = self.bench.answers[before:]
            first = next(one for one in self.firsts() if one.event_id == event_id)
            assert (again.identity, again.defect) == (first.identity, first.defect)
            assert again.status["replayed"]
        self.asked.add(event_id)

    @rule(
        event_id=st.sampled_from(IDS), pick_id=st.sampled_from(PICKS), views=VIEWS,
        phase=st.sampled_from(["pre_pick", "post_pick"]), deadline_ms=DEADLINES_MS,
        version=st.none() | st.integers(1, 4),
    )  # fmt: skip
    def ask(self, event_id, pick_id, phase, views, deadline_ms, version):
        fields = {"views": views, "deadline_ms": deadline_ms}
        if version is not None:
            fields |= {"container_id": "T-1", "manifest_version": version}
        new = event_id not in self.asked
        self.send(event_text(event_id, pick_id, phase, **fields), event_id)
        if new:
            self.deadlines[event_id] = self.bench.now + deadline_ms / 1e3

    @rule(event_id=st.sampled_from(IDS), pick_id=st.sampled_from(PICKS))
    def cancel(self, event_id, pick_id):
        self.send(event_text(event_id, pick_id, "cancel"), event_id)

    @rule(event_id=st.sampled_from(IDS))
    def send_nonsense_under_a_name(self, event_id):
        self.send(event_text(event_id, colour="red"), event_id)

    @rule(camera=st.sampled_from(CAMERAS), ms=st.integers(1, 20))
    def show(self, camera, ms):
        self.bench.show(camera, ms)

    @precondition(lambda self: self.bench.jobs)
    @rule(tea=st.floats(-1, 1), mug=st.floats(-1, 1), kind=st.sampled_from("ftn"))
    def work(self, tea, mug, kind):
        if kind == "n":
            self.bench.work(defect=None)
        else:
            self.bench.work(**({"defect": TORN} if kind == "t" else {}), tea=tea, mug=mug)

    @precondition(lambda self: self.bench.jobs)
    @rule()
    def fail(self):
        self.bench.fail()

    @precondition(lambda self: self.bench.jobs)
    @rule()
    def lose_a_job(self):
        self.bench.jobs.pop()

    @rule(ms=st.sampled_from([1, 10, 100]))
    def wait(self, ms):
        self.bench.wait(ms)
        waiting = self.bench.desk._pending
        assert all(self.deadlines[event_id] > self.bench.now for event_id in waiting)

    @rule()
    def new_manifest(self):
        self.version += 1
        self.bench.manifests.put(manifest(self.version))
        self.bench.do(self.bench.desk.manifest_came())

    @rule(coming=st.booleans())
    def a_manifest_is_on_its_way_or_not(self, coming):
        self.bench.desk.coming = lambda: coming

    @rule()
    def deactivate(self):
        self.bench.do(self.bench.desk.close("idle"))

    @rule()
    def activate(self):
        self.bench.desk.open()

    @rule()
    def jump(self):
        self.bench.do(self.bench.desk.clear("jump"))

    @invariant()
    def each_event_has_at_most_one_answer_of_its_own(self):
        if not hasattr(self, "bench"):
            return
        finals = Counter(one.event_id for one in self.firsts())
        assert all(count == 1 for count in finals.values())
        waiting = set(self.bench.desk._pending)
        assert set(finals) | waiting == self.asked
        assert not set(finals) & waiting

    @invariant()
    def the_counts_add_up(self):
        if not hasattr(self, "bench"):
            return
        counts = self.bench.desk.counts()
        assert counts["requests"] == sum(counts[state] for state in FINAL) + counts["pending"]
        assert counts["replayed"] == self.expected_replays
        cancels = sum("cancelled" in one.status for one in self.firsts())
        assert counts["requests"] + counts["cancels"] == len(self.asked)
        assert counts["cancels"] == cancels

    @invariant()
    def the_desk_wants_to_be_asked_before_anything_is_late(self):
        if not hasattr(self, "bench"):
            return
        due = self.bench.desk.next_due()
        times = [one.deadline for one in self.bench.desk._pending.values()]
        assert (due is None) == (not times)
        assert due is None or due <= min(times)

    @invariant()
    def every_answer_is_whole(self):
        if not hasattr(self, "bench"):
            return
        for one in self.bench.answers[-3:]:
            assert one.state in FINAL
            assert one.identity.hypotheses()
            assert len(one.views) == len(one.identities)
            json.dumps(dict(one.status), allow_nan=False)


class LongCell(Cell):
    """The same, for longer."""


TestCell = Cell.TestCase
TestCell.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestLongCell = pytest.mark.slow(LongCell.TestCase)
TestLongCell.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


class Crowd:
    """Threads that ask, show, look and watch the time, all of one desk."""

    def __init__(self):
        self.bench, self.lock, self.jobs, self.answers = Bench(), threading.Lock(), [], Counter()

    def do(self, effects):
        with self.lock:
            for effect in effects:
                if isinstance(effect, ViewJob):
                    self.jobs.append(effect)
                elif isinstance(effect, PickAnswer) and not effect.status["replayed"]:
                    self.answers[effect.event_id] += 1

    def ask(self, numbers):
        for number in numbers:
            self.do(self.bench.desk.receive(event_text(f"e-{number}", f"P-{number % 5}")))
            if number % 7 == 0:
                cancel = event_text(f"c-{number}", f"P-{number % 5}", "cancel")
                self.do(self.bench.desk.receive(cancel))

    def show(self):
        for ms in range(200):
            self.do(self.bench.desk.on_frame("top", ms * 10**6, "x", size=1, frame_id="f"))
            self.do(self.bench.desk.tick())

    def work(self):
        for _ in range(2000):
            with self.lock:
                job = self.jobs.pop() if self.jobs else None
            if job is not None and self.bench.desk.wanted(job):
                self.do(self.bench.desk.failed(job, "x"))


def test_from_many_threads_every_event_is_answered_once():
    crowd = Crowd()
    threads = [
        threading.Thread(target=crowd.ask, args=(range(start, 120, 3),)) for start in range(3)
    ]
    threads += [threading.Thread(target=each) for each in (crowd.show, crowd.work, crowd.work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    crowd.do(crowd.bench.desk.close("the end"))
    names = [f"e-{number}" for number in range(120)] + [f"c-{n}" for n in range(0, 120, 7)]
    assert crowd.answers == Counter(names)
