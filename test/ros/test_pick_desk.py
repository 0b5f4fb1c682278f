# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Pick events over real topics, with a worker that does what the test wants."""

import array
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from pick_bench import event_text, exact, manifest
from pick_probe import Probe

from robollm_core.config import Config, update
from robollm_core.errors import RuntimeFailedError
from robollm_core.types import DefectReport, Identification, Instance

pytestmark = pytest.mark.ros
WHOLE = Instance((2, 1, 6, 4), np.ones((3, 4), np.bool_), 0.9)


class Stage:
    """All three stages: one instance, tea before mug, sound; or what a test makes of them."""

    scale, unit = 10.0, 1.0

    def __init__(self):
        self.instances, self.scores = (WHOLE,), {"tea": 0.5, "mug": 0.3}
        self.probabilities, self.error, self.manifests = (0.0, 1.0, 0.0), None, []
        self.entered, self.proceed = threading.Event(), threading.Event()
        self.proceed.set()

    def segment(self, frame):
        self.entered.set()
        self.proceed.wait(20)
        if self.error:
            raise self.error
        return self.instances

    def identify(self, frame, instances, manifest, crops=None):
        self.manifests.append(manifest)
        return tuple(Identification(tuple(self.scores.items()), "tea") for _ in instances)

    def inspect(self, frame, instances, crops=None):
        flaw = 1 - self.probabilities[1]
        label = "package_defect" if flaw >= 0.8 else "nominal"
        return tuple(DefectReport(self.probabilities, label, flaw) for _ in instances)


@pytest.fixture
def probe(domain):
    made = Probe(domain, Stage())
    yield made
    made.stages.segmentation.proceed.set()
    made.close()


def hypotheses(message):
    return [
        [(r.hypothesis.class_id, r.hypothesis.score) for r in d.results] for d in message.detections
    ]


def test_an_event_gets_one_identity_one_defects_and_one_final_status(probe):
    probe.manifests.put(manifest(7))
    probe.show("top", 1500)
    probe.send(event_text(views=[exact("top", 1500)], container_id="T-1", manifest_version=7))
    answer = probe.answer("e-1")
    status, identity, defects = answer.status, answer.identity, answer.defects
    assert (status["state"], status["views_used"]) == ("done", ["top"])
    assert status["manifest"]["version"] == probe.stages.segmentation.manifests[0].version == 7
    for message in (identity, defects):
        assert message.header.frame_id == "e-1"
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
        fused, view = message.detections
        assert (fused.id, fused.header) == ("P-1", message.header)
        assert (view.id, view.header.frame_id) == ("top_optical/1500000000/0", "top_optical")
        assert (view.header.stamp.sec, view.header.stamp.nanosec) == (1, 500_000_000)
        box = view.bbox
        assert (box.center.position.x, box.center.position.y) == (4.0, 2.5)
        assert (box.size_x, box.size_y) == (4.0, 3.0)
        assert fused.bbox.size_x == 0.0
    share = 1 / (1 + np.exp(-2.0))
    for said in hypotheses(identity):
        assert said == [("tea", pytest.approx(share)), ("mug", pytest.approx(1 - share))]
    for said in hypotheses(defects):
        assert said[0] == ("nominal", 1.0)
    assert status["identity"]["candidates"][0]["similarity"] == 0.5
    probe.settle()
    assert probe.finals("e-1") == (1, 1, 1)
    receipts = [one["state"] for one in probe.statuses if not one["final"]]
    assert receipts == ["accepted"]


def test_views_that_come_later_are_waited_for(probe):
    probe.manifests.put(manifest(1))
    views = [exact("top", 1000), {"camera": "wall", "match": "next", "role": "post"}]
    probe.send(event_text(views=views))
    probe.wait(lambda: probe.statuses, "the receipt")
    assert probe.statuses[0]["state"] == "waiting_views"
    probe.show("top", 1000)
    probe.show("wall", 2000)
    answer = probe.answer("e-1")
    assert answer.status["views_used"] == ["top", "wall"]
    assert len(answer.identity.detections) == len(answer.defects.detections) == 3
    assert answer.identity.header.stamp.sec == 2


def test_the_deadline_is_kept_while_a_network_hangs_and_its_late_word_is_dropped(probe):
    stage = probe.stages.segmentation
    stage.proceed.clear()
    probe.show("top", 1000)
    sent = time.monotonic()
    probe.send(event_text(deadline_ms=300))
    answer = probe.answer("e-1")
    waited = time.monotonic() - sent
    assert stage.entered.is_set()
    assert answer.status["state"] == "timeout"
    assert 0.3 <= waited < 1.0
    assert 300 <= answer.status["answer_ms"] < 1000
    assert hypotheses(answer.identity) == hypotheses(answer.defects) == [[("unknown", 0.0)]]
    stage.proceed.set()
    probe.settle()
    assert probe.finals("e-1") == (1, 1, 1)


def test_after_a_network_that_fails_the_event_is_answered_and_the_next_one_too(probe):
    probe.stages.segmentation.error = RuntimeFailedError("out of memory")
    probe.show("top", 1000)
    probe.send(event_text("e-1"))
    assert probe.answer("e-1").status["state"] == "error"
    assert "out of memory" in probe.answer("e-1").status["reason"]
    probe.stages.segmentation.error = ValueError("a bug")
    probe.send(event_text("e-2"))
    assert probe.answer("e-2").status["state"] == "error"
    assert [type(error) for error in probe.failures] == [RuntimeFailedError, ValueError]
    worked = []
    probe.desk.worked = lambda: worked.append(1)
    probe.stages.segmentation.error = None
    probe.send(event_text("e-3"))
    assert probe.answer("e-3").status["state"] == "done"
    probe.wait(lambda: worked == [1], "the word that it works again")


def test_a_frame_that_is_no_image_fails_its_view_alone(probe):
    probe.show("top", 1000)
    probe.hand("wall", 1000, b"\0\1\0\0 too short")
    probe.send(event_text(views=[{"camera": "top"}, {"camera": "wall"}]))
    answer = probe.answer("e-1")
    assert answer.status["state"] == "done"
    assert [view["state"] for view in answer.status["views"]] == ["seen", "failed"]
    assert "not a serialised sensor_msgs/Image" in answer.status["views"][1]["reason"]


def test_a_compressed_frame_is_looked_at_as_well(probe):
    from sensor_msgs.msg import CompressedImage

    from robollm_core.images import encode_jpeg

    message = CompressedImage(format="jpeg")
    message.header.frame_id = "far_optical"
    message.data = array.array("B", encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    probe.hand("top", 0, message)
    probe.send(event_text(views=[{"camera": "far_optical"}]))
    assert probe.answer("e-1").status["views_used"] == ["far_optical"]
    assert probe.desk.ring() == {"frames": 1, "bytes": len(message.data)}


def test_a_node_that_goes_idle_answers_what_waits(probe):
    probe.send(event_text())
    probe.wait(lambda: probe.statuses, "the receipt")
    probe.call(probe.desk.close)
    answer = probe.answer("e-1")
    assert answer.status["state"] == "cancelled"
    assert hypotheses(answer.identity) == [[("unknown", 0.0)]]
    assert probe.desk.counts()["cancelled"] == 1


def test_a_jump_of_time_cancels_what_waits(probe):
    probe.send(event_text(views=[exact("top", 9000)]))
    probe.wait(lambda: probe.statuses, "the receipt")
    probe.call(probe.desk.clear)
    assert probe.answer("e-1").status["reason"] == "time has jumped back."


def test_an_event_that_is_cancelled_is_answered_and_so_is_the_cancel(probe):
    probe.send(event_text())
    probe.send(event_text("c-1", phase="cancel"))
    assert probe.answer("e-1").status["state"] == "cancelled"
    assert probe.answer("c-1").status["cancelled"] == ["e-1"]


def test_an_event_sent_twice_gets_the_same_answer_twice(probe):
    probe.show("top", 1000)
    probe.send(event_text())
    first = probe.answer("e-1")
    probe.send(event_text())
    probe.wait(lambda: probe.finals("e-1") == (2, 2, 2), "the second answer")
    assert probe.answer("e-1", 1).status == {
        **first.status, "replayed": True, "conflict": False,
    }  # fmt: skip
    assert probe.answer("e-1", 1).identity == first.identity


def test_texts_that_are_no_events_are_told_and_logged_and_nothing_breaks(probe, logged):
    for text in ("nonsense", '{"event_id": "e-1"}', "\x00", "[" * 5000, '"' + "x" * 10**5 + '"'):
        probe.send(text)
    probe.wait(lambda: probe.desk.counts()["rejected"] == 5, "the rejections")
    assert probe.answer("e-1").status["state"] == "rejected"
    warnings = [text for severity, text in logged if severity == "WARN" and "rejected" in text]
    assert len(warnings) == 1  # not one for each
    probe.show("top", 1000)
    probe.send(event_text("e-2"))
    assert probe.answer("e-2").status["state"] == "done"


def test_changed_settings_hold_from_the_next_event_on(probe):
    values = {"picks.deadline_ms": 20.0, "identification.min_similarity": 0.9}
    probe.call(lambda: probe.desk.retune(update(Config(), values)))
    probe.send(event_text("e-1"))
    assert probe.answer("e-1").status["deadline_ms"] == 20
    probe.show("top", 1000)
    probe.send(event_text("e-2", deadline_ms=5000))
    assert [name for name, _ in hypotheses(probe.answer("e-2").identity)[0]][0] == "unknown"


def test_an_event_waits_for_a_manifest_that_is_on_its_way(probe):
    probe.desk.desk.coming = lambda: True
    probe.show("top", 1000)
    probe.send(event_text(container_id="T-1", deadline_ms=60_000))
    probe.wait(lambda: probe.statuses, "the receipt")
    probe.manifests.put(manifest(1))
    probe.desk.manifest_came()
    answer = probe.answer("e-1")
    assert (answer.status["state"], answer.status["manifest"]["version"]) == ("done", 1)


def test_the_receipts_name_the_networks(probe):
    probe.desk.models = {"defects": "abc on onnx"}
    probe.send(event_text(deadline_ms=1))
    assert probe.answer("e-1").status["models"] == {"defects": "abc on onnx"}
    json.dumps(probe.answer("e-1").status, allow_nan=False)


def test_many_events_at_once_are_all_answered_once(probe):
    probe.show("top", 1000)
    for number in range(40):
        probe.send(event_text(f"e-{number}", f"P-{number}"))
        time.sleep(0.002)  # the queues hold 20
    for number in range(40):
        assert probe.answer(f"e-{number}").status["state"] == "done"
    counts = probe.desk.counts()
    assert (counts["requests"], counts["done"], counts["pending"]) == (40, 40, 0)
