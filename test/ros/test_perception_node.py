# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node does its job over real topics and services."""

import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

colour_cell = pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")
ros_probe = pytest.importorskip("ros_probe")

pytestmark = pytest.mark.ros
BOXES, draw_tote = colour_cell.BOXES, colour_cell.draw_tote
manifest_text, write_references = colour_cell.manifest_text, colour_cell.write_references
values = ros_probe.values

ITEMS = list(BOXES)
"""In the order of the scores that the stand-in segmenter gives: 0.9, 0.8, 0.7."""


def corners(detection):
    box = detection.bbox
    x, y = box.center.position.x, box.center.position.y
    return (x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2, y + box.size_y / 2)


def classes(message):
    return [[r.hypothesis.class_id for r in d.results] for d in message.detections]


def test_an_image_and_a_manifest_become_named_detections(make_cell, tmp_path):
    cell = make_cell(identification__reference_root=str(tmp_path))
    cell.start()
    cell.tell(manifest_text(write_references(tmp_path), version=3))
    cell.status("manifest", lambda s: s.level == b"\x00")
    cell.show(draw_tote(), stamp=(1234, 567), frame_id="tote_top")

    (found,) = cell.answers("detections", 1)
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (1234, 567)
    assert found.header.frame_id == "tote_top"
    assert [corners(d) for d in found.detections] == [BOXES[item] for item in ITEMS]
    assert [d.id for d in found.detections] == [f"tote_top/1234000000567/{i}" for i in range(3)]
    assert all(d.header == found.header for d in found.detections)
    assert [names[0] for names in classes(found)] == ITEMS
    for names in classes(found):
        assert names[-1] == "object"
        assert sorted(names[:-1]) == sorted(ITEMS)
    scores = [[r.hypothesis.score for r in d.results] for d in found.detections]
    assert [row[-1] for row in scores] == pytest.approx([0.9, 0.8, 0.7])
    for row in scores:
        assert row[:-1] == sorted(row[:-1], reverse=True)
        assert row[0] == pytest.approx(1.0, abs=0.01)

    (flaws,) = cell.answers("defects", 1)
    assert flaws.header == found.header
    assert [d.id for d in flaws.detections] == [d.id for d in found.detections]
    # the stand-in calls red multi_pick, green nominal, blue package_defect
    verdicts = [names[0] for names in classes(flaws)]
    assert verdicts == ["multi_pick", "nominal", "package_defect"]
    for detection in flaws.detections:
        assert len(detection.results) == 3
        assert sum(r.hypothesis.score for r in detection.results) == pytest.approx(1.0)


def test_the_times_of_a_frame_are_published_with_its_stamp(make_cell):
    cell = make_cell()
    cell.start()
    cell.show(draw_tote(), stamp=(1234, 567), frame_id="tote_top")
    timing = json.loads(cell.answers("timing", 1)[0].data)
    assert timing["camera"] == "tote_top"
    assert timing["instances"] == 3
    assert timing["stamp_ns"] == 1234000000567
    assert timing["manifest"] == ["", 0]
    assert (timing["received"], timing["processed"], timing["dropped"]) == (1, 1, 0)
    assert timing["input"] == "camera"
    stages = ("queue", "decode", "segment", "identify", "inspect", "total", "publish", "answer")
    assert set(timing["ms"]) == {*stages, "age"}
    assert timing["ms"]["answer"] >= timing["ms"]["total"] > 0


def test_without_a_manifest_an_instance_is_just_an_object(make_cell):
    cell = make_cell()
    cell.start()
    cell.show(draw_tote())
    (found,) = cell.answers("detections", 1)
    assert classes(found) == [["object"]] * 3


def test_none_of_these_is_an_answer_and_comes_first(make_cell, tmp_path):
    cell = make_cell(
        identification__reference_root=str(tmp_path), identification__min_similarity=1.0
    )
    cell.start()
    cell.tell(manifest_text(write_references(tmp_path)))
    cell.status("manifest", lambda s: s.level == b"\x00")
    cell.show(255 - draw_tote())
    (found,) = cell.answers("detections", 1)
    assert [names[0] for names in classes(found)] == ["object"] * 3
    assert all(len(names) == 4 for names in classes(found))


def test_an_empty_answer_is_published_too(make_cell):
    cell = make_cell(segmentation__score_threshold=0.95)
    cell.start()
    cell.show(draw_tote(), stamp=(9, 8))
    found, flaws = cell.answers("detections", 1)[0], cell.answers("defects", 1)[0]
    assert len(found.detections) == len(flaws.detections) == 0
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (9, 8)


def test_masks_and_overlay_carry_the_header_and_the_order_of_the_detections(make_cell):
    cell = make_cell(listen=("detections", "masks", "overlay"))
    cell.start()
    cell.show(draw_tote(), stamp=(5, 6))
    (found,) = cell.answers("detections", 1)
    (masks,) = cell.answers("masks", 1)
    assert masks.header == found.header
    assert (masks.encoding, masks.width, masks.height, masks.step) == ("mono8", 128, 96, 128)
    expected = np.zeros((96, 128), np.uint8)
    for index, item in enumerate(ITEMS):
        x0, y0, x1, y1 = BOXES[item]
        expected[y0:y1, x0:x1] = index + 1
    assert np.array_equal(np.frombuffer(masks.data, np.uint8).reshape(96, 128), expected)
    (overlay,) = cell.answers("overlay", 1)
    assert overlay.header == found.header
    assert (overlay.encoding, overlay.width, overlay.height) == ("rgb8", 128, 96)
    assert np.frombuffer(overlay.data, np.uint8).tobytes() != draw_tote().tobytes()


def test_masks_are_not_computed_when_nobody_listens(make_cell, monkeypatch):
    from robollm_ros import outputs, painter

    def refuse(*_):
        raise AssertionError("drawn for nobody")

    monkeypatch.setattr(outputs, "label_image", refuse)
    monkeypatch.setattr(painter, "draw_overlay", refuse)
    cell = make_cell()
    cell.start()
    cell.show(draw_tote())
    timing = json.loads(cell.answers("timing", 1)[0].data)
    assert timing["errors"] == 0


@pytest.mark.parametrize(("encoding", "order"), [("bgr8", [2, 1, 0]), ("rgb8", [0, 1, 2])])
def test_the_encoding_decides_what_is_red(make_cell, encoding, order):
    cell = make_cell()
    cell.start()
    cell.show(np.ascontiguousarray(draw_tote()[..., order]), encoding=encoding)
    (flaws,) = cell.answers("defects", 1)
    verdicts = [names[0] for names in classes(flaws)]
    assert verdicts == ["multi_pick", "nominal", "package_defect"]


def test_compressed_images_are_read_when_the_transport_says_so(make_cell):
    cell = make_cell(input__transport="compressed")
    cell.start()
    _, data = cv2.imencode(".jpg", draw_tote()[..., ::-1])
    cell.show_compressed(data.tobytes(), stamp=(3, 4), frame_id="jpeg_camera")
    (found,) = cell.answers("detections", 1)
    assert (found.header.stamp.sec, found.header.frame_id) == (3, "jpeg_camera")
    (flaws,) = cell.answers("defects", 1)
    assert classes(flaws)[0][0] == "multi_pick"


def test_deactivate_keeps_the_engines_and_cleanup_frees_them(make_cell):
    cell = make_cell()
    cell.start()
    assert cell.status("model", lambda s: s.level == b"\x00").message == "loaded"
    assert cell.transition("deactivate")
    status = cell.status("lifecycle", lambda s: s.message == "inactive")
    assert status.level == b"\x01"
    assert cell.status("model", lambda s: True).message == "loaded"
    assert cell.images.get_subscription_count() == 0
    assert cell.transition("activate")
    cell.wait(cell.images.get_subscription_count, "a new subscription")
    cell.show(draw_tote())
    cell.answers("detections", 1)
    assert cell.transition("deactivate")
    assert cell.transition("cleanup")
    assert cell.status("model", lambda s: s.level == b"\x01").message == "not loaded"
    assert cell.transition("configure")
    assert cell.transition("activate")


def test_the_newest_frame_wins_and_the_others_are_counted(make_cell):
    cell = make_cell()
    cell.start()
    entered, proceed = threading.Event(), threading.Event()
    stages = cell.node.cell.worker.stages
    segment = stages.segmentation.segment

    def slow(frame):
        entered.set()
        assert proceed.wait(30)
        return segment(frame)

    stages.segmentation.segment = slow
    cell.show(draw_tote(), stamp=(1, 0))
    assert entered.wait(30)
    for second in range(2, 6):
        cell.show(draw_tote(), stamp=(second, 0))
        cell.wait(lambda n=second: cell.counts()["received"] == n, f"frame {second} to arrive")
    proceed.set()
    stamps = [m.header.stamp.sec for m in cell.answers("detections", 2)]
    assert stamps == [1, 5]
    timing = json.loads(cell.answers("timing", 2)[1].data)
    assert (timing["received"], timing["processed"], timing["dropped"]) == (5, 2, 3)
    assert (
        values(cell.status("input/camera", lambda s: values(s)["processed"] == "2"))[
            "dropped_mailbox"
        ]
        == "3"
    )


def test_configure_runs_each_network_as_often_as_it_is_told(make_cell, monkeypatch):
    from robollm_core import cell as building

    load, runs = building.load_engine, []

    class Counting:
        def __init__(self, path, engine):
            self.spec, self.description = engine.spec, engine.description
            self._name, self._engine = str(path), engine

        def run(self, inputs):
            runs.append(self._name)
            return self._engine.run(inputs)

    monkeypatch.setattr(
        building, "load_engine", lambda path, *rest: Counting(path, load(path, *rest))
    )
    cell = make_cell(health__warmup_iterations=3)
    assert cell.transition("configure")
    # and once more for the answers that the self test compares with
    assert sorted(map(runs.count, set(runs))) == [4, 4, 4]


def test_the_diagnostics_of_two_cells_can_be_told_apart(make_cell):
    from robollm_ros.perception_node import PerceptionNode

    cell = make_cell()
    other = PerceptionNode(namespace="left", context=cell.context)
    cell._executor.add_node(other)
    try:
        for name in ("/perception", "/left/perception"):
            status = cell.status("lifecycle", lambda s: True, node=name)
            assert status.hardware_id == name
    finally:
        cell._executor.remove_node(other)
        other.destroy_node()


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_qos_of_the_inputs_can_be_overridden_at_every_activation(make_cell, transport):
    from robollm_ros.inputs import IMAGES_IN

    topic = "/image" if transport == "raw" else "/image/compressed"
    chosen = {
        "input.transport": transport,
        f"qos_overrides.{topic}.subscription.reliability": "reliable",
        f"qos_overrides.{topic}.subscription.depth": 3,
        f"qos_overrides.{topic}.subscription.history": "keep_all",
    }
    cell = make_cell(**chosen)
    assert cell.transition("configure")
    for _ in range(2):
        assert cell.transition("activate")
        (info,) = cell.node.get_subscriptions_info_by_topic(topic)
        assert info.qos_profile.reliability.name == "RELIABLE"
        profiles = [s.qos_profile for s in cell.node.cell._inputs._subscriptions]
        assert [(p.history.name, p.depth) for p in profiles] == [("KEEP_LAST", 1), ("KEEP_ALL", 3)]
        assert cell.transition("deactivate")
    # the defaults are shared by all nodes of the process: they must not be written to
    assert (IMAGES_IN.depth, IMAGES_IN.reliability.name) == (5, "BEST_EFFORT")


def test_diagnostics_say_how_the_node_does(make_cell):
    cell = make_cell(input__stale_after_s=0.3, health__budget_ms=1.0)
    cell.start()
    stages = cell.node.cell.worker.stages
    segment = stages.segmentation.segment
    stages.segmentation.segment = lambda frame: time.sleep(0.01) or segment(frame)
    assert cell.status("input/camera", lambda s: s.level == b"\x02").message.startswith(
        "no frame yet"
    )
    cell.show(draw_tote(), frame_id="top")
    late = cell.status("latency", lambda s: s.level == b"\x01")
    assert float(values(late)["total_p50_ms"]) <= float(values(late)["total_p99_ms"])
    assert "budget" in late.message
    seen = values(cell.status("input/camera", lambda s: "size" in values(s)))
    assert (seen["size"], seen["frame_id"]) == ("128x96", "top")
    assert cell.status("input/camera", lambda s: s.level == b"\x02").message.startswith("stale")
    assert cell.status("manifest", lambda s: True).level == b"\x01"


def test_a_live_threshold_counts_from_the_next_frame(make_cell):
    cell = make_cell()
    cell.start()
    cell.show(draw_tote(), stamp=(1, 0))
    assert len(cell.answers("detections", 1)[0].detections) == 3
    assert cell.set_parameter("segmentation.score_threshold", 0.75).successful
    cell.show(draw_tote(), stamp=(2, 0))
    assert len(cell.answers("detections", 2)[1].detections) == 2


def test_a_bug_in_a_transition_is_logged_with_its_trace_and_can_be_tried_again(
    make_cell, logged, monkeypatch
):
    from robollm_ros import perception_node

    def fail(_):
        raise ZeroDivisionError("a bug")

    cell = make_cell()
    with monkeypatch.context() as patched:
        patched.setattr(perception_node, "build_stages", fail)
        assert not cell.transition("configure")
    ((severity, text),) = [line for line in logged if line[0] not in ("DEBUG", "INFO")]
    assert severity == "FATAL"
    assert text.startswith("cannot configure: Traceback")
    assert "a bug" in text
    cell.status("lifecycle", lambda s: s.message.startswith("unconfigured: cannot configure"))
    cell.start()
    cell.show(draw_tote())
    cell.answers("detections", 1)


def test_slow_field_checks_are_warned_of(make_cell, logged, monkeypatch):
    monkeypatch.setenv("ROS_PYTHON_CHECK_FIELDS", "1")
    cell = make_cell()
    assert cell.transition("configure")
    assert any("ROS_PYTHON_CHECK_FIELDS" in text for _, text in logged)


def test_shutdown_from_active_frees_everything(make_cell):
    cell = make_cell()
    cell.start()
    assert cell.transition("active_shutdown")
    assert cell.status("model", lambda s: s.level == b"\x01").message == "not loaded"
    assert cell.images.get_subscription_count() == 0
