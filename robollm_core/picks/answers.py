# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What goes out for an event: receipts on the way, one final answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robollm_core.config import Config
from robollm_core.picks.binding import Binding
from robollm_core.picks.fuse import PickIdentity, fuse_defects, fuse_identity
from robollm_core.picks.look import Scoring, ViewAnswer
from robollm_core.picks.pending import SEEN, WAITING, Pending
from robollm_core.types import DefectReport

SCHEMA = "robollm.pick_status/1"
ACCEPTED, WAITING_VIEWS = "accepted", "waiting_views"
DONE, TIMEOUT, CANCELLED, REJECTED, ERROR = "done", "timeout", "cancelled", "rejected", "error"
FINAL = (DONE, TIMEOUT, CANCELLED, REJECTED, ERROR)
"""States that end an event."""


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """A status without an identity and defects: on the way, or of a text without an event_id.

    Attributes:
        status: JSON object for pick/status.
    """

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class PickAnswer:
    """The one final answer to an event.

    Attributes:
        event_id, pick_id: of the event.
        state: one of `FINAL`.
        stamp_ns: newest stamp of the views that were looked at, 0 when none was.
        identity: over all views.
        defect: over all views, None when none shows anything.
        views: what each view shows, in the order of the event; of their candidates
            the best identification.top_k.
        identities: of each of these views alone.
        status: JSON object for pick/status.
    """

    event_id: str
    pick_id: str
    state: str
    status: Mapping[str, Any]
    stamp_ns: int = 0
    identity: PickIdentity = field(default_factory=PickIdentity)
    defect: DefectReport | None = None
    views: tuple[ViewAnswer, ...] = ()
    identities: tuple[PickIdentity, ...] = ()

    def again(self, conflict: bool) -> "PickAnswer":
        """The same answer for the same event_id; `conflict` when the text was another one."""
        return replace(self, status={**self.status, "replayed": True, "conflict": conflict})


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """A pre_pick that was answered, kept for the post_pick of the same pick."""

    event_id: str
    binding: Binding
    views: tuple[ViewAnswer, ...]


def bare_status(event_id: str, pick_id: str, state: str, reason: str = "") -> dict[str, Any]:
    """What every status says."""
    return {
        "schema": SCHEMA,
        "event_id": event_id,
        "pick_id": pick_id,
        "state": state,
        "final": state in FINAL,
        "reason": reason,
        "replayed": False,
    }


def receipt(pending: Pending, models: Mapping[str, str]) -> Receipt:
    """What is said of an event when it was taken on."""
    waits = any(view.state == WAITING for view in pending.views)
    state = WAITING_VIEWS if waits else ACCEPTED
    return Receipt(_status(pending, state, "", models))


def conclude(
    pending: Pending,
    state: str,
    reason: str,
    earlier: Earlier | None,
    config: Config,
    scoring: Scoring,
) -> PickAnswer:
    """Fuse what was seen of an event.

    Args:
        pending: the event.
        state: one of `FINAL`; only "done" says more than unknown.
        reason: why it is not done.
        earlier: the pre_pick of the same pick, for a post_pick.
        config: thresholds.
        scoring: of the identification network.
    """
    event, rules = pending.event, config.identification
    views = tuple(pending.seen)
    found = [view for view in views if view.found]
    identity, enough = PickIdentity(), len(found) >= pending.min_views
    if state == DONE and enough:
        identity = fuse_identity(found, earlier.views if earlier else (), rules, scoring)
    elif state == DONE:
        few = f"{len(found)} of {pending.min_views} needed views show anything."
        reason = f"{reason} {few}".strip()
    return PickAnswer(
        event.event_id,
        event.pick_id,
        state,
        bare_status(event.event_id, event.pick_id, state, reason),
        max((view.stamp_ns for view in views), default=0),
        identity,
        fuse_defects(found) if state == DONE else None,
        tuple(replace(view, candidates=view.candidates[: rules.top_k]) for view in views),
        tuple(fuse_identity([view], [], rules, scoring) for view in views),
    )


def full_status(
    pending: Pending,
    answer: PickAnswer,
    earlier: Earlier | None,
    models: Mapping[str, str],
    answer_ms: float,
) -> dict[str, Any]:
    """The status of a final answer, raw scores included."""
    identity, defect = answer.identity, answer.defect
    lead = [score for _, score, _ in identity.candidates[:2]]
    return {
        **_status(pending, answer.state, str(answer.status["reason"]), models),
        "identity": {
            "item_id": identity.item_id,
            "margin": lead[0] - lead[1] if len(lead) == 2 else None,
            "candidates": [
                {"item_id": name, "similarity": score, "score": share}
                for name, score, share in identity.candidates
            ],
        },
        "defect": None
        if defect is None
        else {"label": defect.label, "score": defect.score,
              "probabilities": list(defect.probabilities)},
        "pre_pick": None
        if earlier is None
        else {"event_id": earlier.event_id, "views": len(earlier.views)},
        "answer_ms": round(answer_ms, 3),
    }  # fmt: skip


def _status(pending: Pending, state: str, reason: str, models: Mapping[str, str]) -> dict[str, Any]:
    event = pending.event
    used = [view for view in pending.views if view.answer is not None and view.answer.found]
    missing: Sequence[str] = [v.view.camera for v in pending.views if v.state != SEEN]
    return {
        **bare_status(event.event_id, event.pick_id, state, reason),
        "phase": event.phase,
        "min_views": pending.min_views,
        "deadline_ms": round((pending.deadline - pending.asked) * 1e3, 3),
        "views_used": [view.view.camera for view in used],
        "views_missing": missing,
        "views": [view.tree() for view in pending.views],
        "manifest": pending.binding.tree(),
        "models": dict(models),
    }
