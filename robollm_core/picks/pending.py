# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""An event that is not answered yet, and what is known of each of its views."""

from dataclasses import dataclass, field
from typing import Any

from robollm_core.picks.binding import Binding
from robollm_core.picks.event import NEAREST, PickEvent, PickView
from robollm_core.picks.look import ViewAnswer
from robollm_core.picks.ring import Kept
from robollm_core.types import Manifest

WAITING, READY, SEEN, LOST, FAILED = "waiting", "ready", "seen", "lost", "failed"
"""States of a view: no frame yet; at the worker; looked at; will not come; could not be used."""


@dataclass(slots=True, eq=False)
class ViewState:
    """What is known of one view.

    Attributes:
        view: what was asked for.
        camera: name of the camera as the node has it.
        state: "waiting", "ready", "seen", "lost" or "failed".
        reason: why it was lost or failed.
        answer: what it shows, once seen.
        frame: what it means, until that is handed to the worker.
        ms: milliseconds from the event's arrival until the frame was there ("wait") and
            until the view was looked at ("seen"), and by stage.
    """

    view: PickView
    camera: str
    state: str = WAITING
    reason: str = ""
    answer: ViewAnswer | None = None
    frame: Kept | None = None
    ms: dict[str, float] = field(default_factory=dict)

    @property
    def excuse(self) -> str:
        """Why there is nothing of it yet; "" once it was seen."""
        reasons = {WAITING: "no frame came", READY: "not looked at in time", SEEN: ""}
        reason = reasons.get(self.state, self.reason)
        return reason and f"{self.view.camera}: {reason.rstrip('.')}"

    def tree(self) -> dict[str, Any]:
        """As the receipt says it."""
        answer = self.answer
        best = answer.candidates[0] if answer and answer.candidates else None
        return {
            "camera": self.view.camera,
            "role": self.view.role,
            "match": self.view.match,
            "state": self.state if not answer or answer.found else "empty",
            "reason": self.reason,
            "stamp_ns": answer.stamp_ns if answer else None,
            "frame_id": answer.frame_id if answer else None,
            "chosen_by": answer.chosen_by if answer else "",
            "detection_id": answer.detection_id if answer else "",
            "item_id": best[0] if best else "",
            "similarity": best[1] if best else None,
            "ms": {name: round(value, 3) for name, value in self.ms.items()},
        }


@dataclass(slots=True, eq=False)
class Pending:
    """An event that is not answered yet.

    Attributes:
        event: what was asked.
        binding: its manifest.
        held_until: until then frames are kept back, for the manifest that the event means
            may be on its way; None when it is not waited for (any more).
        views: in the order of the event.
        asked: when it arrived, seconds of the monotonic clock.
        deadline: when it is answered at the latest.
        min_views: so many views must have been looked at.
    """

    event: PickEvent
    binding: Binding
    views: list[ViewState]
    asked: float
    deadline: float
    min_views: int
    held_until: float | None = None

    @property
    def open(self) -> bool:
        """Whether a view may still be seen."""
        return any(view.state in (WAITING, READY) for view in self.views)

    @property
    def seen(self) -> list[ViewAnswer]:
        """What was looked at so far, in the order of the event."""
        return [view.answer for view in self.views if view.answer is not None]

    def enough(self) -> bool:
        """Whether as many views were looked at as the event needs."""
        return len(self.seen) >= self.min_views

    def next_due(self, now: float) -> float:
        """When something is to be done about it at the latest.

        At the deadline; when a view that waits for the nearest frame takes what there is;
        when the manifest is waited for no longer.
        """
        waiting = [v.view for v in self.views if v.state == WAITING and v.view.match == NEAREST]
        times = [self.asked + view.tol_ms / 1e3 for view in waiting]
        times += [] if self.held_until is None else [self.held_until]
        return min([self.deadline, *(time for time in times if time > now)])


@dataclass(frozen=True, slots=True, eq=False)
class ViewJob:
    """Work for the thread that perceives: look at one view.

    Attributes:
        event: of the pick.
        index: which of its views.
        frame: what the view means.
        manifest: bound to the event.
    """

    event: PickEvent
    index: int
    frame: Kept
    manifest: Manifest | None
