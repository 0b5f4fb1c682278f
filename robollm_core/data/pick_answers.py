# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Answers to pick events as the messages that the perception node would publish, for bags."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robollm_core.data import rostypes
from robollm_core.data.answers import box_message, hypothesis_message
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.picks.answers import PickAnswer
from robollm_core.picks.fuse import defect_hypotheses

IDENTITY = Topic("/pick/identity", rostypes.DETECTIONS)
DEFECTS = Topic("/pick/defects", rostypes.DETECTIONS)
STATUS = Topic("/pick/status", rostypes.STRING)
TOPICS = (IDENTITY, DEFECTS, STATUS)

Hypotheses = Sequence[tuple[str, float]]
_NO_BOX = (0, 0, 0, 0)


def write_pick_answer(bag: BagWriter, answer: PickAnswer, log_ns: int) -> None:
    """Write the identity, the defects and the final status of one event.

    Args:
        bag: open, with `TOPICS`.
        answer: of the event.
        log_ns: when it counts as recorded.
    """
    whole = [answer.identity.hypotheses(), *(each.hypotheses() for each in answer.identities)]
    bag.write(IDENTITY.name, log_ns, _array(answer, whole))
    verdicts = [answer.defect, *(view.defect for view in answer.views)]
    bag.write(DEFECTS.name, log_ns, _array(answer, [defect_hypotheses(v) for v in verdicts]))
    write_pick_status(bag, answer.status, log_ns)


def write_pick_status(bag: BagWriter, status: Mapping[str, Any], log_ns: int) -> None:
    """Write one status, final or on the way."""
    text = json.dumps(dict(status))
    bag.write(STATUS.name, log_ns, rostypes.make(rostypes.STRING, data=text))


def _array(answer: PickAnswer, said: Sequence[Hypotheses]) -> Any:
    """The answer over all views first, named as the pick; then what each view says alone."""
    header = rostypes.header(answer.stamp_ns, answer.event_id)
    detections = [_detection(header, answer.pick_id, _NO_BOX, said[0])]
    for view, own in zip(answer.views, said[1:], strict=True):
        box = view.box_xyxy_px or _NO_BOX
        seen = rostypes.header(view.stamp_ns, view.frame_id)
        name = view.detection_id or f"{view.frame_id}/{view.stamp_ns}"
        detections.append(_detection(seen, name, box, own))
    return rostypes.make(rostypes.DETECTIONS, header=header, detections=detections)


def _detection(header: Any, name: str, box: tuple[int, int, int, int], said: Hypotheses) -> Any:
    return rostypes.make(
        "vision_msgs/msg/Detection2D",
        header=header,
        results=[hypothesis_message(*each) for each in said],
        bbox=box_message(box),
        id=name,
    )
