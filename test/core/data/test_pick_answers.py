# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Answers to pick events are written as the node publishes them."""

import importlib.util
import json

import pytest

from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter
from robollm_core.data.pick_answers import DEFECTS, IDENTITY, STATUS, TOPICS, write_pick_answer
from robollm_core.picks.answers import DONE, TIMEOUT, PickAnswer, bare_status
from robollm_core.picks.fuse import PickIdentity
from robollm_core.picks.look import ViewAnswer
from robollm_core.types import DefectReport

NAMED = PickIdentity("apple", (("apple", 0.9, 0.8), ("lime", 0.2, 0.2)))
DEFECT = DefectReport((0.1, 0.2, 0.7), "package_defect", 0.8)
VIEWS = (
    ViewAnswer("top", "tote_top", 10**9 + 5, "pick", "roi", "tote_top/1000000005/2", (1, 2, 8, 9),
               (("apple", 0.9),), DEFECT),
    ViewAnswer("arm", "on_arm", 2 * 10**9, "post"),
)  # fmt: skip
ANSWERS = {
    "two views": PickAnswer("e-1", "P-1", DONE, bare_status("e-1", "P-1", DONE), 2 * 10**9, NAMED,
                            DEFECT, VIEWS, (NAMED, PickIdentity())),
    "nothing came": PickAnswer("e-2", "P-1", TIMEOUT, bare_status("e-2", "P-1", TIMEOUT)),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_three_messages_under_the_name_of_its_event(tmp_path, name):
    answer = ANSWERS[name]
    with BagWriter(tmp_path / "a.mcap", TOPICS) as bag:
        write_pick_answer(bag, answer, 77)
    kinds = {topic.name: topic.msgtype for topic in TOPICS}
    got = {topic: (log, msg) for topic, log, msg in read_topics(tmp_path / "a.mcap", kinds)}
    assert {log for log, _ in got.values()} == {77}
    assert json.loads(got[STATUS.name][1].data)["state"] == answer.state
    for topic in (IDENTITY, DEFECTS):
        message = got[topic.name][1]
        assert message.header.frame_id == answer.event_id
        assert message.detections[0].id == "P-1"
        assert len(message.detections) == 1 + len(answer.views)
    first = got[IDENTITY.name][1].detections[0].results[0].hypothesis
    assert first.class_id == ("apple" if answer.views else "unknown")


@pytest.mark.ros
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("rclpy", "vision_msgs")),
    reason="needs rclpy and vision_msgs",
)
@pytest.mark.parametrize("name", ANSWERS)
def test_the_node_would_publish_the_same_of_a_pick(name):
    from rclpy.serialization import serialize_message

    from robollm_ros import pick_messages

    answer, store, sent = ANSWERS[name], rostypes.typestore(), {}

    class Sink:
        def write(self, topic, log_ns, message):
            sent[topic] = message

    write_pick_answer(Sink(), answer, 0)
    node = {
        IDENTITY.name: pick_messages.identity_message(answer),
        DEFECTS.name: pick_messages.defects_message(answer),
    }
    for topic, message in node.items():
        read = store.deserialize_cdr(serialize_message(message), rostypes.DETECTIONS)
        own = bytes(store.serialize_cdr(sent[topic], rostypes.DETECTIONS))
        assert own == bytes(store.serialize_cdr(read, rostypes.DETECTIONS))
