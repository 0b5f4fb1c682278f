# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The desk where pick events are taken on and answered: each exactly once.

It is a state machine: every method says what is to be done next, as a list of
`Receipt` (tell), `ViewJob` (look, then call `seen` or `failed`) and `PickAnswer` (the
one final answer). It has no threads of its own, never blocks, and may be used from
several threads. Time is that of a monotonic clock.

Each view is looked at as soon as its frame is there, since the views of a pick come
seconds apart, and an answer at the deadline needs what has been seen until then.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from robollm_core.config import Config
from robollm_core.errors import PickError
from robollm_core.picks import answers, pending
from robollm_core.picks.answers import (
    CANCELLED,
    DONE,
    ERROR,
    REJECTED,
    TIMEOUT,
    Earlier,
    PickAnswer,
    Receipt,
)
from robollm_core.picks.binding import Binder, Binding, Manifests
from robollm_core.picks.cameras import CameraNames
from robollm_core.picks.event import (
    CANCEL,
    NEAREST,
    POST_PICK,
    PRE_PICK,
    PickEvent,
    names_in,
    parse_pick_event,
)
from robollm_core.picks.look import Scoring, ViewAnswer
from robollm_core.picks.pending import Pending, ViewJob, ViewState
from robollm_core.picks.ring import FrameRing, Kept
from robollm_core.picks.tally import Tally

MAX_PENDING = 64
"""Events that wait at most; more are rejected: a cell that asks so much does not read answers."""
PATIENCE = 0.5
"""Share of an event's time for which the manifest that it means is waited for, if one is on its
way: the rest is for looking."""
KEPT_ANSWERS = 256
KEPT_PICKS = 32
"""Newest pre_picks kept for their post_pick."""

Effect = Receipt | ViewJob | PickAnswer


class Desk:
    """Takes events on and answers each exactly once, whatever happens."""

    def __init__(
        self,
        cameras: Sequence[str],
        config: Config,
        manifests: Manifests,
        models: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a desk that is closed.

        Args:
            cameras: names of the node's cameras.
            config: the tree; `config` may be replaced by one with other live leaves.
            manifests: what was in force.
            models: description by stage, for the receipts.
            clock: seconds that never go back.
        """
        self.config = config
        self.models: Mapping[str, str] = dict(models or {})
        self._binder, self._clock = Binder(manifests), clock
        self._lock = threading.Lock()
        self._names = CameraNames(cameras)
        picks = config.picks
        self._ring = FrameRing(
            cameras, picks.history_frames, picks.history_mb * 2**20, config.input.stale_after_s
        )
        self._open = False
        self._scoring = Scoring()
        self._pending: OrderedDict[str, Pending] = OrderedDict()
        self._answers: OrderedDict[str, tuple[str, PickAnswer]] = OrderedDict()
        self._picks: OrderedDict[str, Earlier] = OrderedDict()
        self._tally = Tally()

    def open(self) -> None:
        """Take events on from now."""
        with self._lock:
            self._open = True

    def close(self, reason: str) -> list[Effect]:
        """Answer all that waits with cancelled; what comes from now on is rejected."""
        with self._lock:
            self._open = False
            return self._forget(reason)

    def clear(self, reason: str) -> list[Effect]:
        """Forget all frames and picks, as after a jump of time; what waits is cancelled."""
        with self._lock:
            return self._forget(reason)

    def receive(self, text: str | bytes) -> list[Effect]:
        """Take an event on; a text that is none is answered rejected."""
        with self._lock:
            known = self._names.known()
        try:
            event = parse_pick_event(text, "pick/event", known)
        except PickError as error:
            event_id, pick_id = names_in(text)
            with self._lock:
                return self._refuse_text(event_id, pick_id, str(error))
        with self._lock:
            if event.event_id in self._pending or event.event_id in self._answers:
                return self._known(event)
            if not self._open:
                return self._refuse(event.event_id, event.pick_id, "the node is not active.")
            if event.phase == CANCEL:
                return self._cancel(event)
            if len(self._pending) >= MAX_PENDING:
                full = f"{MAX_PENDING} events wait already; send fewer or read the answers."
                return self._refuse(event.event_id, event.pick_id, full)
            return self._take_on(event)

    def on_frame(
        self, camera: str, stamp_ns: int, payload: Any, *, size: int, frame_id: str
    ) -> list[Effect]:
        """Keep a frame and see who waits for it.

        Args:
            camera: name as the node has it.
            stamp_ns: of its header.
            payload: the message, undecoded.
            size: its bytes.
            frame_id: of its header; events may name the camera so.
        """
        with self._lock:
            self._names.learn(camera, frame_id)
            if not self._open:
                return []
            self._ring.put(Kept(camera, stamp_ns, self._clock(), payload, size))
            return [
                effect
                for one in list(self._pending.values())
                if any(v.camera == camera and v.state == pending.WAITING for v in one.views)
                for effect in self._advance(one)
            ]

    def wanted(self, job: ViewJob) -> bool:
        """Whether somebody still waits for this job; ask before doing it."""
        with self._lock:
            return self._view_of(job) is not None

    def seen(self, job: ViewJob, answer: ViewAnswer, scoring: Scoring) -> list[Effect]:
        """A job was done; an answer that comes too late is dropped."""
        with self._lock:
            view = self._view_of(job)
            if view is None:
                return []
            self._scoring = scoring
            one = self._pending[job.event.event_id]
            view.state, view.answer = pending.SEEN, answer
            view.ms |= {name: secs * 1e3 for name, secs in answer.secs.items()}
            view.ms["seen"] = (self._clock() - one.asked) * 1e3
            return self._settle(one)

    def failed(self, job: ViewJob, reason: str) -> list[Effect]:
        """A job could not be done: the image or a network is broken."""
        with self._lock:
            view = self._view_of(job)
            if view is None:
                return []
            view.state, view.reason = pending.FAILED, reason
            return self._settle(self._pending[job.event.event_id])

    def tick(self) -> list[Effect]:
        """Answer what is due."""
        with self._lock:
            now = self._clock()
            effects: list[Effect] = []
            for one in list(self._pending.values()):
                if now < one.deadline:
                    effects += self._advance(one)
                elif one.enough():
                    effects.append(self._finish(one, DONE, "answered at the deadline."))
                else:
                    effects.append(self._fall_short(one))
            return effects

    def next_due(self) -> float | None:
        """When to call `tick` at the latest, on the clock; None while nothing waits."""
        with self._lock:
            now = self._clock()
            return min((one.next_due(now) for one in self._pending.values()), default=None)

    def manifest_came(self) -> list[Effect]:
        """A manifest has come into force: look at what was kept back for it."""
        with self._lock:
            held = [one for one in self._pending.values() if one.held_until is not None]
            return [effect for one in held for effect in self._advance(one)]

    @property
    def coming(self) -> Callable[[], bool]:
        """Whether a manifest is on its way into force; asked often, must not wait."""
        return self._binder.coming

    @coming.setter
    def coming(self, coming: Callable[[], bool]) -> None:
        self._binder.coming = coming

    def counts(self) -> dict[str, int]:
        """Events so far: requests = done + timeout + cancelled + rejected + error + pending."""
        with self._lock:
            return {**self._tally.counts(), "pending": len(self._pending)}

    def recent(self, seconds: float = 60.0) -> dict[str, int]:
        """How many events ended in each state lately."""
        with self._lock:
            return self._tally.recent(self._clock() - seconds)

    def answer_ms(self) -> tuple[float, ...]:
        """Milliseconds from arrival to answer of the newest answers.

        Those of rejected and cancelled events say nothing and are left out.
        """
        with self._lock:
            return self._tally.answer_ms()

    def kept(self) -> dict[str, int]:
        """Frames and bytes that are kept."""
        with self._lock:
            return self._ring.sizes

    def _take_on(self, event: PickEvent) -> list[Effect]:
        now, picks = self._clock(), self.config.picks
        wait_ms = picks.deadline_ms if event.deadline_ms is None else event.deadline_ms
        one = Pending(
            event,
            self._bind(event),
            [ViewState(view, self._names.of(view.camera)) for view in event.views],
            now,
            now + wait_ms / 1e3,
            picks.min_views if event.min_views is None else event.min_views,
        )
        if self._binder.may_improve(event, one.binding):
            one.held_until = now + wait_ms / 1e3 * PATIENCE
        self._tally.count("requests")
        self._pending[event.event_id] = one
        effects = self._advance(one)
        return [answers.receipt(one, self.models), *effects]

    def _before(self, event: PickEvent) -> Earlier | None:
        """The answered pre_pick of the pick that a post_pick is of."""
        return self._picks.get(event.pick_id) if event.phase == POST_PICK else None

    def _bind(self, event: PickEvent) -> Binding:
        before = self._before(event)
        return self._binder.bind(event, before.binding if before else None)

    def _advance(self, one: Pending) -> list[Effect]:
        """Match what waits with what is there, and hand out what can be looked at."""
        now = self._clock()
        for view in one.views:
            if view.state != pending.WAITING:
                continue
            patience = now >= one.asked + view.view.tol_ms / 1e3
            settle = view.view.match == NEAREST and patience
            match = self._ring.find(view.view, view.camera, one.asked, settle=settle)
            if match.frame is not None:
                view.state, view.frame = pending.READY, match.frame
                view.ms["wait"] = (now - one.asked) * 1e3
            elif match.lost:
                view.state, view.reason = pending.LOST, match.lost
        return [*self._hand_out(one, now), *self._settle(one)]

    def _hand_out(self, one: Pending, now: float) -> list[ViewJob]:
        if one.held_until is not None:
            one.binding = self._bind(one.event)
            if now < one.held_until and self._binder.may_improve(one.event, one.binding):
                return []
            one.held_until = None
        jobs = []
        for index, view in enumerate(one.views):
            if view.frame is not None:
                jobs.append(ViewJob(one.event, index, view.frame, one.binding.manifest))
                view.frame = None
        return jobs

    def _settle(self, one: Pending) -> list[Effect]:
        """Answer an event of which nothing more can come."""
        if one.open:
            return []
        if one.enough():
            return [self._finish(one, DONE, "")]
        return [self._fall_short(one)]

    def _fall_short(self, one: Pending) -> PickAnswer:
        """Answer without the views that were needed; a view that did not come is no error."""
        broken = any(view.state == pending.FAILED for view in one.views)
        lacking = "; ".join(view.excuse for view in one.views if view.excuse)
        reason = f"{len(one.seen)} of {one.min_views} needed views. {lacking}".strip()
        return self._finish(one, ERROR if broken else TIMEOUT, reason)

    def _finish(self, one: Pending, state: str, reason: str) -> PickAnswer:
        event = one.event
        del self._pending[event.event_id]
        took_ms = (self._clock() - one.asked) * 1e3
        try:
            answer = self._conclude(one, state, reason, took_ms)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the answer
            state, reason = ERROR, f"the views could not be put together: {error!r}"
            status = answers.bare_status(event.event_id, event.pick_id, state, reason)
            answer = PickAnswer(event.event_id, event.pick_id, state, status)
        if event.phase == PRE_PICK and state == DONE:
            found = tuple(view for view in one.seen if view.found)
            self._picks[event.pick_id] = Earlier(event.event_id, one.binding, found)
            self._picks.move_to_end(event.pick_id)
            _trim(self._picks, KEPT_PICKS)
        self._tally.ended(state, self._clock(), None if state == CANCELLED else took_ms)
        return self._remember(event.sha256, answer)

    def _conclude(self, one: Pending, state: str, reason: str, took_ms: float) -> PickAnswer:
        earlier = self._before(one.event)
        answer = answers.conclude(one, state, reason, earlier, self.config, self._scoring)
        status = answers.full_status(one, answer, earlier, self.models, took_ms)
        return replace(answer, status=status)

    def _remember(self, sha256: str, answer: PickAnswer) -> PickAnswer:
        self._answers[answer.event_id] = (sha256, answer)
        _trim(self._answers, KEPT_ANSWERS)
        return answer

    def _known(self, event: PickEvent) -> list[Effect]:
        """An event_id that came before: its answer again, or nothing while it waits."""
        waiting = self._pending.get(event.event_id)
        if waiting is not None and event.phase == CANCEL:
            # the client may take back what it has asked under the same name
            return [self._finish(waiting, CANCELLED, "by the cell.")]
        if waiting is not None:
            return []
        self._tally.count("replayed")
        sha256, answer = self._answers[event.event_id]
        return [answer.again(conflict=sha256 != event.sha256)]

    def _cancel(self, event: PickEvent) -> list[Effect]:
        """Cancel what waits of a pick; the cancel is an event, and answered, itself."""
        hit = [one for one in self._pending.values() if one.event.pick_id == event.pick_id]
        ended: list[Effect] = [self._finish(one, CANCELLED, "by the cell.") for one in hit]
        self._picks.pop(event.pick_id, None)
        self._tally.count("cancels")
        status = answers.bare_status(event.event_id, event.pick_id, DONE)
        status |= {"phase": CANCEL, "cancelled": [one.event.event_id for one in hit]}
        answer = PickAnswer(event.event_id, event.pick_id, DONE, status)
        return [*ended, self._remember(event.sha256, answer)]

    def _refuse_text(self, event_id: str, pick_id: str, reason: str) -> list[Effect]:
        if event_id in self._pending:
            return []
        if event_id in self._answers:
            self._tally.count("replayed")
            return [self._answers[event_id][1].again(conflict=True)]
        return self._refuse(event_id, pick_id, reason)

    def _refuse(self, event_id: str, pick_id: str, reason: str) -> list[Effect]:
        self._tally.rejected(self._clock())
        status = answers.bare_status(event_id, pick_id, REJECTED, reason)
        if not event_id:
            return [Receipt(status)]  # nobody could tell whose answer it is
        return [self._remember("", PickAnswer(event_id, pick_id, REJECTED, status))]

    def _forget(self, reason: str) -> list[Effect]:
        self._ring.clear()
        self._picks.clear()
        return [self._finish(one, CANCELLED, reason) for one in list(self._pending.values())]

    def _view_of(self, job: ViewJob) -> ViewState | None:
        """The view that a job is for, while it waits for it."""
        one = self._pending.get(job.event.event_id)
        if one is None or one.event is not job.event:
            return None
        view = one.views[job.index]
        return view if view.state == pending.READY else None


def _trim(kept: OrderedDict[str, Any], size: int) -> None:
    while len(kept) > size:
        kept.popitem(last=False)
