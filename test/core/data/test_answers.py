# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Answers written to a bag read back, and are what the node publishes."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.data import rostypes
from robollm_core.data.answers import DEFECTS, DETECTIONS, MASKS, TOPICS, write_answer
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.recorded import TIMING, read_answers
from robollm_core.errors import BagError
from robollm_core.geometry import label_image
from robollm_core.types import (
    DEFECT_LABELS,
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)


def make_result(seed, count=None):
    """A result with overlapping instances, accepted and refused items, all verdicts."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 50, 2).tolist()
    items = []
    for _ in range(int(rng.integers(0, 5)) if count is None else count):
        x0, y0 = int(rng.integers(0, width - 1)), int(rng.integers(0, height - 1))
        x1, y1 = int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1))
        scores = sorted(rng.uniform(-1, 1, int(rng.integers(0, 4))).tolist(), reverse=True)
        candidates = tuple((f"B0{i}", score) for i, score in enumerate(scores))
        accepted = candidates[0][0] if candidates and rng.random() < 0.5 else ""
        probabilities = tuple(rng.dirichlet([1, 1, 1]).tolist())
        items.append(
            ItemReport(
                Instance((x0, y0, x1, y1), rng.random((y1 - y0, x1 - x0)) < 0.7, rng.random()),
                Identification(candidates, accepted),
                DefectReport(
                    probabilities, DEFECT_LABELS[rng.integers(0, 3)], 1 - probabilities[1]
                ),
            )
        )
    stamp = int(rng.integers(0, 2**31) * 10**9 + rng.integers(0, 10**9))
    return PerceptionResult(stamp, "tote_camera", (height, width), tuple(items))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory, seed):
    result = make_result(seed)
    path = tmp_path_factory.mktemp("answers") / "a.mcap"
    with BagWriter(path, TOPICS) as bag:
        write_answer(bag, result)
    (answer,) = read_answers(path)
    got = answer.result
    assert (got.stamp_ns, got.camera, got.image_size_px) == (
        result.stamp_ns, "tote_camera", result.image_size_px,
    )  # fmt: skip
    labels = label_image([item.instance for item in result.items], result.image_size_px)
    for index, (a, b) in enumerate(zip(got.items, result.items, strict=True)):
        assert a.instance.box_xyxy_px == b.instance.box_xyxy_px
        assert (a.instance.score, a.instance.label) == (b.instance.score, "object")
        assert a.identification == b.identification
        assert a.defect.label == b.defect.label
        assert a.defect.probabilities == b.defect.probabilities
        x0, y0, x1, y1 = b.instance.box_xyxy_px
        np.testing.assert_array_equal(a.instance.mask_in_box, labels[y0:y1, x0:x1] == index + 1)
    assert answer.counts == {}
    assert got.stage_secs == {}


def test_log_time_is_the_stamp_of_the_frame(tmp_path):
    results = [make_result(seed) for seed in range(3)]
    with BagWriter(tmp_path / "a.mcap", TOPICS) as bag:
        for result in results:
            write_answer(bag, result)
    wanted = {topic.name: topic.msgtype for topic in TOPICS}
    got = [(topic, log) for topic, log, _ in read_topics(tmp_path / "a.mcap", wanted)]
    for topic in TOPICS:
        logged = [log for name, log in got if name == topic.name]
        assert sorted(logged) == sorted(r.stamp_ns for r in results)


def test_timing_fills_in_counts_stages_and_manifest(tmp_path):
    result = make_result(5, count=1)
    text = (
        f'{{"stamp_ns": {result.stamp_ns}, "manifest": ["T", 3], "received": 9, "processed": 5,'
        '"dropped": 3, "errors": 1, "ms": {"segment": 10, "identify": 20, "inspect": 5,'
        '"total": 35, "queue": 1}}'
    )
    with BagWriter(tmp_path / "a.mcap", (*TOPICS, TIMING)) as bag:
        write_answer(bag, result)
        bag.write(TIMING.name, result.stamp_ns, rostypes.make(rostypes.STRING, data=text))
    (answer,) = read_answers(tmp_path / "a.mcap")
    assert answer.counts == {"received": 9, "processed": 5, "dropped": 3, "errors": 1}
    assert answer.result.manifest == ("T", 3)
    assert answer.result.stage_secs == pytest.approx(
        {"segment": 0.01, "identify": 0.02, "inspect": 0.005, "total": 0.035}
    )


def test_an_incomplete_answer_is_refused(tmp_path):
    result = make_result(5, count=1)

    class Half:
        def __init__(self, bag):
            self.bag = bag

        def write(self, topic, log_ns, message):
            if topic != MASKS.name:
                self.bag.write(topic, log_ns, message)

    with BagWriter(tmp_path / "a.mcap", TOPICS) as bag:
        write_answer(Half(bag), result)
    with pytest.raises(BagError, match="lack their defects or masks"):
        read_answers(tmp_path / "a.mcap")


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"stamp_ns": "x"}'])
def test_a_foreign_timing_topic_is_refused(tmp_path, text):
    with BagWriter(tmp_path / "a.mcap", [Topic(TIMING.name, rostypes.STRING)]) as bag:
        bag.write(TIMING.name, 1, rostypes.make(rostypes.STRING, data=text))
    with pytest.raises(BagError, match="holds no answers"):
        read_answers(tmp_path / "a.mcap")


@pytest.mark.ros
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("rclpy", "vision_msgs")),
    reason="needs rclpy and vision_msgs",
)
@pytest.mark.parametrize("seed", range(6))
def test_the_node_would_publish_the_same(tmp_path, seed):
    from builtin_interfaces.msg import Time
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header

    from robollm_ros import conversions

    result = make_result(seed)
    sec, nanosec = divmod(result.stamp_ns, 10**9)
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="tote_camera")
    labels = label_image([item.instance for item in result.items], result.image_size_px)
    node = {
        DETECTIONS.name: conversions.detections_message(result, header),
        DEFECTS.name: conversions.defects_message(result, header),
        MASKS.name: conversions.image_message(labels, "mono8", header),
    }
    kinds = {topic.name: topic.msgtype for topic in TOPICS}
    store = rostypes.typestore()
    sent = {}

    class Sink:
        def write(self, topic, log_ns, message):
            sent[topic] = bytes(store.serialize_cdr(message, kinds[topic]))

    write_answer(Sink(), result)
    assert set(sent) == set(node)
    for topic, message in node.items():
        # the bytes between aligned fields are left to chance by ROS, hence the way round
        read = store.deserialize_cdr(serialize_message(message), kinds[topic])
        assert sent[topic] == bytes(store.serialize_cdr(read, kinds[topic]))
